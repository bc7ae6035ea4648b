"""What every dialect gives to whoever sends answers: errors, whole answers, and streams of bytes.

A server holds one `AnswerStream` or `AnswerObject` per request and knows nothing of the dialect behind it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from openglm.messages import Event, Failure


@dataclass(frozen=True, slots=True)
class WireError:
    """An error as it goes out."""

    status: int
    body: dict[str, Any]
    headers: dict[str, str] = field(default_factory=dict)


class AnswerStream(Protocol):
    """Encodes one streamed answer as server-sent events."""

    keep_alive: bytes  # goes out when nothing else did for a while

    def encode(self, choice: int, events: Sequence[Event]) -> bytes:
        """The frames of one step; empty if the step shows nothing. A Failure ends the stream's content."""
        ...

    def fail(self, error: Exception) -> bytes:
        """The frames that tell of an error after the headers have gone out."""
        ...

    def end(self) -> bytes:
        """The closing frames, after the last step or after `fail`."""
        ...


class AnswerObject(Protocol):
    """Collects one answer and encodes it whole. `failure` is set once the answer broke off."""

    failure: Failure | None

    def add(self, choice: int, events: Iterable[Event]) -> None: ...

    def body(self) -> dict[str, Any]: ...
