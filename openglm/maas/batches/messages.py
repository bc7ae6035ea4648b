"""Batches of messages in Anthropic's place: all requests in one body, all results in one stream.

Below, they are batches as others: the requests become a file that goes with its batch, the results are read
from the two files that a batch leaves.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from openglm.asgi.body import read_body
from openglm.dialects import anthropic
from openglm.dialects.fields import Fields, parse_object
from openglm.errors import Conflict, InvalidRequest, NotFound
from openglm.maas import door
from openglm.maas.batches.batch import Batch, Dialect
from openglm.maas.batches.lines import MAX_LINE, MAX_ROWS
from openglm.maas.files.files import MAX_BYTES_OF
from openglm.maas.files.routes import Wrap, whole
from openglm.maas.ids import new_id
from openglm.maas.quotas.quota import QuotaReached

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    from openglm.maas.identity.caller import Caller

ENDPOINT = "/v1/messages"
PLACES = ("/api/anthropic/v1/messages/batches", "/v1/messages/batches")
OURS: tuple[Dialect, ...] = ("anthropic",)
PAGE, LARGEST_PAGE = 20, 1000  # batches, as documented
MAX_CUSTOM_ID = 64  # characters, as documented
MAX_VALUES = 3_000_000  # of all requests of a batch together
_UNRUN = {"batch_cancelled": "canceled", "batch_expired": "expired"}
_REST = {"cancelled": "canceled", "expired": "expired", "failed": "errored"}  # what became of those not run


def routes(platform: Any, wrap: Wrap) -> list[Route]:
    """`wrap(dialect, handler)` gives a handler whose errors come out in the dialect's shape."""
    from starlette.responses import JSONResponse, StreamingResponse
    from starlette.routing import Route

    async def create(request: Request) -> Response:
        caller = await _caller(request)
        body = await read_body(request.scope, request.receive, MAX_BYTES_OF["batch"])
        content = await asyncio.to_thread(lambda: lines_of(parse_object(body, MAX_VALUES)))
        file_id = new_id("file", platform.clock())
        await platform.files.write(caller, file_id, "messages.jsonl", "batch", _once(content))
        try:
            batch = await platform.batches.create(
                caller,
                input_file_id=file_id,
                endpoint=ENDPOINT,
                auto_delete_input_file=True,
                dialect="anthropic",
                total=content.count(b"\n"),
            )
        except QuotaReached:  # the client never learns of the file, so nobody else would delete it
            await platform.files.delete(caller, file_id)
            raise
        return JSONResponse(shown(batch, request))

    async def list_batches(request: Request) -> Response:
        caller, query = await _caller(request), request.query_params
        if query.get("before_id") and query.get("after_id"):
            raise InvalidRequest("before_id and after_id exclude each other", param="before_id")
        page = await platform.batches.list(
            caller,
            limit=whole(query.get("limit"), PAGE, "limit"),
            after=query.get("after_id"),
            before=query.get("before_id"),
            dialects=OURS,
            largest=LARGEST_PAGE,
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
        caller, batch_id = await _caller(request), request.path_params["id"]
        return JSONResponse(shown(await platform.batches.cancel(caller, batch_id, OURS), request))

    async def delete(request: Request) -> Response:
        caller, batch_id = await _caller(request), request.path_params["id"]
        await platform.batches.delete(caller, batch_id, OURS)
        return JSONResponse({"id": batch_id, "type": "message_batch_deleted"})

    async def results(request: Request) -> Response:
        batch = await _batch(request)
        if not batch.over:
            raise Conflict("the results are there once the batch has ended", hint="ask for its status")
        parts = await _opened(platform.files, batch)
        return StreamingResponse(result_lines(parts), media_type="application/x-jsonl")

    async def _caller(request: Request) -> Caller:
        caller: Caller = await platform.caller(request, endpoint="batches")
        return caller

    async def _batch(request: Request) -> Batch:
        caller, batch_id = await _caller(request), request.path_params["id"]
        batch: Batch = await platform.batches.get(caller, batch_id, OURS)
        return batch

    def shown(batch: Batch, request: Request) -> dict[str, Any]:
        place = next(place for place in PLACES if request.url.path.startswith(place))
        return wire(batch, door.our_address(platform, request.scope) + place)

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


def wire(batch: Batch, place: str) -> dict[str, Any]:
    """A batch as Anthropic shows it at an address. It has ended once nothing of it is left to do."""
    counts = dict.fromkeys(("processing", "canceled", "expired"), 0)
    counts |= {"succeeded": batch.completed, "errored": batch.failed}
    counts[_REST.get(batch.state, "processing")] += batch.total - batch.completed - batch.failed
    stopping = batch.state in ("cancelling", "cancelled")
    status = "ended" if batch.over else "canceling" if stopping else "in_progress"
    return {
        "id": batch.id,
        "type": "message_batch",
        "processing_status": status,
        "request_counts": counts,
        "created_at": _moment(batch.created_at),
        "expires_at": _moment(batch.expires_at),
        "ended_at": _moment(batch.ended_at) if batch.over else None,
        "cancel_initiated_at": _moment(batch.cancelling_at),
        "archived_at": None,
        "results_url": f"{place}/{batch.id}/results" if batch.over else None,
    }


async def _opened(files: Any, batch: Batch) -> list[AsyncIterator[bytes]]:
    """What a batch left: the answers, then the errors. Users see these files too and may delete them."""
    left = ((batch.has_output, batch.output_file_id), (batch.has_errors, batch.error_file_id))
    try:
        return [(await files.content(batch, file_id))[1] for there, file_id in left if there]
    except NotFound:
        raise NotFound(f"the results of batch {batch.id} were deleted") from None


async def result_lines(parts: Sequence[AsyncIterator[bytes]]) -> AsyncIterator[bytes]:
    """A line for each request: what succeeded first, each part in the order of the requests."""
    for chunks in parts:
        rest = b""
        async for chunk in chunks:
            *whole_lines, rest = (rest + chunk).split(b"\n")
            yield b"".join(_result(line) for line in whole_lines if line)


def _result(line: bytes) -> bytes:
    row = msgspec.json.decode(line)
    return msgspec.json.encode({"custom_id": row["custom_id"], "result": _fate(row)}) + b"\n"


def _fate(row: Mapping[str, Any]) -> dict[str, Any]:
    response, error = row["response"], row["error"]
    if error is None:
        body = response["body"]
        if response["status_code"] < 400:
            return {"type": "succeeded", "message": body}
        if body.get("type") == "error":
            return {"type": "errored", "error": body}
        error = body["error"]  # of a row whose answer was lost
    elif error["code"] in _UNRUN:
        return {"type": _UNRUN[error["code"]]}
    return {"type": "errored", "error": anthropic.error_body("api_error", error["message"], None)}


def _moment(moment_ms: int | None) -> str | None:
    if moment_ms is None:
        return None
    return datetime.fromtimestamp(moment_ms / 1000, UTC).isoformat().replace("+00:00", "Z")


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content
