"""Numbered events of one conversation, or of one account's list, for listeners who come and go.

The last ones are kept, so that whoever was away hears exactly what they missed. A feed lives in this process;
its epoch tells numbers of another one apart.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Hashable

import msgspec

KEPT_BYTES = 4 << 20  # of events; then the older half goes
LINGER_S = 60.0  # that a feed without listeners stays, for those who come back


class Feed:
    def __init__(self) -> None:
        self.epoch = secrets.token_hex(4)
        self.number = 0  # of the last event
        self.listeners = 0
        self.ended = False
        self._kept: list[bytes] = []
        self._bytes = 0
        self._news = asyncio.Event()

    @property
    def at(self) -> str:
        """The id of the last event."""
        return f"{self.epoch}.{self.number}"

    def tell(self, event: str, data: object) -> None:
        self.number += 1
        frame = encode(event, data, self.at)
        self._kept.append(frame)
        self._bytes += len(frame)
        if self._bytes > KEPT_BYTES and len(self._kept) > 1:
            gone = len(self._kept) // 2
            self._bytes -= sum(map(len, self._kept[:gone]))
            del self._kept[:gone]
        self._wake()

    def end(self) -> None:
        """Let all listeners go: the server stops, or what they listened to is gone."""
        self.ended = True
        self._wake()

    def holds(self, last: str | None) -> int | None:
        """The number behind an event's id, if everything after it is still here."""
        epoch, _, number = (last or "").partition(".")
        if epoch != self.epoch or not (number.isascii() and number.isdigit() and len(number) < 19):
            return None
        return int(number) if self._oldest - 1 <= int(number) <= self.number else None

    def after(self, number: int) -> bytes | None:
        """All events after that one; None where some of them are forgotten."""
        start = number - (self._oldest - 1)
        return b"".join(self._kept[start:]) if start >= 0 else None

    async def changed(self, number: int) -> None:
        """Wait for an event after that one, or the end."""
        while self.number <= number and not self.ended:
            await self._news.wait()

    @property
    def _oldest(self) -> int:
        return self.number - len(self._kept) + 1

    def _wake(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()


class Feeds:
    """Feeds by what they tell of. One that nobody hears and that tells nothing is let go of after a while."""

    def __init__(self) -> None:
        self._feeds: dict[Hashable, Feed] = {}
        self._going: dict[Hashable, asyncio.TimerHandle] = {}
        self.busy: Callable[[Hashable], bool] = lambda key: False  # whether something will still be told

    def of(self, key: Hashable) -> Feed:
        """The feed of that name, made where there is none."""
        feed = self._feeds.get(key)
        if feed is None:
            feed = self._feeds[key] = Feed()
        self._look_later(key)
        return feed

    def tell(self, key: Hashable, event: str, data: object) -> None:
        """To those who listen, or did a moment ago."""
        if feed := self._feeds.get(key):
            feed.tell(event, data)

    def listened(self) -> list[Hashable]:
        return [key for key, feed in self._feeds.items() if feed.listeners]

    def drop(self, key: Hashable) -> None:
        """What it told of is gone."""
        if feed := self._feeds.pop(key, None):
            feed.end()
        if handle := self._going.pop(key, None):
            handle.cancel()

    def end(self) -> None:
        for key in list(self._feeds):
            self.drop(key)

    def _look_later(self, key: Hashable) -> None:
        if handle := self._going.pop(key, None):
            handle.cancel()
        self._going[key] = asyncio.get_running_loop().call_later(LINGER_S, self._look, key)

    def _look(self, key: Hashable) -> None:
        if self._feeds[key].listeners or self.busy(key):
            self._look_later(key)
        else:
            self.drop(key)


def encode(event: str, data: object, number: str | None = None) -> bytes:
    """One event as server-sent events spell it. JSON has no line ends of its own, so it is one line."""
    told = b"id: %b\n" % number.encode() if number else b""
    return b"%bevent: %b\ndata: %b\n\n" % (told, event.encode(), msgspec.json.encode(data))
