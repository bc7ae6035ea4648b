"""OpenAI's Responses: created, streamed, kept, continued, fetched, cancelled, deleted."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from typing import TYPE_CHECKING, Any

from starlette.routing import BaseRoute, Route, WebSocketRoute

from openglm.asgi.events import EventStream, streamed
from openglm.dialects import responses
from openglm.dialects.responses import ResponseEvents, ResponseObject, ResponsesRequest
from openglm.errors import Conflict, NotOffered, OpenGLMError
from openglm.maas.gateway.call import Call
from openglm.maas.gateway.endpoint import Endpoint, error_response, json_response, wrapped
from openglm.maas.gateway.exchange import Exchange
from openglm.maas.gateway.generation import collect, whole
from openglm.maas.gateway.loop import Loop, open_answer
from openglm.maas.gateway.surfaces import OPENAI
from openglm.maas.ids import new_id

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send
    from starlette.websockets import WebSocket

    from openglm.maas.platform import Platform

_PURPOSE = "reasoning"


def routes(platform: Platform) -> list[BaseRoute]:
    handlers = ResponsesHandlers(platform)
    found: list[BaseRoute] = [
        Route("/v1/responses", Endpoint(platform, OPENAI, "responses", handlers.create), methods=["POST"])
    ]
    for path, method, handler in (
        ("/v1/responses/{id}", "GET", handlers.get),
        ("/v1/responses/{id}", "DELETE", handlers.delete),
        ("/v1/responses/{id}/cancel", "POST", handlers.cancel),
        ("/v1/responses/{id}/input_items", "GET", handlers.input_items),
    ):
        found.append(Route(path, wrapped(platform, OPENAI, handler), methods=[method]))
    found.append(WebSocketRoute("/v1/responses", _use_http))
    return found


async def _use_http(socket: WebSocket) -> None:
    """No sockets here. Codex may try one first: 426 sends it to HTTP at once, another status after 5 tries.

    uvicorn logs each such refusal as a handshake that was not completed.
    """
    reason = NotOffered("there are no web sockets here", hint="POST /v1/responses")
    refusal = error_response(OPENAI, reason, new_id("req"))
    refusal.status_code = 426
    await socket.send_denial_response(refusal)


class ResponsesHandlers:
    def __init__(self, platform: Platform):
        self._platform = platform
        self._running: dict[str, asyncio.Task[None]] = {}  # in the background, here

    async def create(self, call: Call) -> ASGIApp:
        platform = self._platform
        request = responses.decode_response(call.body)
        org_id = call.caller.org_id
        earlier = await platform.responses.chain(org_id, request.previous) if request.previous else []
        chat = request.conversation(earlier, lambda token: self._open(org_id, token))
        if request.background:
            return await self._begin(call, request, chat)
        headers = _left_out(request)
        opening = open_answer(platform, call, chat, request.offer.servers, affinity=request.cache_key)
        if chat.stream:
            events = ResponseEvents(request, lambda text: self._seal(org_id, text))
            stream = await streamed(opening, events, among=platform.streams, headers=headers)
            return _KeptStream(self, call, request, stream, events.response)
        answer = ResponseObject(request, lambda text: self._seal(org_id, text))
        await whole(await opening, answer)
        answer.close()
        if request.store:
            await self._keep(call, request, answer)
        return json_response(answer.body(), headers=headers)

    async def get(self, request: Request) -> Response:
        caller = await self._platform.caller(request, endpoint="responses")
        return json_response((await self._platform.responses.get(caller.org_id, _id(request))).body)

    async def delete(self, request: Request) -> Response:
        caller = await self._platform.caller(request, endpoint="responses")
        self._stop(_id(request), await self._platform.responses.get(caller.org_id, _id(request)))
        await self._platform.responses.delete(caller.org_id, _id(request))
        return json_response({"id": _id(request), "object": "response", "deleted": True})

    async def cancel(self, request: Request) -> Response:
        caller = await self._platform.caller(request, endpoint="responses")
        kept = await self._platform.responses.get(caller.org_id, _id(request))
        if not kept.body.get("background"):
            raise Conflict("only a response in the background can be cancelled")
        self._stop(_id(request), kept)
        return json_response((await self._platform.responses.cancel(caller.org_id, _id(request))).body)

    async def input_items(self, request: Request) -> Response:
        caller = await self._platform.caller(request, endpoint="responses")
        kept = await self._platform.responses.get(caller.org_id, _id(request))
        earlier = (
            await self._platform.responses.chain(caller.org_id, kept.previous_id) if kept.previous_id else []
        )
        items = [{"id": f"item_{at}", **item} for at, item in enumerate([*earlier, *kept.items])]
        if request.query_params.get("order") != "asc":
            items.reverse()
        ends = {"first_id": items[0]["id"], "last_id": items[-1]["id"]} if items else {}
        return json_response({"object": "list", "data": items, "has_more": False, **ends})

    async def _begin(self, call: Call, request: ResponsesRequest, chat: Any) -> ASGIApp:
        """Admit it now, answer it behind the client's back."""
        platform, org_id = self._platform, call.caller.org_id
        exchange = await open_answer(platform, call, chat, request.offer.servers, affinity=request.cache_key)
        answer = ResponseObject(request, lambda text: self._seal(org_id, text))
        try:
            await platform.responses.save(org_id, answer.body(), request.items, request.previous)
        except BaseException:
            exchange.close()
            raise
        self._running[answer.id] = platform.go_on(self._work(org_id, exchange, answer))
        return json_response(answer.body(), headers=_left_out(request))

    async def _work(self, org_id: str, exchange: Exchange | Loop, answer: ResponseObject) -> None:
        status = None
        try:
            await collect(exchange, answer)
        except asyncio.CancelledError:
            status = "cancelled"
        except OpenGLMError as error:
            answer.broke(error)
        finally:
            self._running.pop(answer.id, None)
            exchange.close()
            answer.close(status)
            await self._platform.responses.finish(org_id, answer.body())

    def _stop(self, response_id: str, kept: object) -> None:
        if kept and (task := self._running.get(response_id)):
            task.cancel()

    async def _keep(self, call: Call, request: ResponsesRequest, answer: ResponseObject) -> None:
        await self._platform.responses.save(
            call.caller.org_id, answer.body(), request.items, request.previous
        )

    def _seal(self, org_id: str, text: str) -> str:
        sealed = self._platform.secrets.seal(_PURPOSE, text.encode(), context=org_id)
        return base64.urlsafe_b64encode(sealed).decode()

    def _open(self, org_id: str, token: str) -> str | None:
        try:
            sealed = base64.urlsafe_b64decode(token)
            return self._platform.secrets.unseal(_PURPOSE, sealed, context=org_id).decode()
        except (OpenGLMError, binascii.Error, ValueError):
            return None


class _KeptStream:
    """A stream whose response is kept in the end, whoever has left by then."""

    def __init__(
        self,
        handlers: ResponsesHandlers,
        call: Call,
        request: ResponsesRequest,
        stream: EventStream,
        answer: ResponseObject,
    ):
        self._handlers = handlers
        self._call = call
        self._request = request
        self._stream = stream
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._stream(scope, receive, send)
        finally:
            if self._request.store:
                self._answer.close("cancelled")
                platform = self._handlers._platform
                platform.go_on(self._handlers._keep(self._call, self._request, self._answer))


def _id(request: Request) -> str:
    return str(request.path_params["id"])


def _left_out(request: ResponsesRequest) -> dict[str, str]:
    """Hosted tools that the request offers and nobody here can work, said in a header."""
    left_out = request.offer.left_out
    return {"x-openglm-ignored-tools": _ascii(", ".join(left_out))} if left_out else {}


def _ascii(text: str) -> str:
    return json.dumps(text).strip('"')[:500]
