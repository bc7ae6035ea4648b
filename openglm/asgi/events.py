"""Server-sent events: each step goes out as it comes; comments keep quiet connections open.

A stream ends in order whatever happens: refused after its headers, stopped with the server, or left alone by
a reader that takes nothing for minutes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from openglm.asgi.body import ClientGone
from openglm.errors import OpenGLMError
from openglm.messages import Event, Failure

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from openglm.dialects.wire import AnswerStream

logger = logging.getLogger(__name__)

KEEP_ALIVE_S = 10.0
STALL_S = 120.0  # a reader that takes nothing for so long has gone, though its connection stands
COMMENT = b": keep-alive\n\n"
_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # nginx would hold events back
    (b"x-openglm-counts-all", b"1"),  # usage in a chunk is that of all choices so far; vLLM counts each alone
]


class Answer(Protocol):
    """What a server streams: steps of (choice, events), and a way to give up what is left."""

    def __aiter__(self) -> AsyncIterator[tuple[int, Sequence[Event]]]: ...

    def close(self) -> object: ...


class Streams:
    """The streams of a server that go on now, so that it can end them in order before it stops."""

    def __init__(self) -> None:
        self._running: set[EventStream] = set()

    def add(self, stream: EventStream) -> None:
        self._running.add(stream)

    def discard(self, stream: EventStream) -> None:
        self._running.discard(stream)

    def end(self, error: Exception) -> None:
        """Let each end with this error, said in its dialect."""
        for stream in self._running:
            stream.interrupt(error)


async def streamed(
    opening: Coroutine[Any, Any, Answer],
    encoder: AnswerStream,
    *,
    keep_alive_s: float = KEEP_ALIVE_S,
    among: Streams | None = None,
    headers: Mapping[str, str] | None = None,
) -> EventStream:
    """The stream of an answer that has yet to begin.

    What refuses it at once is raised, and has its own status. One that takes long (a queue, a long prompt)
    gets its headers and comments meanwhile, and is refused, if it comes to that, inside the stream.
    """
    begun = asyncio.ensure_future(opening)
    try:
        await asyncio.wait((begun,), timeout=keep_alive_s)
    except asyncio.CancelledError:
        await _let_go(begun)
        raise
    answer = begun.result() if begun.done() else begun
    return EventStream(answer, encoder, keep_alive_s=keep_alive_s, among=among, headers=headers)


async def _let_go(opening: asyncio.Future[Answer]) -> None:
    """Of an answer that has perhaps begun: nothing of it is left behind."""
    opening.cancel()
    with contextlib.suppress(asyncio.CancelledError, Exception):
        (await opening).close()


class EventStream:
    """The response that streams an Answer, or one that has yet to begin. Headers go out at once."""

    def __init__(
        self,
        answer: Answer | asyncio.Future[Answer],
        encoder: AnswerStream,
        *,
        keep_alive_s: float = KEEP_ALIVE_S,
        stall_s: float = STALL_S,
        among: Streams | None = None,
        headers: Mapping[str, str] | None = None,
    ):
        self._headers = [
            *_HEADERS,
            *((name.encode("latin-1"), value.encode("latin-1")) for name, value in (headers or {}).items()),
        ]
        self._answer = answer
        self._encoder = encoder
        self._keep_alive_s = keep_alive_s
        self._stall_s = stall_s
        self._among = among
        self._working: asyncio.Task[Any] | None = None
        self._interrupted: Exception | None = None
        self._begun = False
        self._ending = False
        self._sent_at = 0.0
        self._sending = False  # waiting for the reader to take what was sent

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._working = asyncio.current_task()
        keeping = None
        if self._among is not None:
            self._among.add(self)
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self._headers})
            self._sent_at = asyncio.get_running_loop().time()
            keeping = asyncio.create_task(self._keep_alive(send))
            last = await self._told(send)
            self._ending = True
            try:
                await self._send(send, last + self._encoder.end(), more=False)
            except asyncio.CancelledError as cancelled:
                raise self._interruption(cancelled) from None
        finally:
            if self._among is not None:
                self._among.discard(self)
            if keeping:
                keeping.cancel()
            if isinstance(self._answer, asyncio.Future):
                await _let_go(self._answer)
            else:
                self._answer.close()

    def interrupt(self, error: Exception) -> None:
        """End the stream with this error from where it stands; a ClientGone ends it without a word."""
        if self._ending and not isinstance(error, ClientGone):
            return  # it is saying its last words
        if self._interrupted is None and self._working is not None:
            self._interrupted = error
            self._working.cancel()

    async def _told(self, send: Send) -> bytes:
        """Stream the answer; what there is to say of a failure that broke it off."""
        try:
            await self._stream(send)
        except asyncio.CancelledError as cancelled:
            return self._encoder.fail(self._interruption(cancelled))
        except Exception as error:
            if not isinstance(error, OpenGLMError):
                logger.error("a stream failed", exc_info=error)
            return self._encoder.fail(error)
        return b""

    def _interruption(self, cancelled: asyncio.CancelledError) -> Exception:
        """What `interrupt` was told. Raises a cancellation that is somebody else's, and a ClientGone."""
        error, self._interrupted = self._interrupted, None
        if error is None or (self._working and self._working.uncancel()):
            raise cancelled
        if isinstance(error, ClientGone):
            raise error from None
        return error

    async def _stream(self, send: Send) -> None:
        if isinstance(self._answer, asyncio.Future):
            # Shielded: who is cancelled here still lets go of what began.
            self._answer = await asyncio.shield(self._answer)
        async for choice, events in self._answer:
            await self._send(send, self._encoder.encode(choice, events))
            if any(isinstance(event, Failure) for event in events):
                return

    async def _send(self, send: Send, frames: bytes, *, more: bool = True) -> None:
        if frames or not more:
            self._begun = self._sending = True
            self._sent_at = asyncio.get_running_loop().time()
            await send({"type": "http.response.body", "body": frames, "more_body": more})
            self._sending = False

    async def _keep_alive(self, send: Send) -> None:
        """A comment now and then; and an end for readers that do not read."""
        now = asyncio.get_running_loop().time
        while True:
            await asyncio.sleep(max(0.0, self._sent_at + self._keep_alive_s - now()))
            quiet = now() - self._sent_at
            if self._sending:
                if quiet >= self._stall_s:
                    self.interrupt(ClientGone())
                    return
                await asyncio.sleep(self._keep_alive_s)
            elif quiet >= self._keep_alive_s:
                self._sent_at = now()
                # Some clients read events before the first one as that one.
                comment = self._encoder.keep_alive if self._begun else COMMENT
                try:
                    async with asyncio.timeout(self._stall_s):
                        await send({"type": "http.response.body", "body": comment, "more_body": True})
                except TimeoutError:
                    self.interrupt(ClientGone())
                    return
