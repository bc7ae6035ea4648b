"""OpenAI's Responses: created, streamed, kept, continued, fetched, cancelled, deleted."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from starlette.routing import BaseRoute, Route, WebSocketRoute

from openglm.asgi.events import EventStream, streamed
from openglm.dialects import responses
from openglm.dialects.responses import ResponseEvents, ResponseObject, ResponsesRequest
from openglm.errors import Conflict, InvalidRequest, NotOffered, OpenGLMError
from openglm.maas.files.routes import whole as number
from openglm.maas.gateway.call import Call
from openglm.maas.gateway.endpoint import Endpoint, error_response, json_response, wrapped
from openglm.maas.gateway.exchange import Exchange
from openglm.maas.gateway.generation import known, open_exchange, whole
from openglm.maas.gateway.loop import Loop, open_answer
from openglm.maas.gateway.retold import Watched, retold
from openglm.maas.gateway.surfaces import OPENAI
from openglm.maas.ids import new_id
from openglm.maas.responses import RUNNING, Line
from openglm.messages import ChatRequest, Message

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send
    from starlette.websockets import WebSocket

    from openglm.maas.platform import Platform

_PURPOSE = "reasoning"
PAGE, LARGEST_PAGE = 20, 100  # items, as documented
LINE_S = 600.0  # how long the events of an ended response stay in memory for whoever comes again
LOOK_AGAIN_S = 1.0  # at a response that another node makes
SHORTEN = (
    "Write down what of this conversation is needed to go on with it: the aim, what was decided and why, what"
    " was done and found, names and numbers that matter, and what is still open. Write nothing else."
)


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
        self._running: dict[str, asyncio.Task[None]] = {}  # in the background, here
        self._lines: dict[str, Line] = {}  # of these, and of those that ended a while ago

    async def create(self, call: Call) -> ASGIApp:
        platform = self._platform
        request = responses.decode_response(call.body)
        if request.offer.servers:
            call.caller.may_call("tools")
        org_id = call.caller.org_id
        chat = await self._conversation(call, request)
        if request.background:
            return await self._begin(call, request, chat)
        headers = _left_out(request)
        opening = open_answer(platform, call, chat, request.offer.servers, affinity=request.cache_key)
        if chat.stream:
            events = ResponseEvents(ResponseObject(request, lambda text: self._seal(org_id, text)))
            stream = await streamed(opening, events, among=platform.streams, headers=headers)
            return _KeptStream(self, call, request, stream, events.response)
        answer = ResponseObject(request, lambda text: self._seal(org_id, text))
        await whole(await opening, answer)
        answer.close()
        if request.store:
            await self._keep(call, request, answer)
        return json_response(answer.body(), headers=headers)

    async def get(self, request: Request) -> Response:
        """The response as it is, or with `stream` its events, from the one after `starting_after` on."""
        caller = await self._platform.caller(request, endpoint="responses")
        kept = await self._platform.responses.get(caller.org_id, _id(request))
        if request.query_params.get("stream") != "true":
            return json_response(kept.body)
        given = request.query_params.get("starting_after")
        after = None if given is None else number(given, 0, "starting_after")
        return Watched(self._told(caller.org_id, _id(request), after))  # type: ignore[return-value]

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
        return json_response(page_of(items, request.query_params))

    async def input_tokens(self, call: Call) -> ASGIApp:
        request = responses.decode_response(call.body)
        chat = known(self._platform, call, await self._conversation(call, request))
        tokens = await self._platform.router.count_tokens(chat, chat.model, request_id=call.request_id)
        return json_response({"object": "response.input_tokens", "input_tokens": tokens})

    async def compact(self, call: Call) -> ASGIApp:
        """A conversation as its users' messages, and a sealed text of the model's that says all in short."""
        request = responses.decode_compaction(call.body)
        chat = await self._conversation(call, request)
        chat = replace(chat, messages=(*chat.messages, Message.of("user", SHORTEN)))
        exchange = await open_exchange(self._platform, call, chat, affinity=request.cache_key)
        answer = ResponseObject(request, str)
        await whole(exchange, answer)
        answer.close()
        return json_response(
            {
                "id": answer.id,
                "object": "response.compaction",
                "created_at": call.received_ms // 1000,
                "output": [
                    *(item for item in request.items if item.get("role") == "user"),
                    {
                        "id": f"cmp_{answer.id.removeprefix('resp_')}",
                        "type": "compaction",
                        "encrypted_content": self._seal(call.caller.org_id, answer.text()),
                    },
                ],
                "usage": answer.body()["usage"],
            }
        )

    async def _conversation(self, call: Call, request: ResponsesRequest) -> ChatRequest:
        platform, org_id = self._platform, call.caller.org_id
        earlier = await platform.responses.chain(org_id, request.previous) if request.previous else []
        return request.conversation(earlier, lambda token: self._open(org_id, token))

    async def _begin(self, call: Call, request: ResponsesRequest, chat: ChatRequest) -> ASGIApp:
        """Admit it now, answer it behind the client's back, who may listen."""
        platform, org_id = self._platform, call.caller.org_id
        exchange = await open_answer(platform, call, chat, request.offer.servers, affinity=request.cache_key)
        answer = ResponseObject(request, lambda text: self._seal(org_id, text))
        try:
            await platform.responses.save(org_id, answer.body(), request.items, request.previous)
        except BaseException:
            exchange.close()
            raise
        self._lines[answer.id] = Line()
        self._running[answer.id] = platform.go_on(self._work(org_id, exchange, answer))
        if chat.stream:
            return self._told(org_id, answer.id, headers=_left_out(request))
        return json_response(answer.body(), headers=_left_out(request))

    async def _work(self, org_id: str, exchange: Exchange | Loop, answer: ResponseObject) -> None:
        status, line, events = None, self._lines[answer.id], ResponseEvents(answer)
        try:
            async for choice, step in exchange:
                line.tell(events.encode(choice, step))
                if answer.failure is not None:
                    break
        except asyncio.CancelledError:
            status = "cancelled"
        except OpenGLMError as error:
            line.tell(events.fail(error))
        finally:
            self._running.pop(answer.id, None)
            exchange.close()
            last = events.end(status)
            await self._platform.responses.finish(org_id, answer.body())
            line.tell(last)
            line.end()
            asyncio.get_running_loop().call_later(LINE_S, self._lines.pop, answer.id, None)

    def _told(
        self,
        org_id: str,
        response_id: str,
        after: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> EventStream:
        """The events of a kept response: live while it is made here, else once it has ended."""
        start = 0 if after is None else after + 1
        line = self._lines.get(response_id)
        frames = line.read(start) if line else self._late(org_id, response_id, after)
        return retold(frames, start, self._platform.streams, headers)

    async def _late(self, org_id: str, response_id: str, after: int | None) -> AsyncIterator[bytes]:
        """Of one that another node makes, or that has ended."""
        while (kept := await self._platform.responses.get(org_id, response_id)).body["status"] in RUNNING:
            await asyncio.sleep(LOOK_AGAIN_S)
        yield responses.replay(kept.body, after)

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


def _id(request: Request) -> str:
    return str(request.path_params["id"])


def _left_out(request: ResponsesRequest) -> dict[str, str]:
    """Hosted tools that the request offers and nobody here can work, said in a header."""
    left_out = request.offer.left_out
    return {"x-openglm-ignored-tools": _ascii(", ".join(left_out))} if left_out else {}


def _ascii(text: str) -> str:
    return json.dumps(text).strip('"')[:500]
