"""From HTTP to a handler and back: body limit, request id, errors, and clients that leave.

Pure ASGI. While a handler works and while its response goes out, one task watches the connection; when the
client is gone the handler is cancelled, which closes its Answer and frees the engine's blocks. Servers do not
raise on sending to a closed connection, so nobody may wait for that.
"""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING

import msgspec
from starlette.responses import Response

from openglm.asgi.body import ClientGone, read_body, until_gone
from openglm.dialects.openai import encode_error
from openglm.dialects.wire import WireError
from openglm.errors import OpenGLMError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from openglm.serve.metrics import Metrics

logger = logging.getLogger(__name__)

MAX_BODY = 8 * 2**20  # bytes; prompts of a million tokens fit
_REQUEST_ID = re.compile(rb"[\w.:-]{1,128}")
Handler = Callable[[bytes], Awaitable["ASGIApp"]]
REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")  # of the request in hand


class Endpoint:
    """One POST route: reads the body, calls the handler, sends the response that it returns."""

    def __init__(self, handler: Handler, metrics: Metrics, *, max_body: int = MAX_BODY):
        self._handler = handler
        self._metrics = metrics
        self._max_body = max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = _request_id(scope)
        REQUEST_ID.set(request_id.decode())
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message["headers"], (b"x-request-id", request_id)]}
            await send(message)

        try:
            body = await read_body(scope, receive, self._max_body)
            await until_gone(receive, self._answer(body, scope, receive, send_with_id))
        except ClientGone:
            self._metrics.gone.inc()
        except OpenGLMError as error:  # from reading the body
            await error_response(error)(scope, receive, send_with_id)
        finally:
            self._metrics.requests.labels(scope["path"], str(status or "gone")).inc()

    async def _answer(self, body: bytes, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            response = await self._handler(body)
        except Exception as error:
            response = error_response(error)
        await response(scope, receive, send)


def error_response(error: Exception) -> Response:
    """Any failure in the dialect's shape. What we did not foresee is logged, never shown."""
    if not isinstance(error, OpenGLMError):
        logger.error("a request failed", exc_info=error)
    return wire_error_response(encode_error(error))


def wire_error_response(error: WireError) -> Response:
    # A body that was not read to its end leaves the connection unusable.
    headers = {**error.headers, "connection": "close"} if error.status == 413 else error.headers
    return json_response(error.body, status=error.status, headers=headers)


def json_response(body: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(body), status, headers, media_type="application/json")


def _request_id(scope: Scope) -> bytes:
    """The client's own x-request-id where it sent a sane one, else a new one."""
    given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
    return given if _REQUEST_ID.fullmatch(given) else f"req-{secrets.token_hex(12)}".encode()
