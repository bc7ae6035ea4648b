"""Batches of messages in Anthropic's place: all requests in one body, all results in one stream.

Below, they are batches as others: the requests become a file that goes with its batch, the results are read
from the two files that a batch leaves.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from openglm.asgi.body import read_body
from openglm.dialects.fields import Fields, parse_object
from openglm.errors import Conflict, InvalidRequest
from openglm.maas import door
from openglm.maas.batches.batch import Batch
from openglm.maas.batches.batches import MAX_PAGE
from openglm.maas.batches.lines import MAX_LINE, MAX_ROWS
from openglm.maas.files.files import MAX_BYTES_OF
from openglm.maas.files.routes import Wrap, whole
from openglm.maas.ids import new_id

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    from openglm.maas.identity.caller import Caller

ENDPOINT = "/v1/messages"
PLACES = ("/api/anthropic/v1/messages/batches", "/v1/messages/batches")
PAGE = 20
MAX_CUSTOM_ID = 64  # characters, as documented
_UNRUN = {"batch_cancelled": "canceled", "batch_expired": "expired"}


def routes(platform: Any, wrap: Wrap) -> list[Route]:
    """`wrap(dialect, handler)` gives a handler whose errors come out in the dialect's shape."""
    from starlette.responses import JSONResponse, StreamingResponse
    from starlette.routing import Route

    async def create(request: Request) -> Response:
        caller = await _caller(request)
        fields = parse_object(await read_body(request.scope, request.receive, MAX_BYTES_OF["batch"]))
        content = lines_of(fields)
        file_id = new_id("file", platform.clock())
        await platform.files.write(caller, file_id, "messages.jsonl", "batch", _once(content))
        batch = await platform.batches.create(
            caller,
            input_file_id=file_id,
            endpoint=ENDPOINT,
            auto_delete_input_file=True,
            dialect="anthropic",
            total=content.count(b"\n"),
        )
        return JSONResponse(shown(batch, request))

    async def list_batches(request: Request) -> Response:
        caller, query = await _caller(request), request.query_params
        if query.get("before_id"):
            raise InvalidRequest("before_id is not offered here", param="before_id", hint="use after_id")
        limit = whole(query.get("limit"), PAGE, "limit")
        page = await platform.batches.list(
            caller, limit=min(limit, MAX_PAGE), after=query.get("after_id"), dialects=("anthropic",)
        )
        ids = [batch.id for batch in page.batches]
        return JSONResponse(
            {
                "data": [shown(batch, request) for batch in page.batches],
                "has_more": page.has_more,
                "first_id": ids[0] if ids else None,
                "last_id": ids[-1] if ids else None,
            }
        )

    async def one(request: Request) -> Response:
        return JSONResponse(shown(await _batch(request), request))

    async def cancel(request: Request) -> Response:
        caller = await _caller(request)
        return JSONResponse(shown(await platform.batches.cancel(caller, request.path_params["id"]), request))

    async def delete(request: Request) -> Response:
        batch = await _batch(request)
        await platform.batches.delete(await _caller(request), batch.id)
        return JSONResponse({"id": batch.id, "type": "message_batch_deleted"})

    async def results(request: Request) -> Response:
        batch = await _batch(request)
        if not batch.ended:
            raise Conflict("the results are there once the batch has ended", hint="ask for its status")
        found = results_of(platform.files, batch)
        return StreamingResponse(found, media_type="application/x-jsonl")

    async def _caller(request: Request) -> Caller:
        caller: Caller = await platform.caller(request, endpoint="batches")
        return caller

    async def _batch(request: Request) -> Batch:
        batch: Batch = await platform.batches.get(await _caller(request), request.path_params["id"])
        return batch

    def shown(batch: Batch, request: Request) -> dict[str, Any]:
        return wire(batch, door.our_address(platform, request.scope))

    return [
        Route(base + path, wrap("anthropic", handler), methods=[method])
        for base in PLACES
        for path, method, handler in (
            ("", "POST", create),
            ("", "GET", list_batches),
            ("/{id}", "GET", one),
            ("/{id}", "DELETE", delete),
            ("/{id}/cancel", "POST", cancel),
            ("/{id}/results", "GET", results),
        )
    ]


