"""Linear weights in 4 or 8 bits: groups of 32 along the input, w = scale * q + minimum.

Holds GGUF Q4_0, Q4_1, Q4_K, Q5_0, Q5_1, Q5_K and Q8_0 exactly (scales in float16 where that is what the file
has, in float32 otherwise). Q6_K has groups of 16 and does not fit.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from openglm.kernels.build import check
from openglm.kernels.choose import FLOATS, Compute, choose

GROUP = 32  # weights that share one scale; the same number of activations share one scale in native code
PANEL = 16  # output rows that native code handles together


@dataclass(slots=True, eq=False)
class QuantWeight:
    """One (out, in) weight. Made in row layout:

    bits 4: data uint8 (out, in / 2), q in 0..15; byte j of a group holds q[j] in its low and q[j + 16] in its
            high four bits (as GGUF does, so Q4_0 and Q4_1 bytes move without change; else `pack_nibbles`)
    bits 8: data int8 (out, in), q in -128..127
    scale, minimum: (out, in / 32), both float16 or both float32; minimum None means 0

    Its first native use rearranges it in place (`to_panels`), so that it is never held twice: read it through
    `dequantize`, `dequantize_rows` or `row_layout`, not through its fields.
    """

    bits: int
    data: Tensor
    scale: Tensor
    minimum: Tensor | None = None
    layout: Literal["rows", "panels"] = field(default="rows", init=False)
    num_rows: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if self.bits not in (4, 8):
            raise ValueError(f"bits must be 4 or 8, got {self.bits}")
        data_dtype = torch.uint8 if self.bits == 4 else torch.int8
        if self.data.dtype != data_dtype or self.data.dim() != 2:
            raise ValueError(
                f"data of a {self.bits}-bit weight must be {data_dtype} with 2 dimensions, "
                f"got {self.data.dtype} {tuple(self.data.shape)}"
            )
        groups = (self.data.shape[0], self.data.shape[1] * 8 // self.bits // GROUP)
        for name, tensor in (("scale", self.scale), ("minimum", self.minimum)):
            if tensor is None:
                continue
            if tuple(tensor.shape) != groups or tensor.dtype not in (torch.float16, torch.float32):
                raise ValueError(
                    f"{name} must be float16 or float32 {groups}, got {tensor.dtype} {tuple(tensor.shape)}"
                )
        if self.minimum is not None and self.minimum.dtype != self.scale.dtype:
            raise ValueError(f"scale is {self.scale.dtype} but minimum is {self.minimum.dtype}")
        self.num_rows = self.data.shape[0]

    @property
    def shape(self) -> tuple[int, int]:
        return (self.num_rows, self.scale.shape[1] * GROUP)

    @property
    def device(self) -> torch.device:
        return self.data.device

    @property
    def nbytes(self) -> int:
        return self.data.nbytes + self.scale.nbytes + (0 if self.minimum is None else self.minimum.nbytes)

    def to(self, device: torch.device | str) -> QuantWeight:
        """A copy on the device, in row layout (itself if it is there already)."""
        if self.layout == "rows" and self.device == torch.device(device):
            return self
        data, scale, minimum = _rows(self, None)
        return QuantWeight(
            self.bits, data.to(device), scale.to(device), None if minimum is None else minimum.to(device)
        )

    def row_layout(self) -> QuantWeight:
        return self if self.layout == "rows" else QuantWeight(self.bits, *_rows(self, None))

    def to_panels(self) -> QuantWeight:
        """Rearrange in place as native.cpp describes: panels of 16 rows, the last one padded with zeros."""
        if self.layout == "rows":
            data = self.data if self.bits == 4 else self.data.view(torch.uint8) ^ 0x80  # q + 128
            quads = _panels(data).unflatten(
                -1, (self.scale.shape[1], -1, 4)
            )  # (panels, 16, groups, quads, 4)
            self.data = quads.permute(0, 2, 3, 1, 4).contiguous()
            self.scale = _panels(self.scale).transpose(1, 2).contiguous()
            if self.minimum is not None:
                self.minimum = _panels(self.minimum).transpose(1, 2).contiguous()
            self.layout = "panels"
        return self


def _panels(rows: Tensor) -> Tensor:
    """(out, n) -> (panels, 16, n)."""
    return torch.nn.functional.pad(rows, (0, 0, 0, -rows.shape[0] % PANEL)).unflatten(0, (-1, PANEL))


def _rows(weight: QuantWeight, rows: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    """data, scale and minimum of some rows (...), or of all, in row layout whatever the weight's layout."""
    data, scale, minimum = weight.data, weight.scale, weight.minimum
    if weight.layout == "rows":
        if rows is None:
            return data, scale, minimum
        return data[rows], scale[rows], None if minimum is None else minimum[rows]
    if rows is None:
        rows = torch.arange(weight.num_rows, device=weight.device)
    panel, row = rows // PANEL, rows % PANEL
    data = data[panel, :, :, row].flatten(-3)  # (..., groups, quads, 4) -> (..., bytes)
    if weight.bits == 8:
        data = (data ^ 0x80).view(torch.int8)
    return data, scale[panel, :, row], None if minimum is None else minimum[panel, :, row]


