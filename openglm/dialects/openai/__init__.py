"""The OpenAI dialect: chat completions, completions and embeddings, with vLLM's common extras."""

from openglm.dialects.openai.chat import ChatChunks, ChatObject
from openglm.dialects.openai.completions import CompletionChunks, CompletionObject, encode_embeddings
from openglm.dialects.openai.decode import (
    TokenizeRequest,
    decode_chat,
    decode_completion,
    decode_detokenize,
    decode_embedding,
    decode_tokenize,
)
from openglm.dialects.openai.errors import encode_error, encode_failure, error_body
from openglm.dialects.openai.frames import encode_usage, new_id
from openglm.dialects.wire import WireError

__all__ = [
    "ChatChunks",
    "ChatObject",
    "CompletionChunks",
    "CompletionObject",
    "TokenizeRequest",
    "WireError",
    "decode_chat",
    "decode_completion",
    "decode_detokenize",
    "decode_embedding",
    "decode_tokenize",
    "encode_embeddings",
    "encode_error",
    "encode_failure",
    "encode_usage",
    "error_body",
    "new_id",
]
