"""LoRA adapters (arXiv:2106.09685) in PEFT's folder layout: read, written, placed in the decoder, merged.

An adapter gives some published projections W the addition scale * B A x. Our decoder holds several published
projections as one matrix, so a projection is a range of rows of one of our modules (`Place`).
Read strictly, as checkpoints are: a setting that we do not know, a tensor too many or too few is an error.
Not supported, and refused by name: DoRA, trained biases, whole modules saved beside, adapters of routed
experts, of embedding and head, and initialisations that change the base weights (PiSSA, LoftQ and kin).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from openglm.errors import CheckpointError
from openglm.model.config import ModelConfig, nearest, read_json
from openglm.model.decoder import Decoder
from openglm.model.layouts import check_complete, layout, names_for
from openglm.model.shards import Stored, read_header, read_into, write_file, write_whole

PREFIX = "base_model.model."  # of every tensor's name in PEFT's files
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
FLOATS = (torch.float32, torch.float16, torch.bfloat16)

# Keys of adapter_config.json that decide nothing once an adapter is trained. Any other key that we do not
# read may say something only by being absent, null, false, empty or "none".
HARMLESS = frozenset(
    """auto_mapping base_model_name_or_path eva_config inference_mode layers_pattern lora_dropout
    megatron_core peft_type peft_version qalora_group_size revision runtime_config task_type""".split()  # noqa: SIM905
)
READ = frozenset(
    """alpha_pattern exclude_modules init_lora_weights layers_to_transform lora_alpha r rank_pattern
    target_modules use_rslora""".split()  # noqa: SIM905
)
PLAIN_INITS = (None, True, False, "gaussian", "orthogonal", "eva")  # the base weights stay as published


@dataclass(frozen=True, slots=True)
class Place:
    """Where a published projection is in our decoder: these rows of what a module puts out."""

    module: str
    start: int
    stop: int
    inputs: int

    @property
    def outputs(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True, slots=True)
class Pair:
    """The addition to one projection: scale * B A x, with A (rank, in) and B (out, rank)."""

    A: Tensor
    B: Tensor
    scale: float


@dataclass(frozen=True, slots=True)
class Adapter:
    """Pairs by the published name of their projection, and the settings that they were trained with."""

    pairs: Mapping[str, Pair]
    rank: int
    alpha: float
    targets: tuple[str, ...]  # the last parts of the projections' names
    dropout: float = 0.0

    @property
    def num_parameters(self) -> int:
        return sum(pair.A.numel() + pair.B.numel() for pair in self.pairs.values())


def places(config: ModelConfig) -> dict[str, Place]:
    """The published projections that can have an adapter: all linears of attention and dense MLPs."""
    with torch.device("meta"):
        shell = Decoder(config)
    found = {}
    for ours, pieces in layout(shell, names_for(config)).items():
        path, _, leaf = ours.rpartition(".")
        module = shell.get_submodule(path)
        if not isinstance(module, nn.Linear) or leaf != "weight" or not path.startswith("layers."):
            continue
        for piece in pieces:
            start, stop = piece.rows or (0, module.out_features)
            found[piece.name.removesuffix(".weight")] = Place(path, start, stop, module.in_features)
    return found


def last_parts(names: Iterable[str]) -> list[str]:
    """The distinct last parts of published names, in their order: q_proj, k_proj and so on."""
    return list(dict.fromkeys(name.rpartition(".")[2] for name in names))


def new_adapter(
    config: ModelConfig,
    *,
    rank: int,
    alpha: float,
    targets: Sequence[str] | None,
    dropout: float,
    generator: torch.Generator,
) -> Adapter:
    """One that adds nothing yet: A uniform as a linear layer's weights, B zero. Float32, on the CPU.

    targets: last parts of published names; None takes all that can have an adapter.
    """
    spots = places(config)
    known = last_parts(spots)
    for target in targets or ():
        if target not in known:
            raise CheckpointError(
                f"this model has no projection {target!r} that can have an adapter",
                hint=nearest(target, known) or f"it has {', '.join(known)}",
            )
    chosen = tuple(known if targets is None else targets)
    pairs = {}
    for name, place in spots.items():
        if name.rpartition(".")[2] in chosen:
            bound = place.inputs**-0.5
            A = (torch.rand(rank, place.inputs, generator=generator) * 2 - 1) * bound
            pairs[name] = Pair(A, torch.zeros(place.outputs, rank), alpha / rank)
    return Adapter(pairs, rank, alpha, chosen, dropout)


def read_adapter(folder: Path, config: ModelConfig) -> Adapter:
    """An adapter for a model of this config, from a folder as PEFT writes it; tensors as they are stored."""
    folder = Path(folder)
    settings = _Settings(folder / CONFIG, read_json(folder / CONFIG))
    stored = _header(folder)
    spots = {name: place for name, place in places(config).items() if settings.adapts(name)}
    expected = {PREFIX + f"{name}.lora_{part}.weight" for name in spots for part in "AB"}
    if not spots:
        raise CheckpointError(
            f"{folder} adapts none of this model's projections",
            hint="the adapter may belong to another model",
        )
    check_complete(expected, stored, str(folder))
    pairs = {}
    with open(folder / WEIGHTS, "rb", buffering=0) as file:
        for name, place in spots.items():
            rank = settings.rank(name)
            shapes = {"A": (rank, place.inputs), "B": (place.outputs, rank)}
            parts = {}
            for part, shape in shapes.items():
                tensor = stored[PREFIX + f"{name}.lora_{part}.weight"]
                if tensor.shape != shape or tensor.dtype not in FLOATS:
                    raise CheckpointError(
                        f"{folder}: lora_{part} of {name} should be {shape} in a float type, "
                        f"but is {tensor.shape} in {tensor.dtype}",
                        hint="the adapter may belong to another model",
                    )
                parts[part] = torch.empty(shape, dtype=tensor.dtype)
                read_into(file, tensor, parts[part])
            pairs[name] = Pair(parts["A"], parts["B"], settings.scale(name))
    return Adapter(pairs, settings.r, settings.alpha, tuple(last_parts(pairs)), settings.dropout)


def write_adapter(folder: Path, adapter: Adapter, base: str) -> None:
    """Write PEFT's two files into an existing folder. `base` is what the base model is called."""
    tensors = {}
    for name, pair in adapter.pairs.items():
        tensors[PREFIX + f"{name}.lora_A.weight"] = (pair.A.dtype, pair.A)
        tensors[PREFIX + f"{name}.lora_B.weight"] = (pair.B.dtype, pair.B)
    write_file(folder / WEIGHTS, tensors)
    settings = {
        "base_model_name_or_path": base,
        "bias": "none",
        "inference_mode": True,
        "lora_alpha": adapter.alpha,
        "lora_dropout": adapter.dropout,
        "peft_type": "LORA",
        "r": adapter.rank,
        "target_modules": list(adapter.targets),
        "task_type": "CAUSAL_LM",
    }
    write_whole(folder / CONFIG, [(json.dumps(settings, indent=2) + "\n").encode()])


