"""The app of the platform: its routes, and what happens when it starts and stops."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute

from openglm.asgi.page import create_page
from openglm.errors import NotOffered, Unauthorized
from openglm.maas import door, knowledge, moderation
from openglm.maas.batches import messages as message_batches
from openglm.maas.batches import routes as batches
from openglm.maas.files import routes as files
from openglm.maas.finetuning import routes as finetuning
from openglm.maas.gateway import agents, anthropic, images, later, monitor, openai, rerank, responses, zhipu
from openglm.maas.gateway.call import Surface
from openglm.maas.gateway.endpoint import (
    Endpoint,
    RequestHandler,
    error_response,
    id_headers,
    json_response,
    wrapped,
)
from openglm.maas.gateway.surfaces import ANTHROPIC, BY_WORD, ENVELOPE, OPENAI, ZHIPU
from openglm.maas.ids import new_id
from openglm.maas.images import routes as image_links
from openglm.maas.operate.metrics import CONTENT_TYPE
from openglm.maas.search import routes as search
from openglm.maas.secrets import same
from openglm.maas.tasks import routes as tasks

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send
    from starlette.websockets import WebSocket

    from openglm.maas.platform import Platform

_ERRORS: tuple[tuple[str, Surface], ...] = (  # of paths that nothing answers to
    ("/api/llm-application", ENVELOPE),
    ("/api/anthropic", ANTHROPIC),
    ("/api/console", OPENAI),
    ("/api/chat", OPENAI),
    ("/api/", ZHIPU),
)


def create_app(platform: Platform, *, page: bool = False) -> Starlette:
    """The platform over HTTP; serve it with `openglm.asgi.run`. `page` adds the web page at /."""

    from openglm.chat import PATH, Chat, create_chat  # FastAPI takes its time to import
    from openglm.maas.console import app as console

    def wrap(word: str, handler: RequestHandler) -> RequestHandler:
        return wrapped(platform, BY_WORD[word], handler)

    async def metrics(request: Request) -> Response:
        given = (door.credential(request.scope) or "").removeprefix("Bearer ")
        token = platform.settings.metrics_token
        home = await door.at_home(platform, request.scope)
        if home is None and not (token and same(given, token)):
            raise Unauthorized(
                "metrics need the operator's token",
                reason="rejected",
                hint="set OPENGLM_METRICS_TOKEN, and let Prometheus send it as a bearer token",
            )
        return Response(platform.metrics.text(), media_type=CONTENT_TYPE)

    routes: list[BaseRoute] = [
        Route("/health", _health),
        Route("/metrics", wrapped(platform, OPENAI, metrics)),
    ]
    for part in (anthropic, openai, responses, zhipu, monitor, rerank, images, agents):
        routes += part.routes(platform)
    for room in (
        files,
        batches,
        message_batches,
        tasks,
        finetuning,
        search,
        moderation,
        knowledge,
        image_links,
    ):
        routes += room.routes(platform, wrap)
    routes += later.routes(platform)
    routes.append(WebSocketRoute("/{path:path}", _no_socket))
    routes.append(Mount(console.PATH, console.create_console(platform)))
    talk = Chat(platform)
    routes.append(Mount(PATH, create_chat(talk)))
    if page:
        routes.append(Mount("/", create_page()))
    app = _Gateway(routes=routes, exception_handlers={HTTPException: _unknown})

    async def start() -> None:
        await platform.start()
        await talk.start()

    async def stop() -> None:
        await talk.stop()
        await platform.stop()

    def refuse() -> None:
        platform.refuse()
        talk.refuse()

    app.state.started = start
    app.state.ending = talk.ending
    app.state.stopped = stop
    app.state.stop = refuse
    return app


class _Gateway(Starlette):
    """Starlette, with a straight way to the endpoints of models: they handle every error themselves, and the
    stack in between would cost a tenth of a request."""

    def __init__(self, routes: list[BaseRoute], **given: Any):
        super().__init__(routes=routes, **given)
        self._straight: dict[str, Endpoint] = {}
        for route in routes:
            if isinstance(route, Route) and isinstance(route.app, Endpoint) and not route.param_convertors:
                self._straight.setdefault(route.path, route.app)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST":
            endpoint = self._straight.get(scope["path"])
            if endpoint is not None:
                await endpoint(scope, receive, send)
                return
        await super().__call__(scope, receive, send)


async def _health(request: Request) -> Response:
    return json_response({"status": "ok"})


async def _unknown(request: Request, error: Exception) -> Response:
    """What the router finds nothing for, as an error of the path's dialect: a wrong method is as unknown."""
    return _nothing(request.scope, request.method)


async def _no_socket(socket: WebSocket) -> None:
    """No dialect has sockets here; whoever knocks is told so before the handshake."""
    await socket.send_denial_response(_nothing(socket.scope, "web socket"))


def _nothing(scope: Scope, method: str) -> Response:
    path, request_id = scope["path"], new_id("req")
    shared = ANTHROPIC if anthropic.is_spoken(scope) else OPENAI
    surface = next((surface for start, surface in _ERRORS if path.startswith(start)), shared)
    answer = error_response(surface, NotOffered(f"there is no {method} {path} here"), request_id)
    if surface is not ENVELOPE:
        answer.status_code = 404
    for name, value in id_headers(scope, request_id):
        answer.headers[name.decode()] = value.decode()
    return answer
