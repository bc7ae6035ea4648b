"""The routes of asynchronous answers, in Zhipu's places."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from openglm.asgi.body import decoded, read_body
from openglm.dialects import zhipu
from openglm.maas import door
from openglm.maas.files.routes import Wrap
from openglm.maas.tasks.tasks import IMAGES

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

MAX_BODY = 64 << 20


def routes(platform: Any, wrap: Wrap) -> list[Route]:
    """`wrap(dialect, handler)` gives a handler whose errors come out in the dialect's shape."""
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    async def submit(request: Request) -> Response:
        caller = await platform.caller(request, endpoint="chat")
        body = await read_body(request.scope, request.receive, MAX_BODY)
        return JSONResponse((await platform.tasks.submit(caller, body)).wire())

    async def submit_images(request: Request) -> Response:
        caller = await platform.caller(request, endpoint="images")
        body = await read_body(request.scope, request.receive, MAX_BODY)
        await decoded(zhipu.decode_image, body)  # what is wrong with it is said now
        return JSONResponse((await platform.tasks.submit(caller, body, IMAGES)).wire())

    async def result(request: Request) -> Response:
        caller = await platform.caller(request)  # a task says itself who may see it
        wire = (await platform.tasks.get(caller, request.path_params["id"])).wire()
        for image in wire.get("image_result", ()):
            if "url" in image:
                image["url"] = door.our_address(platform, request.scope) + image["url"]
        return JSONResponse(wire)

    return [
        Route("/api/paas/v4/async/images/generations", wrap("zhipu", submit_images), methods=["POST"]),
        Route("/api/paas/v4/async/chat/completions", wrap("zhipu", submit), methods=["POST"]),
        Route("/api/paas/v4/async-result/{id}", wrap("zhipu", result), methods=["GET"]),
    ]
