"""From HTTP to a handler and back, for API routes: key, body, request id, errors in the dialect's shape.

Pure ASGI. The key is judged before the body is read: strangers cannot make us hold megabytes.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import msgspec
from starlette.responses import Response

from openglm.asgi.body import ClientGone, read_body, until_gone
from openglm.errors import OpenGLMError
from openglm.maas import door
from openglm.maas.gateway.call import Call, Surface
from openglm.maas.ids import new_id

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from openglm.maas.operate.request_log import Recording
    from openglm.maas.platform import Platform

logger = logging.getLogger(__name__)

MAX_BODY = 64 * 2**20  # bytes: a prompt of 10 MB with some images fits
_REQUEST_ID = re.compile(r"[\w.:-]{1,128}")
Handler = Callable[[Call], Awaitable["ASGIApp"]]
RequestHandler = Callable[["Request"], Awaitable[Response]]


class Endpoint:
    """One POST route with a JSON body."""

    def __init__(self, platform: Platform, surface: Surface, scope_word: str, handler: Handler):
        self._platform = platform
        self._surface = surface
        self._scope_word = scope_word
        self._handler = handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        platform = self._platform
        request_id = new_id("req", platform.clock())
        sending = _with_request_id(scope, send, request_id)
        try:
            platform.check_open()
            caller = await door.admit(platform, scope, self._scope_word)
            body = await read_body(scope, receive, MAX_BODY)
            call = Call(scope, body, caller, self._surface, request_id, platform.clock())
            recording = platform.request_log.record(call)
            if recording is None:
                await until_gone(receive, self._answer(call, receive, sending))
                return
            try:
                await until_gone(receive, self._answer(call, receive, recording.through(sending), recording))
            finally:
                recording.close()
        except ClientGone:
            logger.debug("request %s: the client left", request_id)
        except Exception as error:
            await error_response(self._surface, error, request_id)(scope, receive, sending)

    async def _answer(
        self, call: Call, receive: Receive, send: Send, recording: Recording | None = None
    ) -> None:
        try:
            response = await self._handler(call)
        except Exception as error:
            refusal = error_response(self._surface, error, call.request_id)
            if recording is None:
                self._platform.request_log.refused(call, refusal.status_code, error)
            else:
                recording.failure = error
            response = refusal
        await response(call.scope, receive, send)


def wrapped(platform: Platform, surface: Surface, handler: RequestHandler) -> RequestHandler:
    """A handler of Starlette's kind whose errors come out in the surface's shape, with our request id."""

    async def handle(request: Request) -> Response:
        request_id = new_id("req", platform.clock())
        try:
            platform.check_open()
            response = await handler(request)
        except ClientGone:
            response = Response(status_code=499)  # nobody reads it
        except Exception as error:
            response = error_response(surface, error, request_id)
        for name, value in id_headers(request.scope, request_id):
            response.headers[name.decode()] = value.decode()
        return response

    return handle


def error_response(surface: Surface, error: Exception, request_id: str) -> Response:
    """Any failure in the surface's shape. What we did not foresee is logged, never shown."""
    if not isinstance(error, OpenGLMError):
        logger.error("request %s failed", request_id, exc_info=error)
    wire = surface.encode_error(error, request_id)
    headers = {**wire.headers, "connection": "close"} if wire.status == 413 else wire.headers
    return json_response(wire.body, wire.status, headers)


def json_response(body: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(body), status, headers, media_type="application/json")


def _with_request_id(scope: Scope, send: Send, request_id: str) -> Send:
    added = id_headers(scope, request_id)

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message["headers"], *added]}
        await send(message)

    return sending


def id_headers(scope: Scope, request_id: str) -> list[tuple[bytes, bytes]]:
    """Every answer names our id; the client's own x-request-id comes back beside it."""
    added = [(b"x-request-id", request_id.encode()), (b"request-id", request_id.encode())]
    given = door.header(scope, "x-request-id")
    if given and _REQUEST_ID.fullmatch(given):
        added.append((b"x-client-request-id", given.encode()))
    return added
