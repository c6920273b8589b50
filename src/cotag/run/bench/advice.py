"""What would help, from what was measured; only settings that there are."""

from __future__ import annotations

from collections.abc import Sequence

from cotag.data.augmentations import build_augmentations
from cotag.data.square_cache import keeps
from cotag.data.transforms import Preprocessing
from cotag.data.workers import available_cores, worker_count
from cotag.recipe import Recipe
from cotag.run.bench.stages import Stage

# A change is advised where it saves at least this share.
WORTH = 0.1


def input_advice(recipe: Recipe, stages: Sequence[Stage], fast: float | None, cores: int | None = None) -> list[str]:
    """Advice on a slow input.

    Args:
        stages: reading, decoding, resizing, all of it in one process, and the loader.
        fast: seconds for decoding an image with ``data.decode=fast``; None where it is set.
        cores: that this process may use; counted where not given.
    """
    reading, decoding, _, single, loader = stages
    cached = recipe.data.cache is not None
    cores, workers = cores or available_cores(), worker_count(recipe.data.workers)
    found: list[tuple[float, str]] = []
    if workers < cores:
        gain = min(cores / max(1, workers), loader.seconds * cores / single.seconds)
        if gain > 1 + WORTH:
            found.append((gain, f"data.workers={cores}: there are {cores} cores and {workers} workers (not measured)"))
    if fast is not None and not cached and single.seconds - decoding.seconds + fast < (1 - WORTH) * single.seconds:
        gain = single.seconds / (single.seconds - decoding.seconds + fast)
        told = f"{1000 * fast:.2f} ms for {1000 * decoding.seconds:.2f} (measured; docs/input.md says what it changes)"
        found.append((gain, f"data.decode=fast: decoding takes {told}"))
    if reading.seconds > 0.3 * single.seconds:
        share = reading.seconds / single.seconds
        found.append((1 / (1 - min(share, 0.99)), f"a faster disk: reading takes {share:.0%} of preparing a picture"))
    if decoding.seconds > 0.5 * single.seconds and not cached:
        told = f"decoding takes {decoding.seconds / single.seconds:.0%} of preparing a picture (not measured)"
        whole = keeps(build_augmentations(recipe.data.augment))
        found.append((1.0, f"data.cache=auto: {told}" if whole else f"smaller copies of the pictures: {told}"))
    lines = [line for _, line in sorted(found, key=lambda one: -one[0])]
    return lines or ["nothing that Cotag can set: more cores, or smaller pictures"]


def training_limit(stages: Sequence[Stage]) -> str:
    """``input`` or ``compute``, whichever is slower alone."""
    seconds = {stage.name: stage.seconds for stage in stages}
    return "input" if seconds["input alone"] > seconds["compute alone"] else "compute"


def compute_advice(recipe: Recipe, device: str, stages: Sequence[Stage], faster: float | None) -> list[str]:
    """Advice on slow arithmetic.

    Args:
        stages: forward, backward, the optimizer's part, and the whole step.
        faster: how many times as fast a step is in bf16, where that was measured.
    """
    given, (forward, backward, optimizer, _) = recipe.train, stages
    step = forward.seconds + backward.seconds + optimizer.seconds
    lines = []
    if faster is not None and faster > 1 + WORTH:
        lines.append(f"train.precision=bf16: {faster:.2f} times as fast (measured)")
    if not given.compile:
        lines.append("train.compile=true: compiles the model once at the start (not measured)")
    if given.recompute:
        lines.append("train.recompute=false: takes more memory and computes nothing twice (not measured)")
    if optimizer.seconds > 0.2 * step:
        share = optimizer.seconds / step
        lines.append(f"a larger train.batch_size or train.accumulate: the optimizer takes {share:.0%} of a step")
    if backward.seconds > 0.3 * step and not given.freeze:
        share = backward.seconds / step
        lines.append(f"train.freeze, or train.mode=features: the backward pass takes {share:.0%} of a step")
    if device == "cpu":
        lines.append("a GPU; a smaller data.image_size or model.backbone")
    return lines or ["a smaller data.image_size or model.backbone"]


def predict_advice(stages: Sequence[Stage], prepare: Preprocessing, device: str, images: int) -> list[str]:
    """Advice on slow predictions.

    Args:
        stages: preparing, computing, and both.
        images: how many pictures there were to measure on.
    """
    preparing, compute, whole = stages
    lines = []
    if preparing.seconds > compute.seconds:
        lines.append(
            f"preparing takes {preparing.seconds / whole.seconds:.0%} of it, in one process: give parts of the "
            "pictures to several cotag predict at once; cotag evaluate prepares in several processes by itself"
        )
        if prepare.decode == "exact":
            lines.append("train with data.decode=fast, which the model then keeps (docs/input.md says what it changes)")
    elif device == "cpu":
        lines.append("a GPU; a model of a smaller model.backbone or data.image_size")
    if images == 1:
        lines.append("only one picture was given: give some dozens, as large as those that you have")
    return lines or ["a larger --batch-size of cotag predict; a model of a smaller model.backbone or data.image_size"]
