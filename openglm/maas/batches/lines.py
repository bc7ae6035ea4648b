"""Reading a batch's input: JSON lines of custom_id, method, url and body, checked before anything runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import msgspec

from openglm.errors import InvalidRequest
from openglm.maas.batches.batch import Dialect, Fault

ENDPOINTS = (
    "/v1/chat/completions",
    "/v4/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v4/embeddings",
)
MAX_ROWS = 50_000
MAX_EMBEDDING_ROWS = 10_000
MAX_LINE = 8 << 20  # bytes of one request; more is no batch row but an upload
MAX_CUSTOM_ID = 256
SHORTEST_CUSTOM_ID = {"openai": 1, "zhipu": 6, "anthropic": 1}


class _Body(msgspec.Struct):
    """What we look at of a row's body; the gateway reads the rest when the row runs."""

    stream: bool | None = None


class _Line(msgspec.Struct):
    custom_id: str
    url: str
    body: msgspec.Raw
    method: str = "POST"


_decode_line = msgspec.json.Decoder(_Line).decode
_decode_body = msgspec.json.Decoder(_Body).decode


@dataclass(frozen=True, slots=True)
class Line:
    """A line that can run, and where it stands in the file."""

    number: int  # from 1, as editors count
    custom_id: str
    line_at: int
    line_bytes: int


class LineReader:
    """Takes the file chunk by chunk, so that no file is held whole; remembers custom ids and counts rows."""

    def __init__(self, endpoint: str, dialect: Dialect):
        self._endpoint = endpoint
        self._shortest = SHORTEST_CUSTOM_ID[dialect]
        self._most = MAX_EMBEDDING_ROWS if endpoint.endswith("embeddings") else MAX_ROWS
        self._seen: set[str] = set()
        self._rest = b""
        self._at = 0
        self._number = 0
        self.rows = 0

    def read(self, chunk: bytes) -> list[Line | Fault]:
        """What the lines that this chunk ends are."""
        *whole, self._rest = (self._rest + chunk).split(b"\n")
        if len(self._rest) > MAX_LINE:
            raise TooMuch(
                Fault("line_too_long", f"a line must be at most {MAX_LINE} bytes", self._number + 1)
            )
        return [found for text in whole if (found := self._one(text, len(text) + 1))]

    def end(self) -> list[Line | Fault]:
        """The last line, if no line end follows it."""
        text, self._rest = self._rest, b""
        return [found] if text and (found := self._one(text, len(text))) else []

    def _one(self, text: bytes, step: int) -> Line | Fault | None:
        at, self._at = self._at, self._at + step
        self._number += 1
        if self._number == 1:
            text = text.removeprefix(b"\xef\xbb\xbf")  # editors of Windows write it
        if not text.strip():
            return None
        self.rows += 1
        if self.rows > self._most:
            raise TooMuch(
                Fault("too_many_rows", f"a batch on {self._endpoint} takes at most {self._most} rows")
            )
        try:
            line = parse_line(text)
        except InvalidRequest as error:
            return Fault(error.code, error.message, self._number, error.param)
        if fault := self._misfit(line):
            return fault
        self._seen.add(line.custom_id)
        return Line(self._number, line.custom_id, at, step)

    def _misfit(self, line: _Line) -> Fault | None:
        if not self._shortest <= len(line.custom_id) <= MAX_CUSTOM_ID:
            return Fault(
                "invalid_custom_id",
                f"custom_id must have {self._shortest} to {MAX_CUSTOM_ID} characters,"
                f" got {len(line.custom_id)}",
                self._number,
                "custom_id",
            )
        if not line.custom_id.isprintable():
            return Fault("invalid_custom_id", "custom_id has control characters", self._number, "custom_id")
        if line.custom_id in self._seen:
            return Fault(
                "duplicate_custom_id",
                f"custom_id {line.custom_id[:80]!r} stands on a line before this one too",
                self._number,
                "custom_id",
            )
        if line.method != "POST":
            return Fault(
                "invalid_method", f"method must be POST, got {line.method[:20]!r}", self._number, "method"
            )
        if same_endpoint(line.url) != same_endpoint(self._endpoint):
            return Fault(
                "mismatched_url",
                f"url must be the batch's endpoint {self._endpoint}, got {line.url[:80]!r}",
                self._number,
                "url",
            )
        return None


class TooMuch(Exception):
    """The file breaks a limit that makes reading on pointless."""

    def __init__(self, fault: Fault):
        super().__init__(fault.message)
        self.fault = fault


def parse_line(text: bytes) -> _Line:
    """One line, or an InvalidRequest that says what is wrong with it."""
    try:
        line = _decode_line(text)
        if _decode_body(line.body).stream:
            raise InvalidRequest("a batch row cannot stream", param="body.stream", code="invalid_value")
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"the line does not fit: {error}", code="invalid_request") from None
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise InvalidRequest(f"the line is not valid JSON: {error}", code="invalid_json_line") from None
    return line


def same_endpoint(url: str) -> str:
    """/v1/… and /v4/… name the same endpoint; clients write either."""
    return "/v1/" + url[4:] if url.startswith("/v4/") else url


def spoken(endpoint: str, dialect: Dialect) -> str:
    """The endpoint as the dialect spells it: rows are read and answered in the words of the batch's place."""
    version = "/v4/" if dialect == "zhipu" else "/v1/"
    return version + endpoint[4:]


def body_of(line: Line, content: bytes, start: int) -> bytes:
    """The body of a line that was read before, cut out of a part of the file that begins at `start`."""
    text = content[line.line_at - start : line.line_at - start + line.line_bytes]
    return bytes(parse_line(text.removeprefix(b"\xef\xbb\xbf")).body)


async def read_lines(reader: LineReader, chunks: AsyncIterator[bytes]) -> AsyncIterator[list[Line | Fault]]:
    """The lines of a file, some at a time, parsed beside the event loop."""
    import asyncio

    async for chunk in chunks:
        yield await asyncio.to_thread(reader.read, chunk)
    yield reader.end()
