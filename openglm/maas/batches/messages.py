"""Batches of messages in Anthropic's place: all requests in one body, all results in one stream.

Below, they are batches as others: the requests become a file that goes with its batch, the results are read
from the two files that a batch leaves.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from openglm.asgi.body import read_body
from openglm.dialects import anthropic
from openglm.errors import Conflict, InvalidRequest, NotFound
from openglm.maas import door
from openglm.maas.batches.batch import Batch, Dialect
from openglm.maas.batches.batches import check_id
from openglm.maas.batches.lines import MAX_LINE, MAX_ROWS
from openglm.maas.files.files import MAX_BYTES_OF
from openglm.maas.files.routes import Wrap, whole

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
_EXPECTED = {
    "requests": f"a list of 1 to {MAX_ROWS} objects",
    "custom_id": "a string",
    "params": "an object",
    "stream": "a boolean",
}
_NOTHING = msgspec.Raw()


class _Params(msgspec.Struct, gc=False):
    """What we look at of a request; the gateway reads the rest when its row runs."""

    stream: bool | None = None


_read_params = msgspec.json.Decoder(_Params).decode
_UNRUN = {"batch_cancelled": "canceled", "batch_expired": "expired"}
_REST = {"cancelled": "canceled", "expired": "expired", "failed": "errored"}  # what became of those not run


def routes(platform: Any, wrap: Wrap) -> list[Route]:
    """`wrap(dialect, handler)` gives a handler whose errors come out in the dialect's shape."""
    from starlette.responses import JSONResponse, StreamingResponse
    from starlette.routing import Route

    async def create(request: Request) -> Response:
        caller = await _caller(request)
        await platform.batches.look_for_room(caller)
        body = await read_body(request.scope, request.receive, MAX_BYTES_OF["batch"])
        content = await asyncio.to_thread(lines_of, body)
        batch = await platform.batches.create_with(
            caller, content, name="messages.jsonl", endpoint=ENDPOINT, dialect="anthropic"
        )
        return JSONResponse(shown(batch, request))

    async def list_batches(request: Request) -> Response:
        caller, query = await _caller(request), request.query_params
        if query.get("before_id") and query.get("after_id"):
            raise InvalidRequest("before_id and after_id exclude each other", param="before_id")
        for name in ("before_id", "after_id"):
            check_id(name, query.get(name))
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


def lines_of(body: bytes) -> bytes:
    """The requests of a body as the lines of a batch's file. What is wrong with one is told at once.

    Each is looked at as the reader meets it, and its params are carried as they came: nothing is built of
    them, however many values they hold, and between two requests other threads have their turn.
    """
    lines: dict[str, bytes] = {}  # by custom_id

    class Request(msgspec.Struct, gc=False):
        custom_id: str = ""
        params: msgspec.Raw = _NOTHING

        def __post_init__(self) -> None:
            if len(lines) == MAX_ROWS:
                raise _wrong("requests", _EXPECTED["requests"], "more")
            lines[self.custom_id] = _line(f"requests[{len(lines)}]", self.custom_id, self.params, lines)

    try:
        msgspec.json.decode(body, type=msgspec.defstruct("Requests", [("requests", list[Request], [])]))
    except msgspec.ValidationError as error:
        raise _misfit(error, len(lines)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise InvalidRequest(f"the body is not valid JSON: {error}", code="invalid_json") from None
    if not lines:
        raise _wrong("requests", _EXPECTED["requests"], "nothing")
    return b"".join(lines.values())


def _line(at: str, custom_id: str, params: msgspec.Raw, seen: Mapping[str, bytes]) -> bytes:
    if not 1 <= len(custom_id) <= MAX_CUSTOM_ID or not custom_id.isprintable():
        expected = f"1 to {MAX_CUSTOM_ID} printable characters"
        raise _wrong(f"{at}.custom_id", expected, f"{len(custom_id)} characters")
    if custom_id in seen:
        raise _wrong(f"{at}.custom_id", "another one than those of the requests before", ascii(custom_id))
    if not params:
        raise _wrong(f"{at}.params", _EXPECTED["params"], "nothing")
    try:
        stream = _read_params(params).stream
    except msgspec.ValidationError as error:
        raise _misfit(error, 0, f"{at}.params") from None
    if stream:
        raise _wrong(f"{at}.params.stream", "false or left out", "true", hint="a batch cannot stream")
    # Line ends are white space to JSON, and the end of a request to its file.
    carried = msgspec.Raw(bytes(params).replace(b"\n", b" ").replace(b"\r", b" "))
    line = {"custom_id": custom_id, "method": "POST", "url": ENDPOINT, "body": carried}
    written = msgspec.json.encode(line) + b"\n"
    if len(written) > MAX_LINE:
        raise _wrong(f"{at}.params", f"an object of at most {MAX_LINE} bytes", f"{len(written)} bytes")
    return written


def _misfit(error: msgspec.ValidationError, number: int, inside: str = "") -> InvalidRequest:
    """What the reader says of a field of a wrong kind, in our words; it does not count in lists."""
    told = str(error)
    place = re.search(r" - at `\$\.?(.+)`$", told)
    got = re.search(r"got `(.+?)`", told)
    parts = (inside, place[1].replace("[...]", f"[{number}]") if place else "")
    path = ".".join(part for part in parts if part)
    expected = _EXPECTED.get(path.rpartition(".")[2], "an object")
    return _wrong(path or "the body", expected, got[1] if got else "another kind")


def _wrong(path: str, expected: str, got: str, *, hint: str | None = None) -> InvalidRequest:
    code = "missing_field" if got == "nothing" else "invalid_value"
    return InvalidRequest(f"{path} must be {expected}, got {got}", param=path, code=code, hint=hint)


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
