"""The routes of batches, in OpenAI's and in Zhipu's place. Handlers parse, call and format."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from openglm.asgi.body import read_body
from openglm.dialects.fields import parse_object
from openglm.maas.files.routes import Handler, Wrap, whole

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    from openglm.maas.batches.batch import Dialect

PLACES: tuple[tuple[str, Dialect], ...] = (("/v1/batches", "openai"), ("/api/paas/v4/batches", "zhipu"))
MAX_BODY = 256 << 10


def routes(platform: Any, wrap: Wrap) -> list[Route]:
    """`wrap(dialect, handler)` gives a handler whose errors come out in the dialect's shape."""
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    def create(dialect: Dialect) -> Handler:
        async def handler(request: Request) -> Response:
            caller = await platform.caller(request, endpoint="batches")
            fields = parse_object(await read_body(request.scope, request.receive, MAX_BODY))
            metadata = fields.object("metadata")
            batch = await platform.batches.create(
                caller,
                input_file_id=fields.needed_text("input_file_id"),
                endpoint=fields.needed_text("endpoint"),
                completion_window=fields.text("completion_window"),
                metadata=metadata.data if metadata else None,
                auto_delete_input_file=bool(fields.flag("auto_delete_input_file")),
                dialect=dialect,
            )
            return JSONResponse(batch.wire())

        return handler

    async def list_batches(request: Request) -> Response:
        caller = await platform.caller(request, endpoint="batches")
        limit = whole(request.query_params.get("limit"), 20, "limit")
        page = await platform.batches.list(caller, limit=limit, after=request.query_params.get("after"))
        return JSONResponse(page.wire())

    async def one(request: Request) -> Response:
        caller = await platform.caller(request, endpoint="batches")
        return JSONResponse((await platform.batches.get(caller, request.path_params["id"])).wire())

    async def cancel(request: Request) -> Response:
        caller = await platform.caller(request, endpoint="batches")
        return JSONResponse((await platform.batches.cancel(caller, request.path_params["id"])).wire())

    return [
        Route(base + path, wrap(dialect, handler), methods=[method])
        for base, dialect in PLACES
        for path, method, handler in (
            ("", "POST", create(dialect)),
            ("", "GET", list_batches),
            ("/{id}", "GET", one),
            ("/{id}/cancel", "POST", cancel),
        )
    ]
