"""Events of a response that is made in the background, or was: told to whoever asks, from any one on.

They are bytes already, so there is nothing to encode; all else (comments, readers that do not read, a server
that stops) is as with every stream.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.responses import Response

from openglm.asgi.body import ClientGone, until_gone
from openglm.asgi.events import EventStream, Streams
from openglm.dialects import openai
from openglm.dialects.openai.frames import KEEP_ALIVE

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send


def retold(
    frames: AsyncIterator[bytes], start: int, among: Streams, headers: Mapping[str, str] | None = None
) -> EventStream:
    """A stream of frames, the first of which is event number `start`."""
    telling = _Telling(frames, start)
    return EventStream(telling, telling, among=among, headers=headers)


class _Telling:
    """Answer and encoder in one: a step is a frame."""

    keep_alive = KEEP_ALIVE

    def __init__(self, frames: AsyncIterator[bytes], start: int):
        self._frames = frames
        self._number = start

    async def __aiter__(self) -> AsyncIterator[tuple[int, Sequence[Any]]]:
        async for frame in self._frames:
            self._number += frame.count(b"\n\n")
            yield 0, (frame,)

    def close(self) -> None: ...

    def encode(self, choice: int, events: Sequence[Any]) -> bytes:
        return b"".join(events)

    def fail(self, error: Exception) -> bytes:
        told = openai.encode_error(error).body["error"]
        data = {"type": "error", "sequence_number": self._number, **told}
        return b"event: error\ndata: %b\n\n" % msgspec.json.encode(data)

    def end(self) -> bytes:
        return b""


class Watched(Response):
    """A stream as the response of a route that nobody watches for the client's going."""

    def __init__(self, stream: EventStream):
        super().__init__()
        self._stream = stream
        del self.headers["content-length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *self.headers.raw]}
            await send(message)

        with suppress(ClientGone):
            await until_gone(receive, self._stream(scope, receive, with_headers))
