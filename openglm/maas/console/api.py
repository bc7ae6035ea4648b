"""What every API for browsers is made of: errors in one shape, request ids, bounds, an OpenAPI document.

The console is one, the chat another; each is a FastAPI app that the gateway mounts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from openglm import __version__
from openglm.asgi.body import ClientGone, read_body
from openglm.errors import InvalidRequest, NotFound, OpenGLMError
from openglm.maas.console import reference
from openglm.maas.gateway.endpoint import error_response, id_headers
from openglm.maas.gateway.surfaces import OPENAI
from openglm.maas.ids import new_id

if TYPE_CHECKING:
    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from openglm.maas.platform import Platform

MAX_BODY = 1 << 20  # bytes
Bound = Callable[[str], int | None]  # a path -> the most bytes of its body; None: its route reads it itself


class Reason(BaseModel):
    message: str
    type: str
    param: str | None
    code: str


class Failure(BaseModel):
    """Every error of this API."""

    error: Reason


_FAILURES: dict[int | str, dict[str, Any]] = {
    status: {"model": Failure, "description": text}
    for status, text in (
        (400, "Something that was sent is wrong"),
        (401, "Nobody is signed in"),
        (403, "Not allowed"),
        (404, "Not found"),
        (409, "The state does not allow it"),
        (413, "Too large"),
        (422, "A field is missing or of the wrong kind"),
        (429, "Too often, or not enough money"),
        (502, "Another server failed"),
        (503, "The platform is stopping"),
    )
}


def create_api(
    platform: Platform,
    *,
    path: str,
    title: str,
    description: str,
    tags: dict[str, str],
    routers: Sequence[APIRouter],
    bound: Bound = lambda path: MAX_BODY,
    state: dict[str, Any] | None = None,
) -> ASGIApp:
    """Mount it at `path`. `tags` are the parts of its document; `state` is for its routes, in the app."""
    app = FastAPI(
        title=title,
        version=__version__,
        description=description,
        docs_url=None,
        redoc_url=None,
        openapi_tags=[{"name": name, "description": text} for name, text in tags.items()],
        responses=_FAILURES,
        servers=[{"url": path}],
        root_path_in_servers=False,
    )
    app.state.platform = platform
    for name, value in (state or {}).items():
        setattr(app.state, name, value)
    for router in routers:
        app.include_router(router)
    app.add_api_route("/docs", _docs, include_in_schema=False, response_class=HTMLResponse)
    app.add_exception_handler(OpenGLMError, _explained)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _unknown)
    return _Guarded(app, platform, bound)


async def _docs(request: Request) -> HTMLResponse:
    page = HTMLResponse(reference.page(request.app.openapi()))
    page.headers["content-security-policy"] = reference.POLICY
    return page


async def _explained(request: Request, error: Exception) -> Response:
    return error_response(OPENAI, error, "")


async def _invalid(request: Request, error: Exception) -> Response:
    """The first thing that FastAPI found wrong, in our words."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"][1:]) or str(first["loc"][0])
    text = str(first["msg"]).removeprefix("Value error, ")
    answer = error_response(OPENAI, InvalidRequest(f"{where}: {text}", param=where), "")
    answer.status_code = 422
    return answer


async def _unknown(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    reason = NotFound(f"there is no {request.method} {request.url.path} here")
    if error.status_code not in (404, 405):
        answer = error_response(OPENAI, InvalidRequest(str(error.detail)), "")
    else:
        answer = error_response(OPENAI, reason, "")
    answer.status_code = error.status_code
    for name, value in (error.headers or {}).items():
        answer.headers[name] = value
    return answer


class _Guarded:
    """A request id, how long the answer took to begin, a bound on the body, no U+0000 in an address, an error
    of ours for the unforeseen."""

    def __init__(self, app: ASGIApp, platform: Platform, bound: Bound):
        self._app = app
        self._platform = platform
        self._bound = bound

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id, came = new_id("req", self._platform.clock()), time.perf_counter()
        added = [
            *id_headers(scope, request_id),
            (b"cache-control", b"no-store"),
            (b"x-content-type-options", b"nosniff"),
        ]
        started = False

        async def sending(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                took = b"app;dur=%.1f" % (1000 * (time.perf_counter() - came))  # ms
                timing = (b"server-timing", took)
                message = {**message, "headers": [*message["headers"], *added, timing]}
            await send(message)

        try:
            self._platform.check_open()
            if "\x00" in scope["path"] or b"%00" in scope.get("query_string", b""):
                raise InvalidRequest("an address must not hold the character U+0000")
            most = self._bound(scope["path"])
            if most is not None:
                receive = _again(await read_body(scope, receive, most), receive)
            await self._app(scope, receive, sending)
        except ClientGone:
            pass
        except Exception as error:
            if started:
                raise
            await error_response(OPENAI, error, request_id)(scope, receive, sending)


def _again(body: bytes, receive: Receive) -> Receive:
    """The body that was read, once more; then what the connection says."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
