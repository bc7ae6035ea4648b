"""Layers that keep only their input and compute their inside again in the backward pass.

It costs one more forward pass and saves most of the memory. Applied from outside, like adapters.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from openglm.model.decoder import Decoder


class Recomputed(nn.Module):
    def __init__(self, layer: nn.Module):
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor, *others) -> Tensor:
        return checkpoint(self.layer, x, *others, use_reentrant=False)


def recompute_layers(model: Decoder) -> None:
    for index, layer in enumerate(model.layers):
        model.layers[index] = Recomputed(layer)
