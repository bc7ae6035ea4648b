"""The OpenAI routes: chat, completions, embeddings, models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from openglm.asgi.events import EventStream
from openglm.dialects import openai
from openglm.maas.gateway.call import Call, Surface
from openglm.maas.gateway.endpoint import json_response
from openglm.maas.gateway.generation import embed, open_exchange, whole

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from openglm.maas.platform import Platform

SURFACE = Surface("openai", lambda error, request_id: openai.encode_error(error))


class OpenAIHandlers:
    def __init__(self, platform: Platform):
        self._platform = platform

    async def chat(self, call: Call) -> ASGIApp:
        request = openai.decode_chat(call.body)
        exchange = await open_exchange(self._platform, call, request)
        if request.stream:
            chunks = openai.ChatChunks(
                request.model,
                include_usage=request.include_usage,
                continuous_usage=request.continuous_usage,
            )
            return EventStream(exchange, chunks)
        logprobs = request.sampling.logprobs is not None
        answer = await whole(exchange, openai.ChatObject(request.model, request.n, logprobs=logprobs))
        return json_response(answer.body())

    async def completion(self, call: Call) -> ASGIApp:
        request = openai.decode_completion(call.body)
        exchange = await open_exchange(self._platform, call, request)
        if request.stream:
            chunks = openai.CompletionChunks(
                request.model,
                include_usage=request.include_usage,
                continuous_usage=request.continuous_usage,
            )
            return EventStream(exchange, chunks)
        count = request.n * len(request.prompts)
        logprobs = request.sampling.logprobs is not None
        answer = await whole(exchange, openai.CompletionObject(request.model, count, logprobs=logprobs))
        return json_response(answer.body())

    async def embedding(self, call: Call) -> ASGIApp:
        request = openai.decode_embedding(call.body)
        vectors, tokens = await embed(self._platform, call, request)
        return json_response(
            openai.encode_embeddings(
                vectors, model=request.model, encoding=request.encoding, prompt_tokens=tokens
            )
        )
