"""Checkpoints of the published ML-GCN program, as our tagger."""

from __future__ import annotations

import os
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cotag.errors import WeightsError, listing
from cotag.labels.embeddings import LabelVectors
from cotag.models.tagger import Tagger, build_tagger

# How the published models see a picture.
PREPROCESSING = {
    "image_size": 448,
    "resize": "squash",
    "interpolation": "bilinear",
    "mean": (0.485, 0.456, 0.406),
    "std": (0.229, 0.224, 0.225),
}
# The places of a ResNet's parts in the program's nn.Sequential; 2 and 3 are activation and pooling.
PARTS = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}
COUNTER = "num_batches_tracked"
# The best score beside the weights may be a number of numpy.
NUMPY_SCALARS: list[Any] = [
    (np.float64(0).__reduce__()[0], "numpy.core.multiarray.scalar"),
    (np.float64(0).__reduce__()[0], "numpy._core.multiarray.scalar"),
    (np.dtype, "numpy.dtype"),
    *(type(np.dtype(kind)) for kind in ("f2", "f4", "f8", "i4", "i8")),
]


def load_mlgcn(path: str | os.PathLike[str], vectors: LabelVectors, backbone: str = "resnet101") -> Tagger:
    """Make a tagger of a checkpoint of the published ML-GCN program.

    Args:
        path: a file of ``torch.save`` with a ``state_dict``: ``features.*`` (the backbone), ``gc1.weight``,
            ``gc2.weight`` ... and ``A``, the matrix before it is normalized; with or without ``module.`` before each.
        vectors: the label vectors that it was trained with, for the K labels in the order of its outputs. The file
            holds neither names nor vectors, so both are taken on trust.
        backbone: the timm name of its ResNet.

    Raises:
        WeightsError: it is no such file, or it does not fit the labels, the vectors or the backbone.

    Source: Chen et al., Multi-label image recognition with graph convolutional networks, CVPR 2019.
    """
    state = _read(Path(path))
    adjacency_KK, weights = _graph_part(state, vectors, path)
    tagger = build_tagger(
        vectors.label_space,
        backbone,
        "gcn",
        head_args={"widths": [weight.shape[1] for weight in weights[:-1]], "pooling": "max"},
        preprocessing=PREPROCESSING,
        supplies={"graph": normalized(adjacency_KK), "vectors": torch.from_numpy(vectors.vectors_KE)},
    )
    known = {"A", *(f"gc{number}.weight" for number in range(1, len(weights) + 1))}
    given = {_our_name(key): value for key, value in state.items() if key not in known}
    given |= {f"head.weights.{number}": weight for number, weight in enumerate(weights)}
    _load(tagger, given, f"{path}: does not fit {backbone}")
    return tagger.eval()


def normalized(adjacency_KK: Tensor) -> Tensor:
    """A_hat = D A^T D with D the inverse square roots of the row sums of A; sparse float32 (K, K)."""
    exact_KK = adjacency_KK.double()
    scale_K = exact_KK.sum(dim=1).rsqrt()
    made_KK: Tensor = scale_K[:, None] * exact_KK.T * scale_K
    return made_KK.float().to_sparse().coalesce()


def _read(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name, without ``module.``; nothing that the file holds is run."""
    if not path.is_file():
        raise WeightsError(f"{path}: there is no such file; give a checkpoint of the ML-GCN program")
    try:
        with torch.serialization.safe_globals(NUMPY_SCALARS):
            found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL (\S+)", str(error))
        what = f"holds {named[1]}, which is code and no weight; nothing of it was run" if named else "cannot be read"
        raise WeightsError(f"{path}: {what}; give a checkpoint with a state_dict of tensors") from None
    except OSError:
        raise
    # damaged bytes make torch raise almost anything
    except Exception as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise WeightsError(f"{path}: is no file of torch.save, or a damaged one ({reason})") from None
    state = found.get("state_dict", found) if isinstance(found, dict) else None
    if not isinstance(state, dict) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise WeightsError(f"{path}: holds no state_dict of tensors; give a checkpoint of the ML-GCN program")
    return {str(key).removeprefix("module."): value for key, value in state.items()}


def _graph_part(
    state: dict[str, Tensor], vectors: LabelVectors, path: str | os.PathLike[str]
) -> tuple[Tensor, list[Tensor]]:
    """A and the weights of the graph convolutions, which must fit the labels, their vectors and each other."""
    numbers = [int(match[1]) for key in state if (match := re.fullmatch(r"gc(\d+)\.weight", key))]
    missing = [key for key in ("A", "gc1.weight", "gc2.weight") if key not in state]
    if missing or sorted(numbers) != list(range(1, len(numbers) + 1)):
        raise WeightsError(
            f"{path}: lacks {listing(missing) or 'a graph convolution between others'}; "
            "give a checkpoint of the ML-GCN program"
        )
    adjacency_KK = state["A"]
    weights = [state[f"gc{number}.weight"] for number in sorted(numbers)]
    labels, size = vectors.vectors_KE.shape
    if tuple(adjacency_KK.shape) != (labels, labels):
        raise WeightsError(
            f"{path}: was trained on {len(adjacency_KK)} labels (A has the shape {tuple(adjacency_KK.shape)}), and "
            f"{labels} are given; give the names of its labels in its order"
        )
    sums_K = adjacency_KK.sum(dim=1)
    if not (torch.isfinite(adjacency_KK).all() and (sums_K > 0).all()):
        raise WeightsError(f"{path}: A has rows that are not finite or add up to 0 or less; give another checkpoint")
    if weights[0].shape[0] != size:
        raise WeightsError(
            f"{path}: reads label vectors of {weights[0].shape[0]} values, and those of {vectors.source} have {size}; "
            "give the vectors that it was trained with"
        )
    return adjacency_KK, weights


def _our_name(key: str) -> str:
    first, _, rest = key.partition(".")
    place, _, rest = rest.partition(".")
    return f"backbone.body.{PARTS[place]}.{rest}" if first == "features" and place in PARTS else key


def _load(tagger: Tagger, given: dict[str, Tensor], what: str) -> None:
    """Load tensors by name; the tagger has the graph and the vectors already, and old batch norms did not count."""
    wanted = tagger.state_dict()
    fixed = {key for key in wanted if key.startswith("head.") and not key.startswith("head.weights.")}
    missing = [key for key in wanted if key not in given and key not in fixed and not key.endswith(COUNTER)]
    extra = [key for key in given if key not in wanted or key in fixed]
    shapes = [
        f"{key} {tuple(given[key].shape)} for {tuple(wanted[key].shape)}"
        for key in given
        if key in wanted and given[key].shape != wanted[key].shape
    ]
    parts = (("missing", missing), ("left over", extra), ("of another shape", shapes))
    told = "; ".join(f"{len(keys)} {name}: {listing(keys, 3)}" for name, keys in parts if keys)
    if told:
        raise WeightsError(f"{what}: {told}; name the backbone that it was trained with")
    tagger.load_state_dict({**wanted, **given})
