"""Label names through the text encoder of an image-text model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cotag.errors import MissingExtra, SettingError, WeightsError, suggestion
from cotag.labels.names import words_of

if TYPE_CHECKING:
    from torch import nn

PROMPTS = ("a photo of a {}.", "a picture with {} in it.", "{}")


def clip_vectors(names: Sequence[str], model: str, seed: int = 0, prompts: Sequence[str] = PROMPTS) -> np.ndarray:
    """Vectors of names from a CLIP text encoder; float32 (K, E), each of length 1.

    Args:
        names: K names; the words of ``TennisRacket`` and ``dining_table`` are told apart first.
        model: ``ARCHITECTURE/WEIGHTS`` as open_clip names them (``ViT-B-32/laion2b_s34b_b79k``); the weights may also
            be a file, or ``none`` for random ones.
        seed: of random weights.
        prompts: sentences with ``{}`` for the name; a name's vector is the mean of theirs, each of length 1 before.

    Raises:
        MissingExtra: open_clip is not installed.
        SettingError: open_clip has no such architecture or weights.
        WeightsError: the weights could not be fetched or do not fit.

    Source: Radford et al., Learning transferable visual models from natural language supervision, ICML 2021,
    section 3.1.4 (an ensemble in the space of vectors).
    """
    try:
        import open_clip
    except ImportError:
        raise MissingExtra(
            f"vectors.source = clip:{model} needs open_clip: pip install 'cotag[clip]' (or pip install open_clip_torch)"
        ) from None
    import torch

    architecture, _, weights = model.partition("/")
    encoder = _encoder(architecture, weights, seed).eval()
    tokenize = open_clip.get_tokenizer(architecture)
    words = [" ".join(words_of(name)) or name for name in names]
    sum_KE = torch.zeros(())
    with torch.inference_mode():
        for prompt in prompts:
            tokens_KT = tokenize([prompt.format(name) for name in words])
            vectors_KE = torch.cat([encoder.encode_text(part) for part in tokens_KT.split(256)])  # type: ignore[operator]
            sum_KE = sum_KE + torch.nn.functional.normalize(vectors_KE.float(), dim=-1)
        made: np.ndarray = torch.nn.functional.normalize(sum_KE, dim=-1).numpy()
    return made


def _encoder(architecture: str, weights: str, seed: int) -> nn.Module:
    import open_clip
    import torch

    source = f"vectors.source = clip:{architecture}/{weights}"
    known = open_clip.list_models()
    if architecture not in known and not architecture.startswith("hf-hub:"):
        raise SettingError(f"{source}: open_clip has no architecture {architecture!r}{suggestion(architecture, known)}")
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    if weights not in (*tags, "none") and not Path(weights).is_file():
        what = f"no weights {weights!r} and there is no such file" if weights else "to be told the weights"
        raise SettingError(f"{source}: {architecture} has {what}{suggestion(weights, [*tags, 'none'])}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            made: nn.Module = open_clip.create_model(architecture, pretrained=None if weights == "none" else weights)
        # open_clip checks names, files and what the hub gives with exceptions of every kind.
        except Exception as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            advice = (
                "connect, or give a file of weights" if weights in tags else "give the weights of this architecture"
            )
            raise WeightsError(f"{source}: could not be loaded ({reason}); {advice}") from error
    return made
