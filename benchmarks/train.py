"""The training loop beside a bare PyTorch loop, beside its own input, and on a GPU beside the published program's loop.

    .venv/bin/python benchmarks/train.py [--quick] [--threads 1] [--only steps|updates|memory|whole]
    .venv/bin/python benchmarks/train.py --gpu

1. Steps: the loop's own code path (``Trainer``) on batches that lie in memory, against the loop that one writes by
   hand: forward, loss, zero_grad, backward, step. Both have the same tagger, the same start, tensors, loss and
   optimizer. Blocks of steps alternate; ``ratio`` is the median of the ratios of neighboring blocks, on the clock and
   in CPU seconds (which other work on the machine changes less). Further rows add settings to the loop.
   Updates: an optimizer's step, fused as the loop has it and with one pass over memory for each operation.
2. Memory: the peak of a process that trains, with and without ``train.recompute``.
3. Whole: JPEG files to updated weights, with as many workers and threads as its parts alone. ``share`` is the slower
   of (input alone, compute alone) divided by the whole, the median over rounds. Where workers and threads together
   keep more than the cores busy, no program could reach 1: ``possible`` is the same with the whole that the CPU
   seconds of both parts, spread over all cores, would allow. ``CPU ratio`` is the CPU seconds of both parts to those
   of the whole, which other work on the machine changes less: below 1, the whole does work that its parts do not.
4. ``--gpu``: ResNet-101 at 448 and Swin-B at 224, bf16, channels last, compiled, by the loop; the bare compiled step
   of the same; and the step as ML-GCN's published program writes it (float32, contiguous, eager, the loss read at
   every step). Images per second (median of blocks), ratios, and the peak of the GPU's memory.
"""

from __future__ import annotations

import argparse
import gc
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

from cotag.data.loader import BatchOrder, ImageRows, Loader
from cotag.models.recompute import recomputing
from cotag.models.tagger import Tagger, build_tagger
from cotag.registry import OPTIMIZERS
from cotag.training.checkpoint import TrainingState
from cotag.training.criterion import Criterion
from cotag.training.interruption import Interruption
from cotag.training.loop_settings import LoopSettings, StepSettings
from cotag.training.losses.bce import BCE
from cotag.training.optim import parameter_groups, unfuse
from cotag.training.safekeeping import Safekeeping
from cotag.training.schedules import cosine
from cotag.training.tracking import Tracking
from cotag.training.trainer import Trainer
from cotag.types.batch import Batch
from cotag.types.index import Index
from cotag.types.labels import LabelSpace
from cotag.types.progress import Silent

LABELS = 20
Block = Callable[[int], None]


def tagger(name: str, size: int, labels: int = LABELS) -> Tagger:
    torch.manual_seed(0)
    space = LabelSpace(tuple(f"label {number}" for number in range(labels)))
    args = {"img_size": size} if "swin" in name else None
    return build_tagger(space, name, "linear", args, preprocessing={"image_size": size})


def optimizer_of(model: Tagger, name: str = "sgd") -> torch.optim.Optimizer:
    return OPTIMIZERS.build(name, parameter_groups(model, 1e-3, 1.0, 1e-4))


def batches_of(count: int, batch_size: int, size: int, channels_last: bool = True, labels: int = LABELS) -> list[Batch]:
    """Batches as the loader gives them."""
    made = torch.Generator().manual_seed(0)
    found = []
    for _ in range(count):
        images = torch.randint(0, 256, (batch_size, 3, size, size), dtype=torch.uint8, generator=made)
        targets = (torch.rand(batch_size, labels, generator=made) < 0.1).float()
        if channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        if torch.cuda.is_available():
            images = images.pin_memory()
        found.append(Batch(images, targets, torch.ones_like(targets, dtype=torch.bool), torch.arange(batch_size)))
    return found


class InMemory:
    """An epoch of so many of some batches."""

    def __init__(self, batches: list[Batch], length: int) -> None:
        self.batches, self.length = batches, length

    def __len__(self) -> int:
        return self.length

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        for place in range(start, self.length):
            yield self.batches[place % len(self.batches)]


class Loop:
    """Cotag's loop over batches, some steps at a time."""

    def __init__(self, model: Tagger, step: StepSettings | None = None, optimizer: str = "sgd", **loop: Any) -> None:
        self.model = model.to(memory_format=torch.channels_last)
        settings = LoopSettings(1, choose_by="last", step=step or StepSettings(), **loop)
        chosen = optimizer_of(self.model, optimizer)
        self.trainer = Trainer(self.model, Criterion(BCE()), chosen, cosine(), settings, lambda model: {})
        self.trainer._keeping = Safekeeping(self.trainer.steps, None, Interruption(), None)
        self.trainer._tracking = Tracking()

    def over(self, source: Any) -> None:
        """One epoch, without what comes between epochs."""
        with Silent().task("", 0) as task:
            self.trainer._epoch(source, TrainingState(""), len(source), task)


