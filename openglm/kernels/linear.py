"""y = x W^T with W in 4 or 8 bits.

Plain: dequantise, then multiply: exact for the weight. Native: activations are rounded to 8 bits per group of
32 as well, products are summed as integers, and every group adds one float to its row; a row's result never
depends on the rows beside it. `quant_linear_reference` is that arithmetic in torch.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from openglm.kernels.choose import FLOATS, Compute, choose
from openglm.kernels.weights import GROUP, QuantWeight, dequantize


def quant_linear(
    x: Tensor, weight: QuantWeight, bias: Tensor | None = None, *, compute: Compute = "auto"
) -> Tensor:
    """x (..., in) -> (..., out) in the dtype of x."""
    outputs, inputs = weight.shape
    if x.shape[-1] != inputs:
        raise ValueError(f"the weight is {weight.shape}, so x must end in {inputs}, got {tuple(x.shape)}")
    native = choose(compute, x)
    if native is None:
        return F.linear(x, dequantize(weight, x.dtype), bias)
    weight.to_panels()
    x = x.contiguous()
    bias = None if bias is None else bias.float().contiguous()
    y = x.new_empty(*x.shape[:-1], outputs)
    native.functions.openglm_linear(
        x.data_ptr(),
        FLOATS[x.dtype],
        x.numel() // inputs,
        weight.bits,
        weight.data.data_ptr(),
        weight.scale.data_ptr(),
        None if weight.minimum is None else weight.minimum.data_ptr(),
        weight.scale.dtype == torch.float16,
        inputs // GROUP,
        None if bias is None else bias.data_ptr(),
        y.data_ptr(),
        outputs,
        torch.get_num_threads(),
    )
    return y


def quant_linear_reference(x: Tensor, weight: QuantWeight, bias: Tensor | None = None) -> Tensor:
    """The native arithmetic in torch: the exact weight times activations in 8 bits per group of 32."""
    groups = x.float().unflatten(-1, (-1, GROUP))
    largest = groups.abs().amax(-1, keepdim=True)
    to_q = torch.full_like(largest, 127) / largest  # torch rounds `127 / largest` twice
    q = (groups * torch.where(largest > 0, to_q, 0)).round()
    y = F.linear((q * (largest / 127)).flatten(-2), dequantize(weight))
    return (y if bias is None else y + bias.float()).to(x.dtype)
