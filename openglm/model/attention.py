"""How queries meet keys: the plain ways. The decoder is handed one of these and calls it in every layer.

`CausalAttend` sees whole sequences (training, scoring, tests); `NaiveCacheAttend` keeps one sequence's keys
and values as they come (tests, and the yardstick for the engine's paged cache).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F


class Attend(Protocol):
    """`layer` counts attention layers: the decoder's own first, MTP layers behind them."""

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        """q (..., T, heads, key_dim), k and v (..., T, kv_heads, dim) -> (..., T, heads, value_dim)."""
        ...


@dataclass(frozen=True)
class CacheLayer:
    """What one attention layer stores per token: `num_heads` keys of `key_dim` and values of `value_dim`."""

    num_heads: int
    key_dim: int
    value_dim: int


def attend(q: Tensor, k: Tensor, v: Tensor, scale: float, mask: Tensor | None = None) -> Tensor:
    """Softmax attention; q (..., T, heads, dim), k and v (..., S, kv_heads, dim). Mask: True may be seen.

    Without a mask it is causal, and T must equal S.
    """
    if q.requires_grad and q.dtype == torch.bfloat16 and q.device.type == "cpu":
        # The backward pass of torch's own bfloat16 attention takes several times that of float32.
        return attend(q.float(), k.float(), v.float(), scale, mask).to(q.dtype)
    batch = q.shape[:-3]
    q, k, v = (x.reshape(-1, *x.shape[-3:]).transpose(1, 2) for x in (q, k, v))  # (B, heads, T, dim)
    out = F.scaled_dot_product_attention(
        q, k, v, attn_mask=mask, is_causal=mask is None, scale=scale, enable_gqa=q.shape[1] != k.shape[1]
    )
    return out.transpose(1, 2).reshape(*batch, out.shape[2], out.shape[1], out.shape[3])


class CausalAttend:
    """Whole sequences at once, each token seeing itself and what lies before it.

    lengths: T holds several documents of these lengths, packed end to end; none sees another, and each is
    attended to by itself, which costs the sum of their squares instead of the square of their sum.
    prefix: the first tokens of a sequence that all its tokens may see (GLM's bidirectional part): one number
    for all, one per document with `lengths`, or one per row of the batch.
    """

    def __init__(self, lengths: Sequence[int] | None = None, prefix: int | Sequence[int] | None = None):
        self.lengths = lengths
        self.prefix = prefix
        self._masks: list[Tensor | None] = []  # the same in every layer, so they are made in the first

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        T = q.shape[-3]
        lengths = [T] if self.lengths is None else list(self.lengths)
        if sum(lengths) != T:
            raise ValueError(f"document lengths sum to {sum(lengths)}, but the sequence has {T} tokens")
        if not self._masks:
            self._masks = [self._mask(n, length, q.device) for n, length in enumerate(lengths)]
        if len(lengths) == 1:
            return attend(q, k, v, scale, self._masks[0])
        split = [x.split(lengths, dim=-3) for x in (q, k, v)]
        documents = zip(split[0], split[1], split[2], self._masks, strict=True)
        return torch.cat([attend(q, k, v, scale, mask) for q, k, v, mask in documents], dim=-3)

    def _mask(self, document: int, length: int, device: torch.device) -> Tensor | None:
        """None where it is causal; else (length, length), or (B, 1, length, length) with a prefix per row."""
        prefix = self.prefix
        if self.lengths is not None and isinstance(prefix, Sequence):
            prefix = prefix[document]
        if prefix is None or prefix == 0:
            return None
        position = torch.arange(length, device=device)
        ends = torch.as_tensor(prefix, device=device)
        return (position[:, None] >= position) | (
            position < (ends.reshape(-1, 1, 1, 1) if ends.dim() else ends)
        )


class NaiveCacheAttend:
    """One sequence (or one batch in step), continued call by call: past keys and values are kept whole."""

    def __init__(self) -> None:
        self.past: dict[int, tuple[Tensor, Tensor]] = {}

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        if layer in self.past:
            past_k, past_v = self.past[layer]
            k, v = torch.cat((past_k, k), dim=-3), torch.cat((past_v, v), dim=-3)
        self.past[layer] = (k, v)
        T, S = q.shape[-3], k.shape[-3]
        position = torch.arange(S, device=q.device)
        return attend(q, k, v, scale, position[S - T :, None] >= position)
