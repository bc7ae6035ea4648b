"""What follows from a recipe, its model and its data: every value that was left open, counts, and memory.

Derived values are guesses that a recipe may overrule; where a rule has a source it is named beside it.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

import psutil
import torch

from openglm import runtime
from openglm.errors import RecipeError
from openglm.model.config import ModelConfig, nearest
from openglm.model.decoder import Decoder
from openglm.model.lora import Place, last_parts, places
from openglm.train.chats import Chats
from openglm.train.loss import CHUNK
from openglm.train.recipe import Recipe, changed

# QLoRA's (arXiv:2305.14314) for 7B models, of hidden size 4,096; smaller models bear more. Not tuned here.
LEARNING_RATE, AT_HIDDEN_SIZE = 2e-4, 4096
STEPS_PER_EPOCH, MAX_BATCH = 25, 16  # few chats still make some steps, many do not make long ones
CHECKPOINTS = 10  # in a whole run
SMALL_MODEL = 5_000_000  # parameters, below which threads cost more than they bring
HOST_SHARE, CUDA_SHARE = 0.25, 0.6  # of all memory, for activations
MICRO_BATCH_TOKENS = {"cpu": 2048, "cuda": 16384}  # more makes matrix products no faster


@dataclass(frozen=True, slots=True)
class Plan:
    recipe: Recipe  # with nothing left open but a validation set
    device: str
    dtype: Literal["float32", "bfloat16"]
    threads: int
    parameters: int
    trained_parameters: int
    num_chats: int
    num_cut: int
    num_samples: int
    longest: int
    tokens_per_epoch: int
    learnt_per_epoch: int
    learning_rate: float
    batch_size: int
    steps_per_epoch: int
    steps: int
    warmup_steps: int
    save_every_steps: int
    validate_every_steps: int
    micro_batch_tokens: int
    recompute: bool
    weights_bytes: int
    training_bytes: int  # adapter, gradients, moments
    activation_bytes: int

    @property
    def tokens(self) -> int:
        return self.tokens_per_epoch * self.recipe.run.epochs

    @property
    def flops(self) -> float:
        """Forward, and back to the inputs: frozen matrices need no gradient. Attention is not counted."""
        return (6.0 if self.recompute else 4.0) * self.parameters * self.tokens

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "tokens": self.tokens, "flops": self.flops}

    def text(self) -> str:
        """For people: what there is, then every value of the recipe."""
        learnt = self.learnt_per_epoch * self.recipe.run.epochs
        memory = (self.weights_bytes, self.training_bytes, self.activation_bytes)
        parts = zip(("weights", "training", "activations"), memory, strict=True)
        rows = [
            ("parameters", f"{self.parameters:,}"),
            ("trained", f"{self.trained_parameters:,} ({self.trained_parameters / self.parameters:.2%})"),
            ("chats", f"{self.num_chats:,}" + (f", {self.num_cut:,} of them cut" if self.num_cut else "")),
            ("samples", f"{self.num_samples:,}, the longest of {self.longest:,} tokens"),
            ("tokens", f"{self.tokens:,}, {learnt:,} of them learnt"),
            (
                "steps",
                f"{self.steps:,}: {self.steps_per_epoch:,} an epoch, {self.warmup_steps:,} of warm-up",
            ),
            ("operations", f"{self.flops:.2g}"),
            ("threads", str(self.threads)),
            (
                "memory",
                f"{_gigabytes(sum(memory))}: "
                + ", ".join(f"{name} {_gigabytes(size)}" for name, size in parts),
            ),
        ]
        for name, table in asdict(self.recipe).items():
            rows += [(f"{name}.{key}", _shown(value)) for key, value in table.items()]
        width = max(len(name) for name, _ in rows)
        return "\n".join(f"{name:{width}}  {value}" for name, value in rows)


def make_plan(given: Recipe, config: ModelConfig, train: Chats) -> Plan:
    """Derive what the recipe leaves open."""
    run, count = given.run, len(train.samples)
    device = runtime.pick_device(given.model.device)
    dtype = given.model.dtype or ("bfloat16" if runtime.has_fast_bfloat16(device) else "float32")
    itemsize = getattr(torch, dtype).itemsize
    parameters, spots = count_parameters(config), adapted_places(given, config)
    trained = sum(given.lora.rank * (place.inputs + place.outputs) for place in spots.values())
    rate = float(f"{LEARNING_RATE * math.sqrt(AT_HIDDEN_SIZE / config.hidden_size):.2g}")
    learning_rate = given.optimizer.learning_rate or rate

    batch_size = run.batch_size or max(1, min(MAX_BATCH, count // STEPS_PER_EPOCH))
    steps_per_epoch = -(-count // batch_size)
    steps = steps_per_epoch * run.epochs
    every = {
        "save_every_steps": run.save_every_steps or max(1, -(-steps // CHECKPOINTS)),
        "validate_every_steps": run.validate_every_steps or steps_per_epoch,
    }
    tokens, longest = sum(map(len, train.samples)), max(map(len, train.samples))
    costs = [
        bytes_per_token(config, itemsize, given.lora.dropout > 0, recompute) for recompute in (False, True)
    ]
    room, recompute = _fit(given, device, longest, costs)
    recipe = changed(given, "model", device=str(device), dtype=dtype)
    recipe = changed(recipe, "lora", targets=tuple(last_parts(spots)))
    recipe = changed(recipe, "data", max_length=longest_chat(given, config))
    recipe = changed(recipe, "optimizer", learning_rate=learning_rate)
    recipe = changed(
        recipe, "run", batch_size=batch_size, micro_batch_tokens=room, recompute=recompute, **every
    )
    return Plan(
        recipe=recipe,
        device=str(device),
        dtype=dtype,
        threads=1 if parameters < SMALL_MODEL else torch.get_num_threads(),
        parameters=parameters,
        trained_parameters=trained,
        num_chats=train.num_chats,
        num_cut=train.num_cut,
        num_samples=count,
        longest=longest,
        tokens_per_epoch=tokens,
        learnt_per_epoch=int(sum(sample.learnt for sample in train.samples)),
        learning_rate=learning_rate,
        batch_size=batch_size,
        steps_per_epoch=steps_per_epoch,
        steps=steps,
        warmup_steps=round(given.optimizer.warmup_ratio * steps),
        micro_batch_tokens=room,
        recompute=recompute,
        weights_bytes=parameters * itemsize,
        training_bytes=trained * 16,  # value, gradient and two moments in float32
        activation_bytes=min(max(room, longest), tokens) * costs[recompute]
        + CHUNK * config.vocab_size * 8,  # logits and their gradient
        **every,
    )


def longest_chat(recipe: Recipe, config: ModelConfig) -> int:
    """The recipe's max_length, or the model's context."""
    wanted, most = recipe.data.max_length, config.context_length
    if wanted is not None and wanted > most:
        raise RecipeError(f"data.max_length is {wanted}, but the model's context has {most} tokens")
    return wanted or most


def count_parameters(config: ModelConfig) -> int:
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in Decoder(config).parameters())


def adapted_places(recipe: Recipe, config: ModelConfig) -> dict[str, Place]:
    """By published name."""
    spots = places(config)
    known, targets = last_parts(spots), recipe.lora.targets
    if targets is not None and not targets:
        raise RecipeError("lora.targets is empty", hint=f"leave it out, or choose of {', '.join(known)}")
    for target in targets or ():
        if target not in known:
            raise RecipeError(
                f"lora.targets: this model has no projection {target!r} that can have an adapter",
                hint=nearest(target, known) or f"it has {', '.join(known)}",
            )
    return {name: place for name, place in spots.items() if name.rpartition(".")[2] in (targets or known)}


def bytes_per_token(config: ModelConfig, itemsize: int, dropout: bool, recompute: bool) -> int:
    """What the backward pass needs of one token's way through the model. A test asks autograd."""
    layers = [_kept(config, layer, itemsize, dropout) for layer in range(config.num_hidden_layers)]
    if recompute:  # each layer's input, and the inside of one layer at a time
        return config.num_hidden_layers * config.hidden_size * itemsize + max(layers)
    return sum(layers)


