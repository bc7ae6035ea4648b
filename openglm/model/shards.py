"""Safetensors files, read and written tensor by tensor with a few megabytes of memory.

The library's own reader maps whole files, which counts as memory of the process; this one reads straight into
the place where a tensor will live. The format is a JSON header and raw bytes, so nothing can be executed:
https://github.com/huggingface/safetensors, section "Format".
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

import torch
from torch import Tensor

from openglm.errors import CheckpointError
from openglm.kernels import QuantWeight
from openglm.model.config import nearest, read_json

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
WORDS = {dtype: word for word, dtype in DTYPES.items()}
MAX_HEADER = 100_000_000  # bytes; the library's own limit
CHUNK = 16 * 2**20  # bytes read at a time where they must be converted or sent to a device


class Weights(Protocol):
    """Published tensors by name, wherever and however they are stored."""

    where: str  # for messages
    stays_packed: bool  # it was saved in few bits to be used so

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]: ...

    def dtype(self, name: str) -> torch.dtype | None:
        """As stored; None for a tensor of few bits that has no torch type."""
        ...

    def read_into(self, name: str, out: Tensor) -> None:
        """Fill `out`, converting to its type and device on the way."""
        ...

    def packed(self, name: str) -> QuantWeight | None:
        """The tensor in few bits as it is stored, where it is and QuantWeight holds that exactly."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class Stored:
    """One tensor of a file."""

    path: Path
    offset: int  # of its first byte in the file
    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def nbytes(self) -> int:
        return self.dtype.itemsize * torch.Size(self.shape).numel()


def read_header(path: Path) -> dict[str, Stored]:
    """The tensors of one file, checked: every byte belongs to exactly one of them."""
    try:
        size = path.stat().st_size
        with open(path, "rb") as file:
            start = file.read(8)
            length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
            if not 2 <= length <= min(MAX_HEADER, size - 8):
                raise ValueError(f"{size} bytes do not hold a header of {length}")
            header = json.loads(file.read(length))
        return _check(path, header, 8 + length, size)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise CheckpointError(
            f"{path} is not a whole safetensors file: {error}", hint="fetch the file again"
        ) from error


def _check(path: Path, header: Mapping, start: int, size: int) -> dict[str, Stored]:
    tensors = {}
    spans = []
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        if entry["dtype"] not in DTYPES:
            raise ValueError(f"tensor {name!r} has the unknown type {entry['dtype']!r}")
        shape = tuple(entry["shape"])
        if not all(isinstance(n, int) and n >= 0 for n in (*shape, begin, end)):
            raise ValueError(f"tensor {name!r} has shape {shape} and offsets {begin}, {end}")
        stored = Stored(path, start + begin, shape, DTYPES[entry["dtype"]])
        if stored.nbytes != end - begin:
            raise ValueError(f"tensor {name!r} needs {stored.nbytes} bytes but has {end - begin}")
        tensors[name] = stored
        spans.append((begin, end))
    at = 0
    for begin, end in sorted(spans):
        if begin != at:
            raise ValueError(f"bytes {at} to {begin} of its data belong to no tensor, or to two")
        at = end
    if start + at != size:
        raise ValueError(f"it should have {start + at} bytes but has {size}")
    return tensors


def read_into(file: BinaryIO, stored: Stored, out: Tensor) -> None:
    """Fill `out`, converting to its type and device on the way."""
    file.seek(stored.offset)
    if out.dtype == stored.dtype and out.device.type == "cpu" and out.is_contiguous():
        _read_exactly(file, out, stored)
        return
    flat = out if out.is_contiguous() else torch.empty(out.shape, dtype=out.dtype, device=out.device)
    count = CHUNK // stored.dtype.itemsize
    for piece in flat.view(-1).split(count):
        chunk = torch.empty(piece.shape, dtype=stored.dtype)
        _read_exactly(file, chunk, stored)
        piece.copy_(chunk)
    if flat is not out:
        out.copy_(flat)


def _read_exactly(file: BinaryIO, out: Tensor, stored: Stored) -> None:
    view = _bytes(out)
    while view:
        got = file.readinto(view)  # type: ignore[attr-defined]
        if not got:
            raise CheckpointError(f"{stored.path} ended early", hint="fetch the file again")
        view = view[got:]