def ours(batches: list[Batch], model: Tagger, **settings: Any) -> Block:
    loop = Loop(model, **settings)
    return lambda steps: loop.over(InMemory(batches, steps))


def by_hand(batches: list[Batch], model: Tagger, optimizer_name: str = "sgd") -> Block:
    model = model.to(memory_format=torch.channels_last).train()
    optimizer = optimizer_of(model, optimizer_name)

    def block(steps: int) -> None:
        for place in range(steps):
            batch = batches[place % len(batches)]
            logits = model(batch.images_BCHW).logits_BK
            loss = functional.binary_cross_entropy_with_logits(logits, batch.targets_BK)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return block


def timed(block: Block, steps: int) -> tuple[float, float]:
    """Seconds of a step, on the clock and of all threads' CPUs."""
    used, started = time.process_time(), time.perf_counter()
    block(steps)
    return (time.perf_counter() - started) / steps, (time.process_time() - used) / steps


def measure_steps(quick: bool, batch_size: int = 16, size: int = 224) -> None:
    rounds, steps = (3, 2) if quick else (15, 3)
    print(f"\nSteps: batches of {batch_size} at {size} pixels, {torch.get_num_threads()} threads, {rounds} rounds\n")
    print("| backbone | loop | ms a step | ratio | CPU ratio |\n|---|---|---|---|---|")
    for name in ("resnet18", "mobilenetv2_100"):
        batches = batches_of(4, batch_size, size)
        blocks = {
            "by hand": by_hand(batches, tagger(name, size)),
            # What the measure itself is worth.
            "by hand, once more": by_hand(batches, tagger(name, size)),
            "Cotag": ours(batches, tagger(name, size)),
            "Cotag, clip_norm, ema": ours(batches, tagger(name, size), clip_norm=10.0, ema=0.999),
        }
        for block in blocks.values():
            block(1)
        found: dict[str, list[tuple[float, float]]] = {title: [] for title in blocks}
        for number in range(rounds):
            order = list(blocks) if number % 2 else list(blocks)[::-1]
            for title in order:
                found[title].append(timed(blocks[title], steps))
        for title, times in found.items():
            pairs = list(zip(times, found["by hand"], strict=True))
            clock, cpu = (statistics.median(own[kind] / other[kind] for own, other in pairs) for kind in (0, 1))
            median = 1000 * statistics.median(own for own, _ in times)
            print(f"| {name} | {title} | {median:.0f} | {clock:.3f} | {cpu:.3f} |", flush=True)


def measure_updates(quick: bool) -> None:
    rounds = 5 if quick else 25
    print(f"\nUpdates: CPU ms of an optimizer's step, median of {rounds}\n")
    print("| backbone | optimizer | one pass for each operation | fused | ratio |\n|---|---|---|---|---|")
    for name in ("resnet18", "mobilenetv2_100"):
        model = tagger(name, 224)
        for parameter in model.parameters():
            parameter.grad = torch.randn_like(parameter)
        for chosen in ("sgd", "adamw"):
            fused, plain = optimizer_of(model, chosen), optimizer_of(model, chosen)
            unfuse(plain)
            found: dict[bool, list[float]] = {False: [], True: []}
            for _ in range(rounds + 1):
                for kind, optimizer in ((False, plain), (True, fused)):
                    used = time.process_time()
                    optimizer.step()
                    found[kind].append(1000 * (time.process_time() - used))
            before, after = (statistics.median(found[kind][1:]) for kind in (False, True))
            print(f"| {name} | {chosen} | {before:.1f} | {after:.1f} | {before / after:.1f} |", flush=True)


def peak_of(name: str, recompute: bool, batch_size: int, size: int) -> None:
    """Run in a process of its own: prints its peak of memory in MB, that of the batches and weights included."""
    model = tagger(name, size)
    loop, batches = Loop(model), batches_of(1, batch_size, size)
    with recomputing(model.backbone) if recompute else nullcontext():
        started = time.perf_counter()
        loop.over(InMemory(batches, 2))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{peak:.0f} {(time.perf_counter() - started) / 2:.2f}")


