"""The OpenAI dialect: chat completions, completions, embeddings and images, with vLLM's common extras."""

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
from openglm.dialects.openai.images import ImageAnswer, ImageCall, Picture, Shown, decode_image, encode_images
from openglm.dialects.wire import WireError

__all__ = [
    "ChatChunks",
    "ChatObject",
    "CompletionChunks",
    "CompletionObject",
    "ImageAnswer",
    "ImageCall",
    "Picture",
    "Shown",
    "TokenizeRequest",
    "WireError",
    "decode_chat",
    "decode_completion",
    "decode_detokenize",
    "decode_embedding",
    "decode_image",
    "decode_tokenize",
    "encode_embeddings",
    "encode_error",
    "encode_failure",
    "encode_images",
    "encode_usage",
    "error_body",
    "new_id",
]
