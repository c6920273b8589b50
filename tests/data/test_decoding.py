from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg
from PIL import Image, ImageOps, features

from cotag.data.augmentations import build_augmentations
from cotag.data.decoding import prepare_file
from cotag.data.images import open_image
from cotag.data.transforms import INTERPOLATIONS, Preprocessing
from cotag.errors import ImageError


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    """Smooth colors with edges and a little noise, as photographs have them."""
    random = np.random.default_rng(seed)
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    waves = [np.sin(6 * (a * x + b * y)) for a, b in random.uniform(-1, 1, (3, 2))]
    pixels = np.stack(waves, 2) * 90 + 128 + 40 * ((x + y) % 0.4 > 0.2)[..., None]
    return Image.fromarray((pixels + random.normal(0, 3, pixels.shape)).clip(0, 255).astype(np.uint8))


def save(path: Path, image: Image.Image, **options: Any) -> Path:
    image.save(path, **options)
    return path


def step_by_step(path: Path, prepare: Preprocessing, augment: list[str], seed: int) -> np.ndarray:
    """The file opened, each augmentation applied, and Pillow's resize: what ``exact`` must give."""
    image, random = open_image(path), np.random.default_rng(seed)
    for one in build_augmentations(augment, prepare.image_size):
        image = one(image, random)
    size, how = (prepare.image_size, prepare.image_size), INTERPOLATIONS[prepare.interpolation]
    if image.size != size:
        image = image.resize(size, how) if prepare.resize == "squash" else ImageOps.fit(image, size, how)
    return np.asarray(image).transpose(2, 0, 1)


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def high_gray() -> Image.Image:
    return Image.fromarray((np.arange(60 * 80, dtype=np.uint16) * 13).reshape(60, 80))


def frames() -> dict[str, Any]:
    return {"save_all": True, "append_images": [picture(80, 60, 9)], "duration": 50}


def palette() -> Image.Image:
    return picture(80, 60).convert("P", palette=Image.Palette.ADAPTIVE)


def clear() -> Image.Image:
    image = picture(80, 60).convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize((80, 60)))
    return image


FILES: dict[str, Callable[[Path], Path]] = {
    "full.jpg": lambda p: save(p, picture(83, 61), quality=90, subsampling=0),
    "half.jpg": lambda p: save(p, picture(83, 61), quality=80, subsampling=1),
    "quarter.jpg": lambda p: save(p, picture(83, 61), quality=60, subsampling=2),
    "progressive.jpg": lambda p: save(p, picture(300, 200), progressive=True),
    "gray.jpg": lambda p: save(p, picture(80, 60).convert("L")),
    "cmyk.jpg": lambda p: save(p, picture(80, 60).convert("CMYK")),
    "rgb.jpg": lambda p: save(p, picture(80, 60), keep_rgb=True),
    **{f"turned{n}.jpg": lambda p, n=n: save(p, picture(90, 40), exif=turned(n)) for n in range(1, 9)},  # type: ignore[misc]
    "deep.png": lambda p: save(p, high_gray()),
    "palette.png": lambda p: save(p, palette()),
    "clear.png": lambda p: save(p, clear()),
    "bilevel.png": lambda p: save(p, picture(80, 60).convert("1")),
    "turned.png": lambda p: save(p, picture(90, 40), exif=turned(6)),
    "turned.tif": lambda p: save(p, picture(90, 40), exif=turned(6)),
    "moving.gif": lambda p: save(p, palette(), **frames()),
    "plain.webp": lambda p: save(p, picture(80, 60), quality=80),
    "moving.webp": lambda p: save(p, picture(80, 60), lossless=True, **frames()),
    "clear.webp": lambda p: save(p, clear(), lossless=True),
    "plain.avif": lambda p: save(p, picture(80, 60)),
    "moving.avif": lambda p: save(p, picture(80, 60), **frames()),
}
NEEDS = {".webp": "webp", ".avif": "avif"}


@pytest.fixture(params=FILES, name="file")
def any_file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    need = NEEDS.get(Path(request.param).suffix)
    if need and not features.check(need):
        pytest.skip(f"this Pillow has no {need}")
    return FILES[request.param](tmp_path / request.param)


@pytest.mark.parametrize("augment", [[], ["crop", "flip"], ["multiscale_crop", "flip", "color"], ["flip", "cutout"]])
def test_exact_is_one_step_after_the_other_to_the_byte(file: Path, augment: list[str]) -> None:
    for seed, resize, how in ((0, "squash", "bicubic"), (1, "crop", "bilinear"), (2, "crop", "lanczos")):
        prepare = Preprocessing(32, resize, how)
        random = np.random.default_rng(seed)
        found = prepare_file(file, prepare, augmentations=build_augmentations(augment, 32), random=random)
        assert np.array_equal(found, step_by_step(file, prepare, augment, seed)), (seed, resize)


def test_fast_is_close_to_exact(file: Path) -> None:
    for resize in ("squash", "crop", "letterbox"):
        exact = prepare_file(file, Preprocessing(32, resize)).astype(int)
        fast = prepare_file(file, Preprocessing(32, resize, decode="fast")).astype(int)
        limit = 4 if file.suffix == ".jpg" else 0
        assert np.abs(fast - exact).mean() <= limit
        # A picture that lies on its side, or is mirrored, would be far away.
        assert np.abs(fast - exact[:, ::-1]).mean() > 4 * max(limit, 1) or file.name == "deep.png"


def test_the_first_frame_of_an_animation_is_taken(tmp_path: Path) -> None:
    for name in ("moving.gif", "moving.webp", "moving.avif"):
        need = NEEDS.get(Path(name).suffix)
        if need is None or features.check(need):
            found = prepare_file(FILES[name](tmp_path / name), Preprocessing(32)).astype(int)
            first, second = (Preprocessing(32)(picture(80, 60, seed)).astype(int) for seed in (0, 9))
            assert np.abs(found - first).mean() < 8 < np.abs(found - second).mean()


