"""Zhipu's dialect: /api/paas/v4 and /api/coding/paas/v4, as the SDKs zai-sdk and zhipuai speak it."""

from openglm.dialects.zhipu.agents import (
    AgentCall,
    AgentChunks,
    AgentObject,
    agent_messages,
    decode_agent,
    decode_agent_conversation,
    decode_agent_result,
    encode_agent_task,
    encode_conversation,
    encode_turn,
)
from openglm.dialects.zhipu.chat import ChatChunks, ChatObject
from openglm.dialects.zhipu.decode import (
    EmbeddingCall,
    TokenizerCall,
    ZhipuRequest,
    decode_chat,
    decode_embedding,
    decode_tokenizer,
)
from openglm.dialects.zhipu.errors import encode_enveloped_error, encode_error, encode_failure
from openglm.dialects.zhipu.generations import ImageCall, decode_image, encode_images
from openglm.dialects.zhipu.shapes import (
    encode_embeddings,
    encode_models,
    encode_task,
    encode_tokenizer,
    envelope,
    new_id,
)
from openglm.dialects.zhipu.tools import PlatformTools, Retrieval, WebSearch

__all__ = [
    "AgentCall",
    "AgentChunks",
    "AgentObject",
    "ChatChunks",
    "ChatObject",
    "EmbeddingCall",
    "ImageCall",
    "PlatformTools",
    "Retrieval",
    "TokenizerCall",
    "WebSearch",
    "ZhipuRequest",
    "agent_messages",
    "decode_agent",
    "decode_agent_conversation",
    "decode_agent_result",
    "decode_chat",
    "decode_embedding",
    "decode_image",
    "decode_tokenizer",
    "encode_agent_task",
    "encode_conversation",
    "encode_embeddings",
    "encode_enveloped_error",
    "encode_error",
    "encode_failure",
    "encode_images",
    "encode_models",
    "encode_task",
    "encode_tokenizer",
    "encode_turn",
    "envelope",
    "new_id",
]