def lines_of(fields: Fields) -> bytes:
    """The requests of a body as the lines of a batch's file. What is wrong with one is told at once."""
    seen: set[str] = set()
    lines = []
    for request in fields.objects("requests", MAX_ROWS):
        custom_id = request.needed_text("custom_id")
        if len(custom_id) > MAX_CUSTOM_ID or not custom_id.isprintable():
            raise request.wrong("custom_id", f"at most {MAX_CUSTOM_ID} printable characters")
        if custom_id in seen:
            raise request.wrong("custom_id", "another one than those of the requests before")
        seen.add(custom_id)
        params = request.needed_object("params")
        if params.flag("stream"):
            raise params.wrong("stream", "false or left out: a batch cannot stream")
        line = {"custom_id": custom_id, "method": "POST", "url": ENDPOINT, "body": params.data}
        lines.append(msgspec.json.encode(line) + b"\n")
        if len(lines[-1]) > MAX_LINE:
            raise request.wrong("params", f"an object of at most {MAX_LINE} bytes")
    if not lines:
        raise fields.wrong("requests", f"a list of 1 to {MAX_ROWS} objects")
    return b"".join(lines)


def wire(batch: Batch, address: str) -> dict[str, Any]:
    """A batch as Anthropic shows it. It has ended once nothing of it is left to do."""
    ended = batch.ended and batch.cleaned
    fate = {"cancelled": "canceled", "expired": "expired"}.get(batch.state, "processing")
    counts = dict.fromkeys(("processing", "canceled", "expired"), 0)
    counts |= {"succeeded": batch.completed, "errored": batch.failed}
    counts[fate] = batch.total - batch.completed - batch.failed
    stopping = batch.state in ("cancelling", "cancelled")
    status = "ended" if ended else "canceling" if stopping else "in_progress"
    return {
        "id": batch.id,
        "type": "message_batch",
        "processing_status": status,
        "request_counts": counts,
        "created_at": _moment(batch.created_at),
        "expires_at": _moment(batch.expires_at),
        "ended_at": _moment(batch.ended_at) if ended else None,
        "cancel_initiated_at": _moment(batch.cancelling_at),
        "archived_at": None,
        "results_url": f"{address}{PLACES[0]}/{batch.id}/results" if ended else None,
    }


async def results_of(files: Any, batch: Batch) -> AsyncIterator[bytes]:
    """A line for each request: what succeeded first, each part in the order of the requests."""
    for there, file_id in ((batch.has_output, batch.output_file_id), (batch.has_errors, batch.error_file_id)):
        if not there:
            continue
        _, chunks = await files.content(batch, file_id)
        rest = b""
        async for chunk in chunks:
            *whole_lines, rest = (rest + chunk).split(b"\n")
            yield b"".join(_result(line) for line in whole_lines if line)


def _result(line: bytes) -> bytes:
    row = msgspec.json.decode(line)
    return msgspec.json.encode({"custom_id": row["custom_id"], "result": _fate(row)}) + b"\n"


def _fate(row: Mapping[str, Any]) -> dict[str, Any]:
    response, error = row["response"], row["error"]
    if error is not None:
        return {"type": _UNRUN.get(error["code"], "errored")}
    if response["status_code"] < 400:
        return {"type": "succeeded", "message": response["body"]}
    body = response["body"]
    if body.get("type") != "error":  # of a row whose answer was lost
        told = {"type": "api_error", "message": body["error"]["message"]}
        body = {"type": "error", "error": told, "request_id": response["request_id"]}
    return {"type": "errored", "error": body}


def _moment(moment_ms: int | None) -> str | None:
    if moment_ms is None:
        return None
    return datetime.fromtimestamp(moment_ms / 1000, UTC).isoformat().replace("+00:00", "Z")


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content
