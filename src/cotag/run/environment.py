"""What a run was made with: versions, revision and hardware."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from cotag import __version__

PARTS = ("torch", "torchvision", "timm", "accelerate", "numpy", "pillow", "pyarrow", "safetensors")


def environment(seed: int) -> dict[str, Any]:
    """Versions, the git revision of the working folder, hardware and seed, as a JSON object."""
    return {
        "cotag": __version__,
        "python": sys.version.split()[0],
        "parts": {name: _version(name) for name in PARTS},
        "git": _git_revision(),
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "accelerators": [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())],
        "seed": seed,
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _git_revision() -> str | None:
    try:
        found = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip()
