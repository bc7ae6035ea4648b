"""Anthropic's routes: messages, token counts, models, and the address that agents knock at first.

Agents of the coding plan come this way, and so do users without a plan.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Route

from openglm.asgi.events import streamed
from openglm.dialects import anthropic
from openglm.errors import ModelNotFound
from openglm.maas import door
from openglm.maas.gateway.call import Call
from openglm.maas.gateway.endpoint import Endpoint, json_response, wrapped
from openglm.maas.gateway.generation import counted, open_exchange, whole
from openglm.maas.gateway.surfaces import ANTHROPIC

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import ASGIApp, Scope

    from openglm.maas.platform import Platform

BASES = ("/api/anthropic/v1", "/v1")  # clients put /v1 behind the address that they are given


def routes(platform: Platform) -> list[BaseRoute]:
    handlers = AnthropicHandlers(platform)
    found: list[BaseRoute] = [
        Route(base + path, Endpoint(platform, ANTHROPIC, "messages", handler), methods=["POST"])
        for base in BASES
        for path, handler in (
            ("/messages", handlers.messages),
            ("/messages/count_tokens", handlers.count_tokens),
        )
    ]
    for kind, base in ((Route, "/api/anthropic/v1"), (_SharedRoute, "/v1")):
        found.append(kind(f"{base}/models", wrapped(platform, ANTHROPIC, handlers.models)))
        found.append(kind(f"{base}/models/{{name:path}}", wrapped(platform, ANTHROPIC, handlers.model)))
    return [
        *found,
        Route("/api/anthropic", _here),
        Route("/api/anthropic/", _here),
    ]


def is_spoken(scope: Scope) -> bool:
    """Whether a client of Anthropic's asks: all of them name the version that they speak."""
    return door.header(scope, "anthropic-version") is not None


class _SharedRoute(Route):
    """At an address that is OpenAI's too: for those alone who speak Anthropic's dialect."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["type"] == "http" and is_spoken(scope):
            return super().matches(scope)
        return Match.NONE, {}


class AnthropicHandlers:
    def __init__(self, platform: Platform):
        self._platform = platform
        self._key = platform.secrets.derive(anthropic.KEY_PURPOSE)

    async def messages(self, call: Call) -> ASGIApp:
        chat = (await call.read(lambda body: anthropic.decode_messages(body, self._key))).chat
        platform = self._platform
        if chat.stream:
            chunks = anthropic.MessageChunks(chat.model, self._key, request_id=call.request_id)
            opening = open_exchange(platform, call, chat, prompt_first=True)
            return await streamed(opening, chunks, among=platform.streams)
        exchange = await open_exchange(platform, call, chat)
        answer = await whole(exchange, anthropic.MessageObject(chat.model, self._key))
        return json_response(answer.body())

    async def count_tokens(self, call: Call) -> ASGIApp:
        tokens = await counted(
            self._platform, call, await call.read(lambda body: anthropic.decode_count(body, self._key))
        )
        return json_response({"input_tokens": tokens})

    async def models(self, request: Request) -> Response:
        caller = await self._platform.caller(request)
        names = self._platform.models_of(caller)
        created = {name: self._platform.models.created_at(name) for name in names}
        return json_response(anthropic.encode_models(names, request.query_params, created=created))

    async def model(self, request: Request) -> Response:
        caller = await self._platform.caller(request)
        name = request.path_params["name"]
        if name not in self._platform.models_of(caller):
            raise ModelNotFound(f"there is no model {name[:80]!r}", param="model", code="model_not_found")
        return json_response(anthropic.encode_model(name, self._platform.models.created_at(name)))


async def _here(request: Request) -> Response:
    return Response()