def measure_memory(quick: bool) -> None:
    batch_size, size = (8, 224) if quick else (32, 224)
    print(f"\nMemory: the peak of a process, batches of {batch_size} at {size} pixels\n")
    print("| backbone | train.recompute | MB | s a step |\n|---|---|---|---|")
    for name in ("resnet18", "mobilenetv2_100"):
        for recompute in (False, True):
            call = f"import train; train.peak_of({name!r}, {recompute}, {batch_size}, {size})"
            done = subprocess.run(
                [sys.executable, "-c", call], cwd=Path(__file__).parent, capture_output=True, text=True, check=True
            )
            peak, seconds = done.stdout.split()
            print(f"| {name} | {str(recompute).lower()} | {int(peak):,} | {seconds} |", flush=True)


def photographs(folder: Path, count: int) -> list[Path]:
    """JPEGs of 640 x 480 with as much of each scale as photographs have."""
    down, across = np.meshgrid(np.fft.fftfreq(480), np.fft.rfftfreq(640), indexing="ij")
    amplitude = 1 / np.maximum(np.hypot(down, across), 1 / 640)
    paths = []
    for number in range(count):
        random = np.random.default_rng(number)
        waves = [np.fft.irfft2(np.fft.rfft2(random.normal(size=(480, 640))) * amplitude) for _ in range(3)]
        pixels = np.stack([128 + 55 * wave / wave.std() for wave in waves], 2).clip(0, 255).astype(np.uint8)
        paths.append(folder / f"{number:04d}.jpg")
        Image.fromarray(pixels).save(paths[-1], quality=92)
    return paths


def loader_of(paths: list[Path], model: Tagger, batch_size: int, workers: int, length: int) -> Loader:
    index = Index.build(
        {"image": [path.name for path in paths], "positives": [[n % LABELS] for n in range(len(paths))]},
        model.label_space,
        paths[0].parent,
    )
    return Loader(
        ImageRows(index, model.preprocessing),
        BatchOrder(np.arange(length * batch_size) % len(paths), batch_size, True),
        workers=workers,
    )


def cpu_of(loader: Loader) -> float:
    """CPU seconds so far of this process and of the loader's workers."""
    total, iterator = time.process_time(), loader._loader._iterator
    for worker in getattr(iterator, "_workers", []):
        fields = Path(f"/proc/{worker.pid}/stat").read_text().rpartition(")")[2].split()
        total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def measure_whole(quick: bool, workers: int, batch_size: int = 16) -> None:
    rounds, shorter = (3, 2) if quick else (7, 1)
    cores, threads = len(os.sched_getaffinity(0)), torch.get_num_threads()
    print(f"\nWhole: {workers} worker, {threads} threads, {cores} cores, batches of {batch_size}, {rounds} rounds\n")
    print("| backbone | size | input ms | compute ms | whole ms (an image) | share | possible | CPU ratio |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        paths = photographs(Path(folder), 256)
        # Compute takes most of the time, about as much as input, and less. An epoch waits for its first batch, so one
        # of few steps would tell more of that than of the steps.
        for name, size, length in (("resnet18", 224, 6), ("mobilenetv2_035", 64, 120), ("test_resnet", 64, 120)):
            length = length // shorter
            model = tagger(name, size)
            loop, loader = Loop(model), loader_of(paths, model, batch_size, workers, length)
            memory = InMemory(batches_of(4, batch_size, size), length)
            parts: dict[str, Callable[[], Any]] = {
                "input": lambda loader=loader: sum(int(batch.images_BCHW[0, 0, 0, 0]) for batch in loader.epoch(1)),
                "compute": lambda loop=loop, memory=memory: loop.over(memory),
                "whole": lambda loop=loop, loader=loader: loop.over(loader),
            }
            found: dict[str, list[tuple[float, float]]] = {part: [] for part in parts}
            for number in range(rounds + 1):
                for part in list(parts)[number % 3 :] + list(parts)[: number % 3]:
                    used, started = cpu_of(loader), time.perf_counter()
                    parts[part]()
                    found[part].append((time.perf_counter() - started, cpu_of(loader) - used))
            kept = {part: times[1:] for part, times in found.items()}
            slower = [max(kept["input"][r][0], kept["compute"][r][0]) for r in range(rounds)]
            share = statistics.median(slower[r] / kept["whole"][r][0] for r in range(rounds))
            least = [max(slower[r], (kept["input"][r][1] + kept["compute"][r][1]) / cores) for r in range(rounds)]
            possible = statistics.median(slower[r] / least[r] for r in range(rounds))
            parted = statistics.median(
                (kept["input"][r][1] + kept["compute"][r][1]) / kept["whole"][r][1] for r in range(rounds)
            )
            each = [1000 * statistics.median(one for one, _ in kept[part]) / (length * batch_size) for part in parts]
            times = " | ".join(f"{one:.2f}" for one in each)
            print(f"| {name} | {size} | {times} | {share:.3f} | {possible:.3f} | {parted:.3f} |", flush=True)
            del loop, loader


def as_published(model: Tagger, batches: list[Batch], device: torch.device) -> Block:
    """As ML-GCN's program trains: float32, contiguous, eager, a multi-label soft margin loss read at every step."""
    model = model.to(device).train()
    criterion = torch.nn.MultiLabelSoftMarginLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9, weight_decay=1e-4)
    total = [0.0]

    def block(steps: int) -> None:
        for place in range(steps):
            batch = batches[place % len(batches)]
            images, targets = batch.images_BCHW.to(device), batch.targets_BK.to(device)
            output = model(images).logits_BK
            loss = criterion(output, targets)
            total[0] += loss.item()
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm=10.0)
            optimizer.step()

    return block


