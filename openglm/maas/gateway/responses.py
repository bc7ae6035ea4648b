"""OpenAI's Responses: created, streamed, kept, continued, fetched, cancelled, deleted."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any

from starlette.routing import BaseRoute, Route, WebSocketRoute

from openglm.asgi.events import EventStream, streamed
from openglm.dialects import responses
from openglm.dialects.responses import ResponseEvents, ResponseObject, ResponsesRequest
from openglm.errors import Conflict, InvalidRequest, NotOffered
from openglm.maas.files.routes import whole as number
from openglm.maas.gateway.background import Background
from openglm.maas.gateway.call import Call
from openglm.maas.gateway.compaction import compact
from openglm.maas.gateway.conversation import Conversations
from openglm.maas.gateway.endpoint import Endpoint, error_response, json_response, wrapped
from openglm.maas.gateway.generation import counted, whole
from openglm.maas.gateway.loop import open_answer
from openglm.maas.gateway.retold import Watched
from openglm.maas.gateway.surfaces import OPENAI
from openglm.maas.ids import new_id
from openglm.maas.responses import Kept
from openglm.messages import ChatRequest

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send
    from starlette.websockets import WebSocket

    from openglm.maas.database import Transaction
    from openglm.maas.gateway.exchange import Exchange, Step
    from openglm.maas.gateway.loop import Loop
    from openglm.maas.identity import Caller
    from openglm.maas.platform import Platform

PAGE, LARGEST_PAGE = 20, 100  # items, as documented


def routes(platform: Platform) -> list[BaseRoute]:
    handlers = ResponsesHandlers(platform)
    found: list[BaseRoute] = [
        Route(path, Endpoint(platform, OPENAI, "responses", handler), methods=["POST"])
        for path, handler in (
            ("/v1/responses", handlers.create),
            ("/v1/responses/compact", handlers.compact),
            ("/v1/responses/input_tokens", handlers.input_tokens),
        )
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
        self._conversations = Conversations(platform)
        self._background = Background(platform)

    async def create(self, call: Call) -> ASGIApp:
        platform = self._platform
        request = await call.read(responses.decode_response)
        if request.offer.servers:
            call.caller.may_call("tools")
        if request.store:
            await platform.responses.look_for_room(call.caller.org_id)
        _, chat = await self._conversations.of(call, request)
        if request.background:
            return await self._begin(call, request, chat)
        headers = _left_out(request)
        opening = open_answer(platform, call, chat, request.offer.servers, affinity=request.cache_key)
        answer = self._answer(call, request)
        if chat.stream:
            events = ResponseEvents(answer)
            if not request.store:
                return await streamed(opening, events, among=platform.streams, headers=headers)
            kept = _Kept(self, call, request, answer, events.close)
            stream = await streamed(kept.of(opening), events, among=platform.streams, headers=headers)
            return _KeptStream(platform, stream, kept)
        if request.store:
            kept = _Kept(self, call, request, answer, answer.close)
            await whole(await kept.of(opening), answer)
        else:
            await whole(await opening, answer)
        answer.close()
        return json_response(answer.body(), headers=headers)

    async def get(self, request: Request) -> Response:
        """The response as it is, or with `stream` its events, from the one after `starting_after` on."""
        caller, response_id, kept = await self._kept(request)
        if request.query_params.get("stream") != "true":
            return json_response(kept.body)
        given = request.query_params.get("starting_after")
        after = None if given is None else number(given, 0, "starting_after")
        return Watched(self._background.told(caller.org_id, response_id, after))

    async def delete(self, request: Request) -> Response:
        caller, response_id, _ = await self._kept(request)
        self._background.stop(response_id)
        await self._platform.responses.delete(caller.org_id, response_id)
        return json_response({"id": response_id, "object": "response", "deleted": True})

    async def cancel(self, request: Request) -> Response:
        caller, response_id, kept = await self._kept(request)
        if not kept.body.get("background"):
            raise Conflict("only a response in the background can be cancelled")
        self._background.stop(response_id)
        return json_response((await self._platform.responses.cancel(caller.org_id, response_id)).body)

    async def input_items(self, request: Request) -> Response:
        caller, _, kept = await self._kept(request)
        earlier = (
            await self._platform.responses.chain(caller.org_id, kept.previous_id) if kept.previous_id else []
        )
        items = [{"id": f"item_{at}", **item} for at, item in enumerate([*earlier, *kept.items])]
        if request.query_params.get("order") != "asc":
            items.reverse()
        return json_response(page_of(items, request.query_params))

    async def input_tokens(self, call: Call) -> ASGIApp:
        _, chat = await self._conversations.of(call, await call.read(responses.decode_response))
        tokens = await counted(self._platform, call, chat)
        return json_response({"object": "response.input_tokens", "input_tokens": tokens})

    async def compact(self, call: Call) -> ASGIApp:
        return await compact(self._platform, call)

    async def keep(self, call: Call, request: ResponsesRequest, answer: ResponseObject) -> None:
        await self._platform.responses.save(
            call.caller.org_id, answer.body(), request.items, request.previous
        )

    def keeping(
        self, call: Call, request: ResponsesRequest, answer: ResponseObject
    ) -> Callable[[Transaction], None]:
        """As `keep`, for the transaction of the bill."""
        return self._platform.responses.saving(
            call.caller.org_id, answer.body(), request.items, request.previous
        )

    async def _begin(self, call: Call, request: ResponsesRequest, chat: ChatRequest) -> ASGIApp:
        """Admit it now, answer it behind the client's back, who may listen."""
        servers = request.offer.servers
        exchange = await open_answer(self._platform, call, chat, servers, affinity=request.cache_key)
        answer = self._answer(call, request)
        org_id, begun, headers = call.caller.org_id, answer.body(), _left_out(request)

        async def begin() -> None:
            try:
                await self.keep(call, request, answer)
            except BaseException:
                exchange.close()
                raise
            self._background.begin(org_id, exchange, answer)

        # What is kept as being made is made, though the client leave.
        await asyncio.shield(self._platform.go_on(begin()))
        if chat.stream:
            return self._background.told(org_id, answer.id, headers=headers)
        return json_response(begun, headers=headers)

    def _answer(self, call: Call, request: ResponsesRequest) -> ResponseObject:
        return ResponseObject(request, lambda text: self._conversations.seal(call.caller.org_id, text))

    async def _kept(self, request: Request) -> tuple[Caller, str, Kept]:
        caller = await self._platform.caller(request, endpoint="responses")
        response_id = str(request.path_params["id"])
        return caller, response_id, await self._platform.responses.get(caller.org_id, response_id)


