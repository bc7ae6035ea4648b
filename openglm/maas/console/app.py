"""The console as an ASGI app: its routes, its limits, its errors, its OpenAPI document and page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from openglm import __version__
from openglm.asgi.body import ClientGone, read_body
from openglm.errors import InvalidRequest, NotFound, OpenGLMError
from openglm.maas.console import (
    audit,
    finetuning,
    keys,
    limits,
    money,
    orgs,
    people,
    quotas,
    reference,
    requests,
    serving,
    session,
    usage,
)
from openglm.maas.gateway.endpoint import error_response, id_headers
from openglm.maas.gateway.surfaces import OPENAI
from openglm.maas.ids import new_id

if TYPE_CHECKING:
    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from openglm.maas.platform import Platform

PATH = "/api/console"
MAX_BODY = 1 << 20  # bytes
_TAGS = [
    {"name": name, "description": text}
    for name, text in (
        ("session", "Sign up, sign in, sign out, and what one may change about oneself."),
        ("organisations", "Organisations, members, invitations, projects."),
        ("keys", "API keys: the secret is shown once, when the key is made."),
        ("money", "Wallet, budgets, plans, invoices. Amounts are exact decimals of the currency, as text."),
        ("usage", "What was used and what it cost, in sums and down to single requests."),
        ("fine-tuning", "Jobs that train private models, with their curves; and those models."),
        ("audit", "Who did what."),
        ("people", "For operators: all users and organisations."),
        ("serving", "For operators: models, channels, servers."),
        ("limits", "For operators: prices, limits, quotas, redeem codes."),
    )
]


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


def create_console(platform: Platform) -> ASGIApp:
    """Mount it at `PATH`."""
    app = FastAPI(
        title="OpenGLM console",
        version=__version__,
        description="Sign in first; what changes something needs the header x-csrf-token of GET /session.",
        docs_url=None,
        redoc_url=None,
        openapi_tags=_TAGS,
        responses=_FAILURES,
        servers=[{"url": PATH}],
        root_path_in_servers=False,
    )
    app.state.platform = platform
    for part in (
        session,
        orgs,
        keys,
        money,
        usage,
        requests,
        finetuning,
        audit,
        people,
        serving,
        limits,
        quotas,
    ):
        app.include_router(part.router)
    app.add_api_route("/docs", _docs, include_in_schema=False, response_class=HTMLResponse)
    app.add_exception_handler(OpenGLMError, _explained)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _unknown)
    return _Guarded(app, platform)


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
    """A request id, a bound on the body, no U+0000 in an address, an error of ours for the unforeseen."""

    def __init__(self, app: ASGIApp, platform: Platform):
        self._app = app
        self._platform = platform

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = new_id("req", self._platform.clock())
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
                message = {**message, "headers": [*message["headers"], *added]}
            await send(message)

        try:
            self._platform.check_open()
            if "\x00" in scope["path"] or b"%00" in scope.get("query_string", b""):
                raise InvalidRequest("an address must not hold the character U+0000")
            body = await read_body(scope, receive, MAX_BODY)
            await self._app(scope, _again(body, receive), sending)
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
