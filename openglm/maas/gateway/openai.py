"""The OpenAI routes: chat, completions, embeddings, models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.routing import BaseRoute, Route

from openglm.asgi.events import streamed
from openglm.dialects import openai
from openglm.errors import ModelNotFound
from openglm.maas.gateway.call import Call
from openglm.maas.gateway.endpoint import Endpoint, json_response, wrapped
from openglm.maas.gateway.generation import embed, open_exchange, whole
from openglm.maas.gateway.surfaces import OPENAI

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp

    from openglm.maas.platform import Platform


def routes(platform: Platform) -> list[BaseRoute]:
    handlers = OpenAIHandlers(platform)
    posts = (
        ("/v1/chat/completions", "chat", handlers.chat),
        ("/v1/completions", "completions", handlers.completion),
        ("/v1/embeddings", "embeddings", handlers.embedding),
    )
    return [
        *(
            Route(path, Endpoint(platform, OPENAI, word, handler), methods=["POST"])
            for path, word, handler in posts
        ),
        Route("/v1/models", wrapped(platform, OPENAI, handlers.models)),
        Route("/v1/models/{name:path}", wrapped(platform, OPENAI, handlers.model)),
    ]


class OpenAIHandlers:
    def __init__(self, platform: Platform):
        self._platform = platform

    async def chat(self, call: Call) -> ASGIApp:
        request = await call.read(openai.decode_chat)
        platform = self._platform
        if request.stream:
            chunks = openai.ChatChunks(
                request.model,
                include_usage=request.include_usage,
                continuous_usage=request.continuous_usage,
            )
            return await streamed(open_exchange(platform, call, request), chunks, among=platform.streams)
        exchange = await open_exchange(platform, call, request)
        logprobs = request.sampling.logprobs is not None
        answer = await whole(exchange, openai.ChatObject(request.model, request.n, logprobs=logprobs))
        return json_response(answer.body())

    async def completion(self, call: Call) -> ASGIApp:
        request = await call.read(openai.decode_completion)
        platform = self._platform
        if request.stream:
            chunks = openai.CompletionChunks(
                request.model,
                include_usage=request.include_usage,
                continuous_usage=request.continuous_usage,
            )
            return await streamed(open_exchange(platform, call, request), chunks, among=platform.streams)
        exchange = await open_exchange(platform, call, request)
        count = request.n * len(request.prompts)
        logprobs = request.sampling.logprobs is not None
        answer = await whole(exchange, openai.CompletionObject(request.model, count, logprobs=logprobs))
        return json_response(answer.body())

    async def embedding(self, call: Call) -> ASGIApp:
        request = await call.read(openai.decode_embedding)
        vectors, tokens = await embed(self._platform, call, request)
        return json_response(
            openai.encode_embeddings(
                vectors, model=request.model, encoding=request.encoding, prompt_tokens=tokens
            )
        )

    async def models(self, request: Request) -> Response:
        caller = await self._platform.caller(request)
        data = [self._card(name) for name in self._platform.models_of(caller)]
        return json_response({"object": "list", "data": data})

    async def model(self, request: Request) -> Response:
        caller = await self._platform.caller(request)
        name = request.path_params["name"]
        if name not in self._platform.models_of(caller):
            raise ModelNotFound(f"there is no model {name[:80]!r}", param="model", code="model_not_found")
        return json_response(self._card(name))

    def _card(self, name: str) -> dict[str, Any]:
        models = self._platform.models
        created, owner = models.created_at(name) // 1000, models.owner_of(name)
        return {"id": name, "object": "model", "created": created, "owned_by": owner or "openglm"}
