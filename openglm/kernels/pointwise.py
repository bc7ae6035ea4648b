"""Normalisation, rotary positions and the gated activation: small steps between the large products."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from openglm.kernels.choose import FLOATS, Compute, choose

TORCH_GRAIN = 32768  # elements from which torch uses threads (at::internal::GRAIN_SIZE)


def rms_norm(x: Tensor, weight: Tensor, eps: float, *, compute: Compute = "auto") -> Tensor:
    """x / sqrt(mean(x^2) + eps) * weight over the last dimension; the mean is taken in float32."""
    native = choose(compute, x, weight) if x.dtype == weight.dtype else None
    if native is None:
        x32 = x.float()
        normed = x32 * torch.rsqrt(x32.square().mean(-1, keepdim=True) + eps)
        return weight * normed.to(x.dtype)
    size = x.shape[-1]
    rows = _as_rows(x)
    y = x.new_empty(x.shape)
    native.functions.openglm_rms_norm(
        rows.data_ptr(),
        FLOATS[x.dtype],
        rows.shape[0],
        size,
        rows.stride(0),
        weight.contiguous().data_ptr(),
        eps,
        y.data_ptr(),
        torch.get_num_threads(),
    )
    return y


def rope_inplace(
    x: Tensor, cos: Tensor, sin: Tensor, interleaved: bool, *, compute: Compute = "auto"
) -> Tensor:
    """Rotate the first 2 * cos.shape[-1] entries of every head by position; the rest passes through.

    x (..., T, heads, dim); cos, sin float32 (..., T, rotary / 2). Pairs are (2i, 2i + 1) if interleaved,
    else (i, i + rotary / 2). x is overwritten and returned; where a gradient is wanted x stays and a new
    tensor is returned, so always use what comes back.
    """
    rotary = 2 * cos.shape[-1]
    if rotary > x.shape[-1] or cos.shape != sin.shape:
        raise ValueError(
            f"cos {tuple(cos.shape)} and sin {tuple(sin.shape)} must match and not exceed half of "
            f"the heads' dimension, x is {tuple(x.shape)}"
        )
    flat = x.dim() == 3 and x.stride(2) == 1 and cos.shape[:-1] == x.shape[:1]
    if flat and (native := choose(compute, x)):
        cos, sin = cos.float().contiguous(), sin.float().contiguous()
        native.functions.openglm_rope(
            x.data_ptr(),
            FLOATS[x.dtype],
            x.shape[0],
            x.shape[1],
            x.stride(0),
            x.stride(1),
            cos.data_ptr(),
            sin.data_ptr(),
            rotary // 2,
            interleaved,
            torch.get_num_threads(),
        )
        return x
    turned = x[..., :rotary].float()
    if interleaved:
        first, second = turned.unflatten(-1, (-1, 2)).unbind(-1)
    else:
        first, second = turned.chunk(2, dim=-1)
    cos, sin = cos.unsqueeze(-2), sin.unsqueeze(-2)  # one angle for all heads
    pair = (first * cos - second * sin, second * cos + first * sin)
    out = torch.stack(pair, dim=-1).flatten(-2) if interleaved else torch.cat(pair, dim=-1)
    if torch.is_grad_enabled() and x.requires_grad:
        return torch.cat((out.to(x.dtype), x[..., rotary:]), dim=-1)
    x[..., :rotary] = out.to(x.dtype)
    return x


def silu_and_mul(gate: Tensor, up: Tensor, *, compute: Compute = "auto") -> Tensor:
    """silu(gate) * up; both (..., width), and may be the halves of one fused projection."""
    native = choose(compute, gate, up) if gate.dtype == up.dtype and gate.shape == up.shape else None
    if native is None:
        return F.silu(gate) * up
    gate_rows, up_rows = _as_rows(gate), _as_rows(up)
    y = gate.new_empty(gate.shape)
    native.functions.openglm_silu_and_mul(
        gate_rows.data_ptr(),
        up_rows.data_ptr(),
        FLOATS[gate.dtype],
        gate_rows.shape[0],
        gate.shape[-1],
        gate_rows.stride(0),
        up_rows.stride(0),
        y.data_ptr(),
        torch.get_num_threads(),
    )
    return y


def add(x: Tensor, y: Tensor, *, compute: Compute = "auto") -> Tensor:
    """x + y, as residual streams need it: torch wakes its threads for every large sum, and where other
    programs use the cores each time costs milliseconds."""
    fits = x.dtype == y.dtype and x.shape == y.shape and x.is_contiguous() and y.is_contiguous()
    small = compute == "auto" and x.numel() < TORCH_GRAIN
    native = choose(compute, x, y) if fits and not small else None
    if native is None:
        return x + y
    out = torch.empty_like(x)
    native.functions.openglm_add(
        x.data_ptr(), y.data_ptr(), FLOATS[x.dtype], x.numel(), out.data_ptr(), torch.get_num_threads()
    )
    return out


def _as_rows(x: Tensor) -> Tensor:
    """(..., size) -> (rows, size) whose rows lie evenly spaced, each in one piece; copied only if need be."""
    if x.dim() == 2 and x.stride(1) == 1:
        return x
    return x.reshape(-1, x.shape[-1]).contiguous()