def bare_compiled(model: Tagger, batches: list[Batch], device: torch.device) -> Block:
    """The fastest step without anything around it: bf16, channels last, compiled; images already on the GPU."""
    model = model.to(device, memory_format=torch.channels_last).train()
    model.backbone.trained_on_several = True
    optimizer, compiled = optimizer_of(model), torch.compile(model, dynamic=False)
    moved = [batch.to(device) for batch in batches]

    def block(steps: int) -> None:
        for place in range(steps):
            batch = moved[place % len(moved)]
            with torch.autocast(device.type, torch.bfloat16):
                logits = compiled(batch.images_BCHW).logits_BK
            loss = functional.binary_cross_entropy_with_logits(logits.float(), batch.targets_BK)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm=10.0)
            optimizer.step()

    return block


def gpu_blocks(name: str, size: int, batch_size: int, device: torch.device) -> Iterator[tuple[str, Block]]:
    """Each loop in turn; the one before is gone when the next is made."""
    contiguous = batches_of(4, batch_size, size, channels_last=False, labels=80)
    batches = batches_of(4, batch_size, size, labels=80)
    yield "as published", as_published(tagger(name, size, 80), contiguous, device)
    yield "bare compiled step", bare_compiled(tagger(name, size, 80), batches, device)
    yield "Cotag", ours(batches, tagger(name, size, 80), step=StepSettings("bf16", 1, batch_size), clip_norm=10.0)


def measure_gpu(quick: bool, batch_size: int, device: torch.device) -> None:
    rounds, steps = (3, 10) if quick else (7, 30)
    print(f"\nGPU: {torch.cuda.get_device_name(device)}, torch {torch.__version__}, {rounds} blocks of {steps} steps\n")
    print("| backbone | size | batch | loop | images/s | ratio to published | share of bare | peak GB |")
    print("|---|---|---|---|---|---|---|---|")
    for name, size in (("resnet101", 448), ("swin_base_patch4_window7_224", 224)):
        speeds: dict[str, float] = {}
        for title, block in gpu_blocks(name, size, batch_size, device):
            block(5)
            torch.cuda.synchronize(device)
            torch.cuda.reset_peak_memory_stats(device)
            times = []
            for _ in range(rounds):
                started = time.perf_counter()
                block(steps)
                torch.cuda.synchronize(device)
                times.append(time.perf_counter() - started)
            speeds[title] = batch_size * steps / statistics.median(times)
            ratio = speeds[title] / speeds["as published"]
            share = f"{speeds[title] / speeds['bare compiled step']:.3f}" if "bare compiled step" in speeds else ""
            peak = torch.cuda.max_memory_allocated(device) / 2**30
            measured = f"{speeds[title]:,.0f} | {ratio:.2f} | {share} | {peak:.1f}"
            print(f"| {name} | {size} | {batch_size} | {title} | {measured} |")
            sys.stdout.flush()
            del block
            gc.collect()
            torch.compiler.reset()
            torch.cuda.empty_cache()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rounds and steps")
    parser.add_argument("--threads", type=int, default=1, help="of the arithmetic on the CPU")
    parser.add_argument("--workers", type=int, default=1, help="processes that decode")
    parser.add_argument("--only", choices=["steps", "updates", "memory", "whole"])
    parser.add_argument("--gpu", action="store_true", help="the GPU alone")
    parser.add_argument("--batch", type=int, default=64, help="images of a batch on the GPU")
    given = parser.parse_args()
    if given.gpu:
        if torch.cuda.is_available():
            measure_gpu(given.quick, given.batch, torch.device("cuda"))
        else:
            print("no GPU")
        return
    torch.set_num_threads(given.threads)
    if given.only in (None, "steps"):
        measure_steps(given.quick)
    if given.only in (None, "updates"):
        measure_updates(given.quick)
    if given.only in (None, "memory"):
        measure_memory(given.quick)
    if given.only in (None, "whole"):
        measure_whole(given.quick, given.workers)


if __name__ == "__main__":
    main()
