"""The routes of files, in OpenAI's and in Zhipu's place. Handlers parse, call and format."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from openglm.asgi.body import decoded, read_body
from openglm.dialects.fields import parse_object
from openglm.errors import InvalidRequest
from openglm.maas.files.files import MAX_BYTES, MAX_PAGE
from openglm.maas.files.multipart import Upload, read_upload

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    from openglm.maas.identity import Caller

Handler = Callable[["Request"], Awaitable["Response"]]
Wrap = Callable[[str, Handler], Handler]
MAX_DETAILS = 1 << 20  # bytes of a JSON body that names addresses


def routes(platform: Any, wrap: Wrap) -> list[Route]:
    """`wrap(dialect, handler)` gives a handler whose errors come out in the dialect's shape."""
    from starlette.responses import JSONResponse, StreamingResponse
    from starlette.routing import Route

    async def upload(request: Request) -> Response:
        caller = await platform.caller(request, endpoint="files")
        async with read_upload(request, MAX_BYTES) as sent:
            return JSONResponse(await keep(caller, sent))

    async def keep(caller: Caller, sent: Upload) -> dict[str, Any]:
        purpose = sent.fields.get("purpose", "")
        return (await platform.files.upload(caller, sent.filename, purpose, sent.chunks())).wire()

    async def upload_or_teach(request: Request) -> Response:
        """Zhipu's place takes documents of knowledge bases too: themselves, or their addresses as JSON."""
        from openglm.maas.knowledge.routes import add_urls, take_documents

        caller = await platform.caller(request, endpoint="files")
        if request.headers.get("content-type", "").startswith("application/json"):
            caller.may_call("knowledge")
            fields = await decoded(parse_object, await read_body(request.scope, request.receive, MAX_DETAILS))
            return JSONResponse(await add_urls(platform, caller, fields))
        async with read_upload(request, MAX_BYTES) as sent:
            base_id = sent.fields.get("knowledge_id")
            if sent.fields.get("purpose") != "retrieval" or not base_id:
                return JSONResponse(await keep(caller, sent))
            caller.may_call("knowledge")
            return JSONResponse(await take_documents(platform, caller, base_id, [sent]))

    async def list_files_or_documents(request: Request) -> Response:
        from openglm.maas.knowledge.routes import document_page

        if not request.query_params.get("knowledge_id"):
            return await list_files(request)
        caller = await platform.caller(request, endpoint="knowledge")
        return JSONResponse(await document_page(platform, request, caller))

    async def list_files(request: Request) -> Response:
        caller = await platform.caller(request, endpoint="files")
        query = request.query_params
        page = await platform.files.list(
            caller,
            purpose=query.get("purpose"),
            limit=whole(query.get("limit"), MAX_PAGE, "limit"),
            after=query.get("after"),
            order=query.get("order") or "desc",
        )
        return JSONResponse(page.wire())

    async def one(request: Request) -> Response:
        caller = await platform.caller(request, endpoint="files")
        return JSONResponse((await platform.files.get(caller, request.path_params["id"])).wire())

    async def content(request: Request) -> Response:
        caller = await platform.caller(request, endpoint="files")
        file, chunks = await platform.files.content(caller, request.path_params["id"])
        headers = {
            "content-disposition": disposition(file.name),
            "content-length": str(file.bytes),
            "x-content-type-options": "nosniff",
        }
        return StreamingResponse(chunks, media_type="application/octet-stream", headers=headers)

    async def delete(request: Request) -> Response:
        caller = await platform.caller(request, endpoint="files")
        await platform.files.delete(caller, request.path_params["id"])
        return JSONResponse({"id": request.path_params["id"], "object": "file", "deleted": True})

    places = (
        ("/v1/files", "openai", upload, list_files),
        ("/api/paas/v4/files", "zhipu", upload_or_teach, list_files_or_documents),
    )
    return [
        Route(base + path, wrap(dialect, handler), methods=[method])
        for base, dialect, uploading, listing in places
        for path, method, handler in (
            ("", "POST", uploading),
            ("", "GET", listing),
            ("/{id}", "GET", one),
            ("/{id}", "DELETE", delete),
            ("/{id}/content", "GET", content),
        )
    ]


def disposition(name: str) -> str:
    """A header that offers the content as a download under its name, whatever characters that has."""
    plain = "".join(char if " " <= char <= "~" and char not in '"\\%' else "_" for char in name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


def whole(text: str | None, default: int, param: str) -> int:
    """A number of the query string."""
    if not text:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise InvalidRequest(f"{param} must be a whole number, got {text[:20]!r}", param=param)
    return int(text)
