"""The few operations where the engine spends its time: plain torch and native code behind one name.

`compute="auto"` takes the native path where it exists for the given tensors (CPU, float32 or bfloat16, no
gradient wanted) and plain torch everywhere else; "plain" and "native" force one, for tests and benches.
The native code is one C++ file, compiled on first use; `status()` says what became of it.
"""

from openglm.kernels.attention import paged_attention, write_cache
from openglm.kernels.build import native, status
from openglm.kernels.linear import quant_linear, quant_linear_reference
from openglm.kernels.low_rank import LowRank, add_low_rank
from openglm.kernels.pointwise import add, rms_norm, rope_inplace, silu_and_mul
from openglm.kernels.weights import (
    GROUP,
    QuantWeight,
    dequantize,
    dequantize_rows,
    pack_nibbles,
    quantize_weight,
    unpack_nibbles,
)

__all__ = [
    "GROUP",
    "LowRank",
    "QuantWeight",
    "add",
    "add_low_rank",
    "dequantize",
    "dequantize_rows",
    "native",
    "pack_nibbles",
    "paged_attention",
    "quant_linear",
    "quant_linear_reference",
    "quantize_weight",
    "rms_norm",
    "rope_inplace",
    "silu_and_mul",
    "status",
    "unpack_nibbles",
    "write_cache",
]
