"""Tensors in safetensors files, written with the errors of the file system."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from cotag.errors import StorageError


def save_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    """Write named tensors.

    Raises:
        StorageError: the disk is full, or the file cannot be written for another reason.
    """
    try:
        # safetensors gives a file to its owner alone; others may read it as they may the files beside it.
        path.touch()
        mode = path.stat().st_mode
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, path)
        path.chmod(mode)
    except SafetensorError as error:
        reason = str(error).splitlines()[0].removeprefix("Error while serializing: ")
        raise StorageError(f"{path}: could not be written ({reason}); free space or choose another --out") from error
