"""Listening: events as they come, after those that were missed, for as long as somebody hears.

Whoever comes anew, or back after too much was forgotten, is told the state first. Streams end in order when
the server stops; browsers then come again by themselves, with the id of the last event they heard.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any

from starlette.responses import Response

from openglm.asgi.events import EventStream
from openglm.chat.feed import encode
from openglm.chat.generation import failure_of
from openglm.maas.gateway import Watched

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from openglm.chat.room import Chat

KEEP_ALIVE_S = 15.0
Tell = Callable[[], Awaitable[Any]]


class Listening(Response):
    """The response: a stream of one feed, from the event after `last` on."""

    media_type = "text/event-stream"

    def __init__(self, chat: Chat, key: Hashable, last: str | None, state: Tell):
        super().__init__()
        heard = _Hearing(chat, key, last, state)
        stream = EventStream(heard, heard, keep_alive_s=KEEP_ALIVE_S, among=chat.platform.streams)
        self._watched = Watched(stream)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._watched(scope, receive, send)


class _Hearing:
    """Answer and encoder in one: a step is some frames."""

    keep_alive = b": keep-alive\n\n"

    def __init__(self, chat: Chat, key: Hashable, last: str | None, state: Tell):
        self._feed = chat.feeds.of(key)
        self._feed.listeners += 1
        self._last = last
        self._state = state
        self._closed = False

    async def __aiter__(self) -> AsyncIterator[tuple[int, Sequence[Any]]]:
        feed = self._feed
        number = feed.holds(self._last)
        while True:
            frames = feed.after(number) if number is not None else None
            if frames is None:
                state = await self._state()
                number = feed.number  # nothing is told between the state and this line
                frames = encode("state", state, feed.at)
            elif number is not None:
                number = feed.number
            if frames:
                yield 0, (frames,)
            elif feed.ended:
                return
            assert number is not None, "it is known once the state was told"
            await feed.changed(number)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._feed.listeners -= 1

    def encode(self, choice: int, events: Sequence[Any]) -> bytes:
        return b"".join(events)

    def fail(self, error: Exception) -> bytes:
        return encode("bye", failure_of(error))

    def end(self) -> bytes:
        return b""