def pack_nibbles(q: Tensor) -> Tensor:
    """(..., in) values 0..15 -> (..., in / 2) bytes in the row layout of QuantWeight."""
    low, high = q.to(torch.uint8).unflatten(-1, (-1, 2, GROUP // 2)).unbind(-2)
    return (low | high << 4).flatten(-2)


def unpack_nibbles(data: Tensor) -> Tensor:
    """The inverse of pack_nibbles: (..., in / 2) bytes -> (..., in) uint8 values 0..15."""
    groups = data.unflatten(-1, (-1, GROUP // 2))
    return torch.stack((groups & 15, groups >> 4), dim=-2).flatten(-3)


def quantize_weight(weight: Tensor, bits: int) -> QuantWeight:
    """Round an (out, in) weight to nearest: 8 bits symmetric, 4 bits between a group's least and largest."""
    if weight.dim() != 2 or weight.shape[1] % GROUP:
        raise ValueError(
            f"a quantised weight is (out, in) with in divisible by {GROUP}, got {tuple(weight.shape)}"
        )
    groups = weight.detach().float().unflatten(1, (-1, GROUP))  # (out, in / 32, 32)
    if bits == 8:
        scale = groups.abs().amax(-1) / 127
        q = (groups / scale.clamp_min(torch.finfo(torch.float32).tiny)[..., None]).round()
        return QuantWeight(8, q.clamp(-127, 127).to(torch.int8).flatten(1), scale)
    minimum, maximum = groups.aminmax(dim=-1)
    scale = (maximum - minimum) / 15
    q = ((groups - minimum[..., None]) / scale.clamp_min(torch.finfo(torch.float32).tiny)[..., None]).round()
    return QuantWeight(4, pack_nibbles(q.clamp(0, 15).flatten(1)), scale, minimum)


def dequantize(weight: QuantWeight, dtype: torch.dtype = torch.float32) -> Tensor:
    """The (out, in) weight that a QuantWeight stands for, computed in float32."""
    return _dequantize(weight.bits, *_rows(weight, None)).to(dtype)


def dequantize_rows(
    weight: QuantWeight, rows: Tensor, dtype: torch.dtype = torch.float32, *, compute: Compute = "auto"
) -> Tensor:
    """Some rows of it, for an embedding table kept in few bits: rows (...) -> (..., in)."""
    out = torch.empty(*rows.shape, weight.shape[1], dtype=dtype, device=weight.device)
    native = choose(compute, out)
    if native is None:
        return _dequantize(weight.bits, *_rows(weight, rows)).to(dtype)
    weight.to_panels()
    rows = rows.long().contiguous()
    check(
        native.functions.openglm_dequantize_rows(
            rows.data_ptr(),
            rows.numel(),
            weight.num_rows,
            weight.bits,
            weight.data.data_ptr(),
            weight.scale.data_ptr(),
            None if weight.minimum is None else weight.minimum.data_ptr(),
            weight.scale.dtype == torch.float16,
            weight.shape[1] // GROUP,
            out.data_ptr(),
            FLOATS[dtype],
        )
    )
    return out


def _dequantize(bits: int, data: Tensor, scale: Tensor, minimum: Tensor | None) -> Tensor:
    q = unpack_nibbles(data) if bits == 4 else data
    groups = q.float().unflatten(-1, (-1, GROUP)) * scale.float()[..., None]
    if minimum is not None:
        groups = groups + minimum.float()[..., None]
    return groups.flatten(-2)
