"""Images per second from JPEG files to batches: Cotag beside what others document, and a bare decode.

    .venv/bin/python benchmarks/input.py [--quick] [--size 224 448] [--workers 1 2]
    .venv/bin/python benchmarks/input.py --sources [--quick] [--size 224 448] [--workers 1 2]

Every pipeline reads the same 640 x 480 JPEGs, squashes them to the square with antialiased bicubic interpolation, and
hands batches of 64 to the process that trains:

- Cotag, `exact` and `fast`: the `Loader`, whose batches are uint8 (the tagger normalizes them on its device by one
  multiplication and one subtraction);
- Cotag, normalized: the same, and this step done here on the CPU, so that the batches are float as those of the others;
- torchvision v2 with Pillow: `Image.open`, ToImage, Resize (on uint8), ToDtype(float32, scale=True), Normalize and the
  default collation, as its documentation advises; with decode_jpeg: the same on `decode_jpeg(read_file(...))`;
- timm: `create_loader` with its prefetcher (uint8 batches, normalized here), `crop_pct=1, crop_mode="squash"`;
- a bare decode: simplejpeg on the bytes, nothing kept: the limit of anything that decodes all pixels.

All use torch's DataLoader with as many workers as the line says. Rounds are interleaved; `ratio` is the median of the
ratios within a round, against the best of the others in that round. `CPU ms` is what the workers spend on an image,
which other work on the machine hardly changes, and `CPU ratio` the same comparison of it. Peak memory is that of the
largest worker (VmHWM, which counts the shared memory that it wrote).

`--sources` compares where Cotag's pictures (noise, `exact`) come from, in random order: files, a tar shard, Parquet
with row groups of 10 and 100 pictures (of 8 times as many as are read, since a worker keeps 64 MB of it), and files
with `data.cache` once it is filled; `ratio` is against files.
"""

from __future__ import annotations

import argparse
import io
import itertools
import os
import statistics
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import simplejpeg
import timm.data
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision.io import ImageReadMode, decode_jpeg, read_file
from torchvision.transforms import v2

import cotag
from cotag.data.loader import BatchOrder, ImageRows, Loader
from cotag.data.resampling import is_compiled
from cotag.data.square_cache import SquareCache
from cotag.data.transforms import Preprocessing
from cotag.types.index import Index
from cotag.types.labels import LabelSpace

WIDTH, HEIGHT, BATCH = 640, 480, 64
REPEATED = 8
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PHOTOGRAPHS = Path(__file__).resolve().parents[2] / "shared" / "data" / "coco604" / "images"
OURS = ("Cotag exact", "Cotag fast", "Cotag exact, normalized")
LIMIT = "bare decode"
Pipeline = Callable[[], Iterable[Any]]


def photographs(count: int) -> Iterable[Image.Image]:
    """Real photographs, enlarged, with the grain that enlarging took away."""
    paths = sorted(PHOTOGRAPHS.glob("*.jpg"))[:count]
    for number, path in enumerate(paths):
        pixels = np.asarray(Image.open(path).convert("RGB").resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))
        grain = np.random.default_rng(number).normal(0, 5, (HEIGHT, WIDTH, 1))
        yield Image.fromarray((pixels + grain).clip(0, 255).astype(np.uint8))


def noise(count: int) -> Iterable[Image.Image]:
    """Noise with as much of each scale as photographs have."""
    down, across = np.meshgrid(np.fft.fftfreq(HEIGHT), np.fft.rfftfreq(WIDTH), indexing="ij")
    amplitude = 1 / np.maximum(np.hypot(down, across), 1 / WIDTH)
    for number in range(count):
        random = np.random.default_rng(number)
        waves = [np.fft.irfft2(np.fft.rfft2(random.normal(size=(HEIGHT, WIDTH))) * amplitude) for _ in range(3)]
        pixels = np.stack([128 + 55 * wave / wave.std() for wave in waves], 2)
        yield Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


class Files(Dataset[Any]):
    """What a function makes of each file, with a label, as torchvision's and timm's data sets give it."""

    def __init__(self, paths: list[Path], read: Callable[[Path], Any]) -> None:
        self.paths, self.read, self.transform = paths, read, None

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> Any:
        found = self.read(self.paths[row])
        return (self.transform(found) if self.transform else found), 0


def by_pillow(path: Path) -> Image.Image:
    with path.open("rb") as handle:
        return Image.open(handle).convert("RGB")


def by_torchvision(path: Path, transform: Any) -> torch.Tensor:
    return transform(decode_jpeg(read_file(str(path)), mode=ImageReadMode.RGB))


def pillow_and_v2(path: Path, transform: Any) -> torch.Tensor:
    return transform(by_pillow(path))


def decode_alone(path: Path) -> int:
    return simplejpeg.decode_jpeg(path.read_bytes()).shape[0]


