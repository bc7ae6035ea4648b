"""The app of the platform: its routes, and what happens when it starts and stops."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from openglm.errors import NotOffered, OpenGLMError
from openglm.maas.gateway import openai
from openglm.maas.gateway.call import Surface, credential
from openglm.maas.gateway.endpoint import Endpoint, Handler, error_response, json_response
from openglm.maas.ids import new_id

if TYPE_CHECKING:
    from starlette.requests import Request

    from openglm.maas.platform import Platform


def create_app(platform: Platform) -> Starlette:
    """The platform over HTTP; serve it with `openglm.asgi.run`."""
    handlers = openai.OpenAIHandlers(platform)
    posts: list[tuple[str, Surface, str, Handler]] = [
        ("/v1/chat/completions", openai.SURFACE, "chat", handlers.chat),
        ("/v1/completions", openai.SURFACE, "completions", handlers.completion),
        ("/v1/embeddings", openai.SURFACE, "embeddings", handlers.embedding),
    ]
    routes: list[BaseRoute] = [
        Route(path, Endpoint(platform, surface, word, handler), methods=["POST"])
        for path, surface, word, handler in posts
    ]
    routes += [Route("/v1/models", _models(platform)), Route("/health", _health)]
    app = Starlette(routes=routes, exception_handlers={HTTPException: _unknown})
    app.state.started = platform.start
    app.state.stopped = platform.stop
    app.state.stop = platform.refuse
    return app


def _models(platform: Platform) -> Callable[[Request], Coroutine[Any, Any, Response]]:
    async def models(request: Request) -> Response:
        try:
            client = request.client
            caller = await platform.keys.authenticate(
                credential(request.scope), ip=client.host if client else None
            )
        except OpenGLMError as error:
            return error_response(openai.SURFACE, error, new_id("req", platform.clock()))
        names = [name for name in platform.router.models if caller.sees(name)]
        data = [{"id": name, "object": "model", "created": 0, "owned_by": "openglm"} for name in names]
        return json_response({"object": "list", "data": data})

    return models


async def _health(request: Request) -> Response:
    return json_response({"status": "ok"})


async def _unknown(request: Request, error: Exception) -> Response:
    """404 and 405 of the router, as an error of a dialect."""
    assert isinstance(error, HTTPException)
    reason = NotOffered(f"there is no {request.method} {request.url.path} here")
    answer = error_response(openai.SURFACE, reason, "")
    answer.status_code = error.status_code
    return answer
