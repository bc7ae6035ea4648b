"""The one writer of training folders, and what a run needs to go on exactly where it was.

A folder is filled under a temporary name, pushed to the disk and renamed: whoever finds it finds it whole.
A checkpoint is such a folder, `step-00000120` and so on, with a manifest of hashes. The newest whole one
counts; a damaged one is passed over with a warning.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from openglm.model.shards import read_file, sync_folder, write_file, write_whole
from openglm.train.lora import TrainedLora

log = logging.getLogger(__name__)

MANIFEST, STATE, TENSORS = "manifest.json", "state.json", "training.safetensors"
KEPT = 2  # checkpoints; the older one is for when the newest turns out damaged


def write_folder(target: Path, fill: Callable[[Path], None]) -> None:
    """A new folder, or a new one in place of an old one, which may be lost if we are killed just then."""
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        fill(part)
        sync_folder(part)
        shutil.rmtree(target, ignore_errors=True)
        os.replace(part, target)
        sync_folder(target.parent)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def clear_parts(folder: Path) -> None:
    """Remove what killed writers left under their temporary names."""
    for part in folder.glob(".*.part"):
        shutil.rmtree(part) if part.is_dir() else part.unlink()


def hashes(folder: Path, *names: str) -> dict[str, str]:
    """SHA-256 of files in a folder, of all below it if none are named."""
    paths = [folder / name for name in names] or sorted(p for p in folder.rglob("*") if p.is_file())
    return {str(path.relative_to(folder)): sha256(path.read_bytes()).hexdigest() for path in paths}


def save(
    checkpoints: Path, trained: TrainedLora, optimizer: torch.optim.Optimizer, state: dict[str, Any]
) -> None:
    """Write the checkpoint of `state["step"]` and remove the older ones."""

    def fill(folder: Path) -> None:
        (folder / "adapter").mkdir()
        trained.write(folder / "adapter")
        sync_folder(folder / "adapter")
        tensors = _moments(trained, optimizer) | _random_states(trained)
        write_file(folder / TENSORS, {name: (tensor.dtype, tensor) for name, tensor in tensors.items()})
        write_whole(folder / STATE, [json.dumps(state, indent=2).encode()])
        write_whole(folder / MANIFEST, [json.dumps(hashes(folder), indent=2).encode()])

    write_folder(checkpoints / f"step-{state['step']:08}", fill)
    for old in _steps(checkpoints)[KEPT:]:
        shutil.rmtree(old)


def newest(checkpoints: Path) -> Path | None:
    """The newest whole checkpoint."""
    clear_parts(checkpoints)
    for folder in _steps(checkpoints):
        if _is_whole(folder):
            return folder
        log.warning("%s is damaged and is passed over", folder)
    return None


def restore(folder: Path, trained: TrainedLora, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Put a checkpoint back, to the last bit, and return its state."""
    trained.read(folder / "adapter")
    tensors = read_file(folder / TENSORS)
    state: dict[int, dict[str, Tensor]] = {}
    for index, name in enumerate(trained.parameters):
        moments = {key: tensors[f"{name}.{key}"] for key in ("step", "exp_avg", "exp_avg_sq")}
        state[index] = moments
    optimizer.load_state_dict(optimizer.state_dict() | {"state": state})
    torch.set_rng_state(tensors["random.cpu"])
    if "random.cuda" in tensors:
        torch.cuda.set_rng_state(tensors["random.cuda"], trained.device)
    return json.loads((folder / STATE).read_bytes())


def _moments(trained: TrainedLora, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """AdamW's sums, by the name of their parameter."""
    return {
        f"{name}.{key}": value
        for name, parameter in trained.parameters.items()
        for key, value in optimizer.state[parameter].items()
    }


def _random_states(trained: TrainedLora) -> dict[str, Tensor]:
    states = {"random.cpu": torch.get_rng_state()}
    if trained.device.type == "cuda":
        states["random.cuda"] = torch.cuda.get_rng_state(trained.device)
    return states


def _steps(checkpoints: Path) -> list[Path]:
    return sorted(checkpoints.glob("step-*"), reverse=True)


def _is_whole(folder: Path) -> bool:
    try:
        listed = json.loads((folder / MANIFEST).read_bytes())
        return bool(listed) and hashes(folder, *listed) == listed
    except (OSError, ValueError, TypeError):
        return False