def normalize(images_BCHW: torch.Tensor) -> torch.Tensor:
    """As the tagger does it."""
    scale = 1 / (255 * torch.tensor(STD).view(1, 3, 1, 1))
    return (images_BCHW * scale).sub_((torch.tensor(MEAN) / torch.tensor(STD)).view(1, 3, 1, 1))


def from_index(index: Index, count: int, size: int, workers: int, cache: Path | None = None) -> tuple[Pipeline, Any]:
    """So many of the pictures, in another random order each time, as in training."""
    prepare = Preprocessing(size, mean=MEAN, std=STD)
    kept = SquareCache(cache, prepare) if cache is not None else None
    rows = np.random.default_rng(0).choice(len(index), count, replace=False)
    order = BatchOrder(rows, BATCH, shuffle=True)
    loader = Loader(ImageRows(index, prepare, cache=kept), order, workers=workers)
    epochs = itertools.count()
    return lambda: (batch.images_BCHW for batch in loader.epoch(next(epochs))), loader._loader


def written_as(paths: list[Path]) -> dict[str, Index]:
    """The same pictures as files, as a tar shard and as Parquet, beside them."""
    folder = paths[0].parent
    space = LabelSpace(("a",))
    found = {"files": Index.build({"image": [p.name for p in paths], "positives": [[0]] * len(paths)}, space, folder)}
    with tarfile.open(folder / "all.tar", "w") as shard:
        for path in paths:
            shard.add(path, path.name)
            label = tarfile.TarInfo(path.with_suffix(".txt").name)
            label.size = 1
            shard.addfile(label, io.BytesIO(b"a"))
    found["tar shard"] = cotag.read(f"wds:{folder / 'all.tar'}")
    # More than a worker keeps of a file.
    cells = REPEATED * [path.read_bytes() for path in paths]
    table = pa.table({"labels": [["a"]] * len(cells), "image": cells})
    for rows in (10, 100):
        pq.write_table(table, folder / f"{rows}.parquet", row_group_size=rows)
        found[f"Parquet, {rows:,} in a row group"] = cotag.read(f"table:{folder / f'{rows}.parquet'}")
    return found


def measure_sources(paths: list[Path], size: int, workers: int, rounds: int) -> None:
    indexes = written_as(paths)
    count = len(paths)
    found = {name: from_index(index, count, size, workers) for name, index in indexes.items()}
    with tempfile.TemporaryDirectory() as cache:
        found["files, data.cache"] = from_index(indexes["files"], count, size, workers, Path(cache))
        # The cache takes what has not changed for two seconds.
        time.sleep(3)
        for pipeline in found.values():
            pass_over(pipeline)
        passes: dict[str, list[tuple[float, float]]] = {name: [] for name in found}
        for _ in range(rounds):
            for name, pipeline in found.items():
                passes[name].append(pass_over(pipeline))
    for name, (_, loader) in found.items():
        clock, used = (statistics.median(one[kind] for one in passes[name]) / len(paths) for kind in (0, 1))
        by_clock = statistics.median(passes["files"][r][0] / passes[name][r][0] for r in range(rounds))
        print(
            f"| {size} | {workers} | {name} | {1 / clock:,.0f} | {by_clock:.2f} | {1000 * used:.2f} "
            f"| {peak_megabytes(loader):,.0f} |",
            flush=True,
        )


def ours(paths: list[Path], size: int, workers: int, decode: str, normalized: bool = False) -> tuple[Pipeline, Any]:
    index = Index.build(
        {"image": [path.name for path in paths], "positives": [[0]] * len(paths)}, LabelSpace(("a",)), paths[0].parent
    )
    prepare = Preprocessing(size, mean=MEAN, std=STD, decode=decode)
    loader = Loader(ImageRows(index, prepare), BatchOrder(np.arange(len(paths)), BATCH), workers=workers)

    def batches() -> Iterable[torch.Tensor]:
        for batch in loader:
            yield normalize(batch.images_BCHW) if normalized else batch.images_BCHW

    return batches, loader._loader


