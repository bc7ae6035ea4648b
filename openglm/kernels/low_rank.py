"""y += scale * B A x for some rows of a batch: what a LoRA adapter adds to a linear layer's output.

Native: in float32, each row by itself, so that its bits do not depend on the rows beside it, as in the packed
linears. Plain: two matrix products.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from openglm.kernels.build import check
from openglm.kernels.choose import FLOATS, Compute, choose


@dataclass(frozen=True, slots=True, eq=False)
class LowRank:
    """Pairs that share their input, each for a range of the output's columns."""

    down: Tensor  # (rank, in): the A's above each other
    up: Tensor  # the B's transposed, (rank, width) each, scale included, end to end
    parts: Tensor  # (pairs, 3) int64 on the CPU: rank, first column, width

    @classmethod
    def of(cls, pairs: Sequence[tuple[Tensor, Tensor, int]]) -> LowRank:
        """From A (rank, in), B (width, rank) with the scale in it, and the first column of each pair."""
        return cls(
            torch.cat([A.float() for A, _, _ in pairs]).contiguous(),
            torch.cat([B.float().T.reshape(-1) for _, B, _ in pairs]),
            torch.tensor([(A.shape[0], start, B.shape[0]) for A, B, start in pairs]),
        )

    def to(self, device: torch.device, dtype: torch.dtype) -> LowRank:
        """The CPU keeps float32, which its native code computes in."""
        if device.type == "cpu":
            return self
        return LowRank(self.down.to(device, dtype), self.up.to(device, dtype), self.parts)


def add_low_rank(
    y: Tensor, x: Tensor, weight: LowRank, rows: Tensor | None = None, *, compute: Compute = "auto"
) -> None:
    """Add to y (T, out) in place, for x (T, in); rows: (n,) int64, those that are meant, None: all."""
    inputs = weight.down.shape[1]
    if x.dim() != 2 or y.dim() != 2 or x.shape != (y.shape[0], inputs):
        raise ValueError(f"x must be {(y.shape[0], inputs)} for y {tuple(y.shape)}, got {tuple(x.shape)}")
    native = choose(compute, x, y) if x.dtype == y.dtype and y.is_contiguous() else None
    if native is None:
        _plain(y, x, weight, rows)
        return
    x = x.contiguous()
    rows = torch.arange(len(y)) if rows is None else rows
    check(
        native.functions.openglm_add_low_rank(
            rows.data_ptr(),
            rows.numel(),
            y.shape[0],
            x.data_ptr(),
            FLOATS[x.dtype],
            inputs,
            weight.down.data_ptr(),
            weight.down.shape[0],
            weight.up.data_ptr(),
            weight.parts.data_ptr(),
            weight.parts.shape[0],
            y.data_ptr(),
            y.shape[1],
            torch.get_num_threads(),
        )
    )


def _plain(y: Tensor, x: Tensor, weight: LowRank, rows: Tensor | None) -> None:
    h = (x if rows is None else x[rows]).to(weight.down.dtype) @ weight.down.T  # (n, rank)
    first, at = 0, 0
    for rank, start, width in weight.parts.tolist():
        up = weight.up[at : at + rank * width].view(rank, width)
        added = (h[:, first : first + rank] @ up).to(y.dtype)
        columns = y[:, start : start + width]
        if rows is None:
            columns += added
        else:
            columns.index_add_(0, rows, added)
        first, at = first + rank, at + rank * width
