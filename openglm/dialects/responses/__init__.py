"""The Responses dialect: what agents such as Codex speak; items in, numbered events or one object out."""

from openglm.dialects.responses.answer import ResponseEvents, ResponseObject, new_response_id
from openglm.dialects.responses.decode import ResponsesRequest, decode_response

__all__ = ["ResponseEvents", "ResponseObject", "ResponsesRequest", "decode_response", "new_response_id"]
