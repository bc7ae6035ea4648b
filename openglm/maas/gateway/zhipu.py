"""Zhipu's routes and those of the coding plan: chat, tokenizer, embeddings, models.

The two differ in who pays: the coding routes spend the subscription and never the wallet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.routing import BaseRoute, Route

from openglm.asgi.events import streamed
from openglm.dialects import zhipu
from openglm.maas.gateway.call import Call, Surface
from openglm.maas.gateway.endpoint import Endpoint, json_response, wrapped
from openglm.maas.gateway.generation import counted, embed, whole
from openglm.maas.gateway.loop import open_answer
from openglm.maas.gateway.surfaces import CODING, ZHIPU
from openglm.maas.gateway.tools import with_findings

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp

    from openglm.maas.platform import Platform


def routes(platform: Platform) -> list[BaseRoute]:
    found: list[BaseRoute] = []
    for base, surface in (("/api/paas/v4", ZHIPU), ("/api/coding/paas/v4", CODING)):
        handlers = ZhipuHandlers(platform, surface)
        found += [
            Route(base + path, Endpoint(platform, surface, word, handler), methods=["POST"])
            for path, word, handler in (
                ("/chat/completions", "chat", handlers.chat),
                ("/embeddings", "embeddings", handlers.embedding),
                ("/tokenizer", "chat", handlers.tokenizer),
            )
        ]
        found.append(Route(base + "/models", wrapped(platform, surface, handlers.models)))
    return found


class ZhipuHandlers:
    def __init__(self, platform: Platform, surface: Surface):
        self._platform = platform
        self._surface = surface

    async def chat(self, call: Call) -> ASGIApp:
        request = await call.read(lambda body: zhipu.decode_chat(body, coding=self._surface is CODING))
        platform = self._platform
        chat, hits = await with_findings(platform, call, request)
        opening = open_answer(
            platform,
            call,
            chat,
            request.tools.mcp,
            client_request_id=request.request_id,
            judged=True,
        )
        search = request.tools.web_search
        shown = hits if search and search.show_results else ()
        if chat.stream:
            chunks = zhipu.ChatChunks(
                chat.model,
                request_id=request.request_id,
                tool_stream=request.tool_stream,
                web_search=shown,
                results_first=bool(search and search.results_first),
            )
            return await streamed(opening, chunks, among=platform.streams)
        answer = zhipu.ChatObject(
            chat.model,
            chat.n,
            request_id=request.request_id,
            logprobs=chat.sampling.logprobs is not None,
            web_search=shown,
        )
        return json_response((await whole(await opening, answer)).body())

    async def embedding(self, call: Call) -> ASGIApp:
        request = await call.read(zhipu.decode_embedding)
        wanted = request.embedding
        vectors, tokens = await embed(self._platform, call, wanted, client_request_id=request.request_id)
        return json_response(
            zhipu.encode_embeddings(
                vectors, model=wanted.model, prompt_tokens=tokens, encoding=wanted.encoding
            )
        )

    async def tokenizer(self, call: Call) -> ASGIApp:
        request = await call.read(zhipu.decode_tokenizer)
        tokens = await counted(self._platform, call, request.chat)
        return json_response(zhipu.encode_tokenizer(tokens, request_id=request.request_id))

    async def models(self, request: Request) -> Response:
        caller = await self._platform.caller(request)
        names = self._platform.models_of(caller)
        created = {name: self._platform.models.created_at(name) // 1000 for name in names}
        return json_response(zhipu.encode_models(names, created=created))