def read_file(path: Path) -> dict[str, Tensor]:
    """All tensors of one file."""
    tensors = {}
    with open(path, "rb", buffering=0) as file:
        for name, stored in read_header(path).items():
            tensors[name] = torch.empty(stored.shape, dtype=stored.dtype)
            read_into(file, stored, tensors[name])
    return tensors


class FolderWeights:
    """The safetensors of a checkpoint folder: one file, or shards with an index."""

    stays_packed = False

    def __init__(self, folder: Path):
        self.where = str(folder)
        self.stored = find_tensors(folder)
        self.shapes = {name: stored.shape for name, stored in self.stored.items()}
        self._open: dict[Path, BinaryIO] = {}

    def dtype(self, name: str) -> torch.dtype | None:
        return self.stored[name].dtype

    def read_into(self, name: str, out: Tensor) -> None:
        stored = self.stored[name]
        if stored.path not in self._open:
            self._open[stored.path] = open(stored.path, "rb", buffering=0)  # noqa: SIM115 - until close()
        read_into(self._open[stored.path], stored, out)

    def packed(self, name: str) -> QuantWeight | None:
        return None

    def close(self) -> None:
        for file in self._open.values():
            file.close()


def find_tensors(folder: Path) -> dict[str, Stored]:
    """Every tensor of a folder. With an index, index and shards must agree to the name."""
    index_path = folder / "model.safetensors.index.json"
    if not index_path.exists():
        path = folder / "model.safetensors"
        if not path.exists():
            raise CheckpointError(f"{folder} has no model.safetensors{_instead(folder)}", hint=UNSAFE_HINT)
        return read_header(path)
    index = read_json(index_path).get("weight_map")
    if not isinstance(index, dict) or not all(isinstance(name, str) for name in index.values()):
        raise CheckpointError(f"{index_path} has no weight_map from tensor to file", hint="fetch it again")
    tensors: dict[str, Stored] = {}
    for shard in sorted(set(index.values())):
        path = folder / shard
        if path.parent != folder or not path.exists():
            raise CheckpointError(
                f"{index_path.name} names {shard!r}, which is not in {folder}", hint="fetch it again"
            )
        held = read_header(path)
        listed = {name for name, file in index.items() if file == shard}
        for name in sorted(held.keys() ^ listed):
            has, lacks = (shard, index_path.name) if name in held else (index_path.name, shard)
            raise CheckpointError(
                f"{has} has tensor {name!r}, but {lacks} does not",
                hint=nearest(name, held.keys() | listed - {name}),
            )
        tensors |= held
    return tensors


UNSAFE_HINT = "convert the checkpoint to safetensors; pickle files can run code when they are read"


def _instead(folder: Path) -> str:
    pickles = sorted(path.name for kind in ("bin", "pt", "pth", "ckpt") for path in folder.glob(f"*.{kind}"))
    if pickles:
        return f", only {pickles[0]}, which is a pickle and is not opened"
    return "" if folder.is_dir() else ": there is no such folder"


def write_file(path: Path, tensors: Mapping[str, tuple[torch.dtype, Tensor]]) -> None:
    """Write tensors, each as the type beside it, converting one at a time."""
    names = sorted(tensors, key=lambda name: (-tensors[name][0].itemsize, name))  # keeps every tensor aligned
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name in names:
        dtype, tensor = tensors[name]
        end = at + dtype.itemsize * tensor.numel()
        header[name] = {"dtype": WORDS[dtype], "shape": list(tensor.shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)

    def parts() -> Iterator[bytes | memoryview]:
        yield struct.pack("<Q", len(text))
        yield text
        for name in names:
            dtype, tensor = tensors[name]
            yield _bytes(tensor.detach().to(device="cpu", dtype=dtype).contiguous())

    write_whole(path, parts())


def _bytes(tensor: Tensor) -> memoryview:
    """The memory of a contiguous CPU tensor."""
    return memoryview(tensor.detach().reshape(-1).view(torch.uint8).numpy())  # type: ignore[arg-type]


def write_whole(path: Path, parts: Iterable[bytes | memoryview]) -> None:
    """Write under a temporary name, push it to the disk, then rename: a half file is never found."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(temporary, "wb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Push names (creations, renames) to the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