# What is decoded


@pytest.fixture(name="sizes")
def decoded_sizes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The (width, height) of what was decoded."""
    found: list[tuple[int, int]] = []
    true = simplejpeg.decode_jpeg

    def decode(data: bytes, **options: Any) -> np.ndarray:
        pixels = true(data, **options)
        found.append((pixels.shape[1], pixels.shape[0]))
        return pixels

    monkeypatch.setattr("cotag.data.decoding.simplejpeg.decode_jpeg", decode)
    return found


@pytest.mark.parametrize(
    ("size", "side", "resize", "wanted"),
    [
        ((640, 480), 448, "squash", (640, 480)),
        ((640, 480), 241, "squash", (640, 480)),
        ((640, 480), 240, "squash", (320, 240)),
        ((640, 480), 224, "crop", (320, 240)),
        ((641, 483), 224, "squash", (321, 242)),
        ((641, 483), 100, "squash", (161, 121)),
        ((641, 483), 16, "crop", (81, 61)),
        ((640, 480), 320, "letterbox", (320, 240)),
        ((640, 480), 321, "letterbox", (640, 480)),
        ((480, 640), 160, "letterbox", (120, 160)),
        ((640, 90), 80, "letterbox", (80, 12)),
    ],
)
def test_fast_decodes_at_the_smallest_size_that_covers(
    tmp_path: Path, sizes: list[tuple[int, int]], size: tuple[int, int], side: int, resize: str, wanted: tuple[int, int]
) -> None:
    path = save(tmp_path / "a.jpg", picture(*size))
    prepare_file(path, Preprocessing(side, resize, decode="fast"))
    prepare_file(path, Preprocessing(side, resize))
    assert sizes == [wanted, size]


# Bad files


def broken(kind: str, path: Path) -> Path:
    whole = io.BytesIO()
    picture(64, 48).save(whole, "JPEG")
    data = whole.getvalue()
    contents = {
        "cut": data[: len(data) // 2],
        "cut in the header": data[:100],
        "zeros": data[: len(data) // 2] + bytes(len(data) // 2),
        "flipped": data[:900] + bytes(200) + data[1100:],
        "empty": b"",
        "text": b"not a picture",
        "bomb": data.replace(b"\xff\xc0\x00\x11\x08\x00\x30\x00\x40", b"\xff\xc0\x00\x11\x08\xff\xff\xff\xff"),
    }
    if kind in contents:
        path.write_bytes(contents[kind])
    return path


@pytest.mark.parametrize("decode", ["exact", "fast"])
@pytest.mark.parametrize("kind", ["cut", "cut in the header", "zeros", "empty", "text", "bomb", "missing"])
def test_a_bad_file_is_refused_in_the_words_of_opening_it(tmp_path: Path, kind: str, decode: str) -> None:
    path = broken(kind, tmp_path / "a.jpg")
    with pytest.raises(ImageError) as wanted:
        open_image(path, 3)
    with pytest.raises(ImageError) as found:
        prepare_file(path, Preprocessing(16, decode=decode), 3)
    assert str(found.value) == str(wanted.value)


def test_what_pillow_forgives_is_forgiven(tmp_path: Path) -> None:
    path = broken("flipped", tmp_path / "a.jpg")
    data = path.read_bytes()
    with pytest.raises(ValueError, match=r"\w"):
        simplejpeg.decode_jpeg(data)
    assert np.array_equal(prepare_file(path, Preprocessing(16)), step_by_step(path, Preprocessing(16), [], 0))


def test_the_pixels_are_written_where_they_are_wanted(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jpg", picture(90, 70))
    batch = np.zeros((2, 16, 16, 3), dtype=np.uint8)
    found = prepare_file(path, Preprocessing(16), out_HWC=batch[1])
    assert np.shares_memory(found, batch)
    assert np.array_equal(batch[1], step_by_step(path, Preprocessing(16), [], 0).transpose(1, 2, 0))
    assert not batch[0].any()


def test_what_a_first_crop_leaves_out_decides_how_small_fast_decodes(
    tmp_path: Path, sizes: list[tuple[int, int]]
) -> None:
    path = save(tmp_path / "a.jpg", picture(640, 480))
    crop: Any = {"crop": {"smallest": 0.05, "stretch": 1.0}}
    for seed in range(16):
        (augment,) = build_augmentations([crop])
        kept = augment(Image.new("RGB", (640, 480)), np.random.default_rng(seed)).size
        prepare = Preprocessing(100, decode="fast")
        fast = prepare_file(path, prepare, augmentations=[augment], random=np.random.default_rng(seed))
        exact = step_by_step(path, Preprocessing(100), [crop], seed).astype(int)
        assert np.abs(fast - exact).mean() < 2
        factor = 4 if min(kept) >= 400 else 2 if min(kept) >= 200 else 1
        assert sizes[-1] == (640 // factor, 480 // factor)
    assert len(set(sizes)) == 3


def test_a_mirrored_crop_of_fast_is_that_of_exact(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jpg", picture(640, 480), exif=turned(6))
    for seed in range(4):
        augment: Any = ["crop", "flip"]
        given = {"augmentations": build_augmentations(augment), "random": np.random.default_rng(seed)}
        fast = prepare_file(path, Preprocessing(100, decode="fast"), **given)  # type: ignore[arg-type]
        exact = step_by_step(path, Preprocessing(100), augment, seed).astype(int)
        assert np.abs(fast - exact).mean() < 2
        assert np.abs(fast[:, :, ::-1] - exact).mean() > 8