def by_module(adapter: Adapter, config: ModelConfig) -> dict[str, list[tuple[Place, Pair]]]:
    """Our modules that the adapter adds to, each with its pairs in the order of their rows."""
    found: dict[str, list[tuple[Place, Pair]]] = {}
    for name, place in places(config).items():
        if name in adapter.pairs:
            found.setdefault(place.module, []).append((place, adapter.pairs[name]))
    return found


@torch.no_grad()
def merge(model: Decoder, adapter: Adapter) -> None:
    """Add the adapter to the weights themselves, which must not be in few bits."""
    for path, parts in by_module(adapter, model.config).items():
        module = model.get_submodule(path)
        if not isinstance(module, nn.Linear):
            raise CheckpointError(
                f"an adapter cannot be merged into {path}, whose weight is in few bits",
                hint="merge it into the unpacked checkpoint",
            )
        for place, pair in parts:
            rows = module.weight[place.start : place.stop]
            product = pair.scale * (pair.B.float() @ pair.A.float())
            rows.copy_(rows.float() + product.to(rows.device))


def _header(folder: Path) -> dict[str, Stored]:
    path = folder / WEIGHTS
    if not path.exists():
        pickle = folder / "adapter_model.bin"
        instead = ", only a pickle, which is not opened" if pickle.exists() else ""
        raise CheckpointError(
            f"{folder} has no {WEIGHTS}{instead}", hint="an adapter is a folder as PEFT writes it"
        )
    return read_header(path)


class _Settings:
    """adapter_config.json, checked: what it says of ranks, scales and which projections are adapted."""

    def __init__(self, path: Path, given: Mapping[str, Any]):
        self._given = given
        if given.get("peft_type") != "LORA":
            raise CheckpointError(
                f"{path} has peft_type {given.get('peft_type')!r}; only LORA adapters are known"
            )
        for key, value in sorted(given.items()):
            if key not in READ | HARMLESS and value not in (None, False, "none", {}, []):
                raise CheckpointError(
                    f"{path} has {key} = {value!r}, which is not supported",
                    hint="it may change what the adapter adds",
                )
        start = given.get("init_lora_weights")
        if start not in PLAIN_INITS:
            raise CheckpointError(
                f"{path} has init_lora_weights = {start!r}, which changes the base weights",
                hint="PEFT can convert it to a plain adapter (path_initial_model_for_weight_conversion)",
            )
        try:
            self.r, self.alpha = int(given["r"]), float(given["lora_alpha"])
            self.dropout = float(given.get("lora_dropout") or 0)
            self._ranks = {k: int(v) for k, v in (given.get("rank_pattern") or {}).items()}
            self._alphas = {k: float(v) for k, v in (given.get("alpha_pattern") or {}).items()}
            self._targets = _matcher(given["target_modules"])
            self._excluded = _matcher(given.get("exclude_modules") or ())
            layers = given.get("layers_to_transform")
            self._layers = None if layers is None else {layers} if isinstance(layers, int) else set(layers)
            if min(self.r, *self._ranks.values(), self.r) < 1:
                raise ValueError(f"a rank must be at least 1, got {self.r} and {self._ranks}")
        except (AttributeError, KeyError, TypeError, ValueError, re.error) as error:
            raise CheckpointError(f"{path} makes no sense: {error!r}") from error

    def adapts(self, name: str) -> bool:
        layer = re.search(r"\.layers\.(\d+)\.", name)
        in_layer = self._layers is None or (layer is not None and int(layer[1]) in self._layers)
        return in_layer and self._targets(name) and not self._excluded(name)

    def rank(self, name: str) -> int:
        return int(_first_match(self._ranks, name, self.r))

    def scale(self, name: str) -> float:
        rank = self.rank(name)
        alpha = _first_match(self._alphas, name, self.alpha)
        return alpha / (rank**0.5 if self._given.get("use_rslora") else rank)


def _matcher(wanted: str | Sequence[str]) -> Callable[[str], bool]:
    """As PEFT reads it: a text is a regular expression for whole names, a list holds names or their ends."""
    if isinstance(wanted, str):
        pattern = re.compile(wanted)
        return lambda name: pattern.fullmatch(name) is not None
    ends = tuple(f".{end}" for end in wanted)
    return lambda name: f".{name}".endswith(ends)


def _first_match(patterns: Mapping[str, float], name: str, default: float) -> float:
    found = (value for key, value in patterns.items() if re.match(rf"(.*\.)?({key})$", name))
    return next(found, default)
