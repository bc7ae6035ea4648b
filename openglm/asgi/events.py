"""Server-sent events: each step goes out as it comes; a comment keeps quiet connections open."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from openglm.messages import Event, Failure

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from openglm.dialects.wire import AnswerStream

logger = logging.getLogger(__name__)

KEEP_ALIVE_S = 10.0
_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # nginx would hold events back
]


class Answer(Protocol):
    """What a server streams: steps of (choice, events), and a way to give up what is left."""

    def __aiter__(self) -> AsyncIterator[tuple[int, Sequence[Event]]]: ...

    def close(self) -> object: ...


class EventStream:
    """The response that streams an Answer. Headers go out at once, before the first token."""

    def __init__(
        self,
        answer: Answer,
        encoder: AnswerStream,
        *,
        keep_alive_s: float = KEEP_ALIVE_S,
        headers: Mapping[str, str] | None = None,
    ):
        self._headers = [
            *_HEADERS,
            *((name.encode("latin-1"), value.encode("latin-1")) for name, value in (headers or {}).items()),
        ]
        self._answer = answer
        self._encoder = encoder
        self._keep_alive_s = keep_alive_s
        self._sent_at = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        keeping = None
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self._headers})
            self._sent_at = asyncio.get_running_loop().time()
            keeping = asyncio.create_task(self._keep_alive(send))
            try:
                await self._stream(send)
            except Exception as error:
                logger.error("a stream failed", exc_info=error)
                await self._send(send, self._encoder.fail(error))
            await send({"type": "http.response.body", "body": self._encoder.end()})
        finally:
            self._answer.close()
            if keeping:
                keeping.cancel()

    async def _stream(self, send: Send) -> None:
        async for choice, events in self._answer:
            await self._send(send, self._encoder.encode(choice, events))
            if any(isinstance(event, Failure) for event in events):
                return

    async def _send(self, send: Send, frames: bytes) -> None:
        if frames:
            self._sent_at = asyncio.get_running_loop().time()
            await send({"type": "http.response.body", "body": frames, "more_body": True})

    async def _keep_alive(self, send: Send) -> None:
        now = asyncio.get_running_loop().time
        while True:
            await asyncio.sleep(max(0.0, self._sent_at + self._keep_alive_s - now()))
            if now() - self._sent_at >= self._keep_alive_s:
                self._sent_at = now()
                keep_alive = self._encoder.keep_alive
                await send({"type": "http.response.body", "body": keep_alive, "more_body": True})