def pipelines(paths: list[Path], size: int, workers: int) -> dict[str, tuple[Pipeline, Any]]:
    """By name: what gives the batches of an epoch, and the DataLoader within."""
    square = v2.Resize((size, size), interpolation=v2.InterpolationMode.BICUBIC, antialias=True)
    finish = [square, v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
    settings: dict[str, Any] = {"batch_size": BATCH, "num_workers": workers, "persistent_workers": True}

    def others(read: Callable[[Path], Any]) -> tuple[Pipeline, Any]:
        loader: DataLoader[Any] = DataLoader(Files(paths, read), **settings)
        return lambda: (images for images, _ in loader), loader

    of_timm = timm.data.create_loader(
        Files(paths, by_pillow),
        (3, size, size),
        BATCH,
        interpolation="bicubic",
        mean=MEAN,
        std=STD,
        num_workers=workers,
        crop_pct=1.0,
        crop_mode="squash",
        device=torch.device("cpu"),
        persistent_workers=True,
    )
    return {
        OURS[0]: ours(paths, size, workers, "exact"),
        OURS[1]: ours(paths, size, workers, "fast"),
        OURS[2]: ours(paths, size, workers, "exact", normalized=True),
        "torchvision v2, Pillow": others(partial(pillow_and_v2, transform=v2.Compose([v2.ToImage(), *finish]))),
        "torchvision v2, decode_jpeg": others(partial(by_torchvision, transform=v2.Compose(finish))),
        "timm": (lambda: (images for images, _ in of_timm), of_timm.loader),
        LIMIT: others(decode_alone),
    }


def require_same_pictures(found: dict[str, tuple[Pipeline, Any]]) -> None:
    """The first batch of everyone is the same but for rounding, and that of ``fast`` close."""
    first = {name: next(iter(batches())) for name, (batches, _) in found.items() if name != LIMIT}
    first = {name: images if images.is_floating_point() else normalize(images) for name, images in first.items()}
    for name, images in first.items():
        away = float((images - first[OURS[0]]).abs().mean())
        if images.shape != first[OURS[0]].shape or away > (0.15 if name == OURS[1] else 0.01):
            raise SystemExit(f"{name} does other work: {tuple(images.shape)}, {away:.3f} away")


def workers_of(loader: Any, what: str) -> list[list[str]]:
    workers = loader._iterator._workers if loader._iterator else []
    return [Path(f"/proc/{worker.pid}/{what}").read_text().splitlines() for worker in workers]


def cpu_seconds(loader: Any) -> float:
    """Of all workers so far, in their own code and in the kernel."""
    fields = [lines[0].rpartition(")")[2].split() for lines in workers_of(loader, "stat")]
    return sum(int(one[11]) + int(one[12]) for one in fields) / os.sysconf("SC_CLK_TCK")


def peak_megabytes(loader: Any) -> float:
    """Of the largest worker."""
    status = [line for lines in workers_of(loader, "status") for line in lines]
    return max(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM"))


def pass_over(pipeline: tuple[Pipeline, Any]) -> tuple[float, float]:
    """Seconds on the clock, and of the workers' CPUs."""
    batches, loader = pipeline
    used, started = cpu_seconds(loader), time.perf_counter()
    for images in batches():
        images[0].sum()
    return time.perf_counter() - started, cpu_seconds(loader) - used


def measure(paths: list[Path], size: int, workers: int, rounds: int) -> None:
    found = pipelines(paths, size, workers)
    require_same_pictures(found)
    for pipeline in found.values():
        pass_over(pipeline)
    passes: dict[str, list[tuple[float, float]]] = {name: [] for name in found}
    for number in range(rounds):
        names = list(found)
        for name in names[number % len(names) :] + names[: number % len(names)]:
            passes[name].append(pass_over(found[name]))
    others = [name for name in found if name not in (*OURS, LIMIT)]
    for name, (_, loader) in found.items():
        clock, used = (statistics.median(one[kind] for one in passes[name]) / len(paths) for kind in (0, 1))
        by_clock, by_cpu = (
            statistics.median(min(passes[o][r][kind] for o in others) / passes[name][r][kind] for r in range(rounds))
            for kind in (0, 1)
        )
        print(
            f"| {size} | {workers} | {name} | {1 / clock:,.0f} | {by_clock:.2f} | {1000 * used:.2f} | {by_cpu:.2f} "
            f"| {peak_megabytes(loader):,.0f} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer pictures and rounds, one worker")
    parser.add_argument("--size", type=int, nargs="+", default=[224, 448])
    parser.add_argument("--workers", type=int, nargs="+")
    parser.add_argument(
        "--sources", action="store_true", help="compare where pictures come from, in place of the peers"
    )
    given = parser.parse_args()
    count, rounds = (128, 3) if given.quick else (256, 7)
    torch.set_num_threads(1)
    print(f"resized by {'the compiled library' if is_compiled() else 'Pillow (the compiled library is not built)'}")
    sources = (("noise", noise),) if given.sources else (("photographs", photographs), ("noise", noise))
    for what, source in sources:
        if source is photographs and not PHOTOGRAPHS.is_dir():
            print(f"{PHOTOGRAPHS} is absent: no photographs")
            continue
        with tempfile.TemporaryDirectory() as folder:
            paths = []
            for number, image in enumerate(source(count)):
                paths.append(Path(folder) / f"{number:04d}.jpg")
                image.save(paths[-1], quality=92)
            size = statistics.mean(path.stat().st_size for path in paths) / 1000
            print(f"\n{len(paths)} {what}, {WIDTH} x {HEIGHT}, {size:.0f} kB each\n")
            title = ["size", "workers", "pipeline", "images/s", "ratio", "CPU ms", "CPU ratio", "worker MB"]
            if given.sources:
                title.remove("CPU ratio")
            print(f"| {' | '.join(title)} |")
            print("|---" * len(title) + "|")
            for side in given.size:
                for workers in given.workers or ([1] if given.quick else [1, 2]):
                    (measure_sources if given.sources else measure)(paths, side, workers, rounds)


if __name__ == "__main__":
    main()