class _Kept:
    """An answer that is kept with its bill before anybody hears of its end: who goes on from it at once finds
    it."""

    def __init__(
        self,
        handlers: ResponsesHandlers,
        call: Call,
        request: ResponsesRequest,
        answer: ResponseObject,
        ended: Callable[[], object],
    ):
        self._handlers = handlers
        self._about = (call, request, answer)
        self._ended = ended  # closes the response in its own time
        self._exchange: Exchange | Loop
        self._written = False

    async def of(self, opening: Coroutine[Any, Any, Exchange | Loop]) -> _Kept:
        self._exchange = await opening
        return self

    async def __aiter__(self) -> AsyncIterator[Step]:
        async for step in self._exchange:
            yield step
        self._ended()
        save = self._handlers.keeping(*self._about)

        def write(transaction: Transaction) -> None:
            save(transaction)
            self._written = True

        self._exchange.keep(write)
        if settling := self._exchange.close():
            await asyncio.shield(settling)
        if not self._written:  # nothing came that could be billed
            await self._handlers.keep(*self._about)
            self._written = True

    def close(self) -> object:
        return self._exchange.close()

    async def as_it_is(self) -> None:
        """Keep what there is of an answer that did not come to its end."""
        if not self._written:
            self._about[2].close("cancelled")
            await self._handlers.keep(*self._about)


class _KeptStream:
    """A stream whose response is kept, whoever has left before its end."""

    def __init__(self, platform: Platform, stream: EventStream, kept: _Kept):
        self._platform = platform
        self._stream = stream
        self._kept = kept

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._stream(scope, receive, send)
        finally:
            self._platform.go_on(self._kept.as_it_is())


def page_of(items: list[dict[str, Any]], query: Mapping[str, str]) -> dict[str, Any]:
    """A page of a list as `limit` and `after` ask for it."""
    limit = number(query.get("limit"), PAGE, "limit")
    if not 1 <= limit <= LARGEST_PAGE:
        raise InvalidRequest(f"limit must be from 1 to {LARGEST_PAGE}, got {limit}", param="limit")
    start = 0
    if after := query.get("after"):
        start = next((at + 1 for at, item in enumerate(items) if item["id"] == after), -1)
        if start < 0:
            raise InvalidRequest("after must be the id of an item of this list", param="after")
    page = items[start : start + limit]
    ends = {"first_id": page[0]["id"], "last_id": page[-1]["id"]} if page else {}
    return {"object": "list", "data": page, "has_more": start + limit < len(items), **ends}


def _left_out(request: ResponsesRequest) -> dict[str, str]:
    """Hosted tools that the request offers and nobody here can work, said in a header."""
    left_out = request.offer.left_out
    return {"x-openglm-ignored-tools": _ascii(", ".join(left_out))} if left_out else {}


def _ascii(text: str) -> str:
    return json.dumps(text).strip('"')[:500]
