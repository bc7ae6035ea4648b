"""What this process runs on: device, dtype, threads, seed, and where files are kept.

torch is imported inside the functions that need it, so that reading a path costs nothing.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def cache_folder() -> Path:
    """Where fetched weights and built kernels live: $OPENGLM_CACHE, else the user's cache folder."""
    if chosen := os.environ.get("OPENGLM_CACHE"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "openglm"


def pick_device(name: str | None = None) -> torch.device:
    """The named device, or CUDA where there is one, else the CPU."""
    import torch

    if name is None:
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"device must be cpu, cuda or cuda:N, got {name!r}") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device {name!r} was asked for, but torch {torch.__version__} sees no CUDA device")
    return device


def let_threads_sleep() -> None:
    """Have torch's threads sleep while they wait for each other, instead of spinning. To be called before
    torch is imported. Spinning gains microseconds on an idle machine, and costs most of a busy one: beside
    other programs on two cores, five training steps took 22 s instead of 189 s.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether matrix products are faster in bfloat16 than in float32, and not emulated."""
    import torch

    if device.type == "cuda":
        return True
    asks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, ask, bool)() for ask in asks)


def seed_everything(seed: int) -> None:
    """Seed Python, numpy and torch."""
    import random

    import numpy
    import torch

    random.seed(seed)
    numpy.random.seed(seed % 2**32)
    torch.manual_seed(seed)
