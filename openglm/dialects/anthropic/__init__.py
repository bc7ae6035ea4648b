"""Anthropic's dialect: messages, streamed or whole, token counts and models, as SDKs and agents speak it."""

from openglm.dialects.anthropic.answer import PING, MessageChunks, MessageObject, encode_usage
from openglm.dialects.anthropic.decode import MessagesRequest, decode_count, decode_messages
from openglm.dialects.anthropic.errors import encode_error, encode_failure, error_body
from openglm.dialects.anthropic.models import encode_model, encode_models
from openglm.dialects.anthropic.signature import KEY_PURPOSE, judge, sign

__all__ = [
    "KEY_PURPOSE",
    "PING",
    "MessageChunks",
    "MessageObject",
    "MessagesRequest",
    "decode_count",
    "decode_messages",
    "encode_error",
    "encode_failure",
    "encode_model",
    "encode_models",
    "encode_usage",
    "error_body",
    "judge",
    "sign",
]