def _kept(config: ModelConfig, layer: int, itemsize: int, dropout: bool) -> int:
    H, inside, chosen = config.hidden_size, config.intermediate_size, 0
    if config.is_moe(layer):
        chosen = config.num_experts_per_tok
        inside = config.moe_intermediate_size * (chosen + config.n_shared_experts)
    q, kv = (heads * config.head_dim for heads in (config.num_attention_heads, config.num_key_value_heads))
    values = 5 * H + 3 * q + 3 * kv + 4 * inside + 2 * chosen * H
    if itemsize == 2:  # norms and attention work in float32
        values += 3 * H + 4 * q + 4 * kv
    if dropout:  # the dropped input of each adapter, and a mask
        values += int((1 + 1 / itemsize) * (2 * H + q + inside))
    return values * itemsize


def _fit(recipe: Recipe, device: torch.device, longest: int, costs: list[int]) -> tuple[int, bool]:
    """Tokens at once, and whether activations are computed again so that the longest chat fits.

    costs: bytes per token without and with that.
    """
    share, memory = HOST_SHARE, psutil.virtual_memory().total
    if device.type == "cuda":
        share, memory = CUDA_SHARE, torch.cuda.get_device_properties(device).total_memory
    keeping, again = (int(share * memory) // cost for cost in costs)
    run = recipe.run
    recompute = run.recompute
    if recompute is None:
        recompute = max(run.micro_batch_tokens or 0, longest) > keeping
    room = max(1, min(again if recompute else keeping, MICRO_BATCH_TOKENS[device.type]))
    return run.micro_batch_tokens or room, recompute


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.2f} GB"


def _shown(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else "none" if value is None else str(value)
