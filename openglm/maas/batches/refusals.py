"""What a row's line says when its request was refused before the model answered: the dialect's own error."""

from __future__ import annotations

import msgspec

from openglm.dialects import anthropic, openai, zhipu
from openglm.maas.batches.batch import Dialect

_ENCODE = {
    "openai": openai.encode_error,
    "zhipu": zhipu.encode_error,
    "anthropic": anthropic.encode_error,
}


def refusal(error: Exception, dialect: Dialect) -> tuple[int, bytes]:
    """Status and body. What we did not foresee is not shown."""
    wire = _ENCODE[dialect](error)
    return wire.status, msgspec.json.encode(wire.body)
