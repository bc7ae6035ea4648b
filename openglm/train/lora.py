"""A LoRA adapter in training: its tensors as parameters, put behind the frozen model's linears by hooks.

The parameters and their sums over steps are float32 whatever the model computes in.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from openglm.model.decoder import Decoder
from openglm.model.lora import Adapter, Pair, Place, by_module, read_adapter, write_adapter

Parts = list[tuple[Place, Pair]]


class TrainedLora:
    """The adapter's pairs, to be trained; `training` switches dropout. `base`: what the model is called."""

    def __init__(self, model: Decoder, adapter: Adapter, base: str):
        self.training = True
        self.device = device = model.device
        self._config, self._base = model.config, base
        self.adapter = replace(
            adapter,
            pairs={
                name: replace(pair, A=_trained(pair.A, device), B=_trained(pair.B, device))
                for name, pair in adapter.pairs.items()
            },
        )
        model.requires_grad_(False)
        for path, parts in by_module(self.adapter, model.config).items():
            model.get_submodule(path).register_forward_hook(self._hook(parts))

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        """By published name."""
        found = {}
        for name, pair in self.adapter.pairs.items():
            found[f"{name}.lora_A"], found[f"{name}.lora_B"] = pair.A, pair.B
        return found  # type: ignore[return-value]

    def write(self, folder: Path) -> None:
        """As an adapter in PEFT's layout, into an existing folder."""
        write_adapter(folder, self.adapter, self._base)

    @torch.no_grad()
    def read(self, folder: Path) -> None:
        """Take the values of an adapter that `write` wrote."""
        stored = read_adapter(folder, self._config).pairs
        for name, pair in self.adapter.pairs.items():
            pair.A.copy_(stored[name].A)
            pair.B.copy_(stored[name].B)

    def _hook(self, parts: Parts):
        spans = tuple((place.start, place.stop, pair.scale) for place, pair in parts)

        def add_low_rank(_: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:
            x = F.dropout(inputs[0], self.adapter.dropout, self.training)
            A = torch.cat([pair.A for _, pair in parts])
            return _AddLowRank.apply(output, x, A, spans, *(pair.B for _, pair in parts))

        return add_low_rank


def _trained(tensor: Tensor, device: torch.device) -> nn.Parameter:
    return nn.Parameter(tensor.to(device, torch.float32, copy=True))


class _AddLowRank(torch.autograd.Function):
    """y[:, start:stop] += scale * B A x for each pair, in place: y is the output of a frozen linear, whose
    own backward pass does not need it. x (..., T, in), y (..., T, out), A (rank of all pairs, in)."""

    @staticmethod
    def forward(ctx, y, x, A, spans, *trained):
        A, Bs = A.to(x.dtype), [B.to(x.dtype) for B in trained]
        rows, out = x.reshape(-1, x.shape[-1]), y.view(-1, y.shape[-1])
        h = rows @ A.T
        for (start, stop, scale), B, part in zip(spans, Bs, _split(h, Bs), strict=True):
            out[:, start:stop].addmm_(part, B.T, alpha=scale)
        ctx.spans = spans
        ctx.save_for_backward(rows, h, A, *Bs)
        ctx.mark_dirty(y)
        return y

    @staticmethod
    def backward(ctx, grad):
        rows, h, A, *Bs = ctx.saved_tensors
        flat = grad.reshape(-1, grad.shape[-1])
        h_grads, B_grads = [], []
        for (start, stop, scale), B, part in zip(ctx.spans, Bs, _split(h, Bs), strict=True):
            out = flat[:, start:stop]
            h_grads.append((out @ B) * scale)
            B_grads.append(((out.T @ part) * scale).float())
        h_grad = torch.cat(h_grads, dim=-1)
        A_grad = (h_grad.T @ rows).float()
        x_grad = (h_grad @ A).view(*grad.shape[:-1], -1) if ctx.needs_input_grad[1] else None
        return grad, x_grad, A_grad, None, *B_grads


def _split(h: Tensor, Bs: list[Tensor]) -> tuple[Tensor, ...]:
    return h.split([B.shape[1] for B in Bs], dim=-1)
