"""The Responses dialect: what agents such as Codex speak; items in, numbered events or one object out."""

from openglm.dialects.responses.answer import ResponseEvents, ResponseObject
from openglm.dialects.responses.decode import ResponsesRequest, decode_compaction, decode_response
from openglm.dialects.responses.replay import replay

__all__ = [
    "ResponseEvents",
    "ResponseObject",
    "ResponsesRequest",
    "decode_compaction",
    "decode_response",
    "replay",
]
