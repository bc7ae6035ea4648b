"""Events of one answer -> blocks that open, grow and close one after the other: reasoning, text, calls.

For the dialects whose answers are lists of typed blocks. At most one block is open; what comes for a second
call while the first one is unfinished waits until the first has ended. Whoever reads sees the same blocks
however the events were cut into steps.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from openglm.dialects.fields import is_object
from openglm.messages import Event, ReasoningDelta, TextDelta, ToolCallDelta

Kind = Literal["reasoning", "text", "call"]


@dataclass(slots=True)
class Block:
    """`call_id` and `name` belong to calls, whose text is that of their arguments."""

    index: int
    kind: Kind
    call_id: str | None = None
    name: str = ""
    pieces: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    @property
    def whole(self) -> bool:
        """Whether it can be used: a call whose arguments broke off cannot."""
        return self.kind != "call" or is_object(self.text or "{}")


@dataclass(frozen=True, slots=True)
class Opened:
    block: Block


@dataclass(frozen=True, slots=True)
class Grown:
    block: Block
    text: str


@dataclass(frozen=True, slots=True)
class Closed:
    block: Block


Change = Opened | Grown | Closed


class Blocks:
    """The blocks so far. `read` says what the events of one step changed; `close` ends the open block."""

    def __init__(self) -> None:
        self.all: list[Block] = []
        self._open: Block | None = None
        self._calls: dict[int, Block] = {}  # by the wire's number
        self._waiting: list[ToolCallDelta] = []
        self._changes: list[Change] = []

    @property
    def called(self) -> bool:
        """Whether a call came that can be used."""
        return any(block.kind == "call" and block.whole for block in self.all)

    def read(self, events: Iterable[Event]) -> list[Change]:
        for event in events:
            if isinstance(event, ReasoningDelta) and event.text:
                self._grow_or_open("reasoning", event.text)
            elif isinstance(event, TextDelta) and event.text:
                self._grow_or_open("text", event.text)
            elif isinstance(event, ToolCallDelta):
                self._read_call(event)
        return self._taken()

    def close(self) -> list[Change]:
        self._let_in()
        self._close()
        return self._taken()

    def _taken(self) -> list[Change]:
        changes, self._changes = self._changes, []
        return changes

    def _grow_or_open(self, kind: Kind, text: str) -> None:
        if self._open is None or self._open.kind != kind:
            self._let_in()
            self._close()
            self._begin(Block(len(self.all), kind))
        self._grow(text)

    def _read_call(self, piece: ToolCallDelta) -> None:
        known = self._calls.get(piece.index)
        # Some servers number every call 0; a new id with a new name is a new call.
        fresh = known is None or bool(piece.name and piece.id and piece.id != known.call_id)
        if not fresh and known is self._open:
            self._grow(piece.arguments)
        elif self._open and self._open.kind == "call" and (self._waiting or not is_object(self._open.text)):
            self._waiting.append(piece)
        elif fresh:
            self._close()
            self._calls[piece.index] = block = Block(len(self.all), "call", piece.id, piece.name or "")
            self._begin(block)
            self._grow(piece.arguments)
        # else: more of a call that has ended; its arguments were whole, or given back as text.

    def _let_in(self) -> None:
        """The calls that waited, in the order they began."""
        waiting, self._waiting = self._waiting, []
        order = list(dict.fromkeys(piece.index for piece in waiting))
        for index in order:
            self._close()
            for piece in waiting:
                if piece.index == index:
                    self._read_call(piece)

    def _begin(self, block: Block) -> None:
        self.all.append(block)
        self._open = block
        self._changes.append(Opened(block))

    def _grow(self, text: str) -> None:
        if not text:
            return
        block = self._open
        assert block is not None, "a block was opened before it grows"
        block.pieces.append(text)
        last = self._changes[-1] if self._changes else None
        if isinstance(last, Grown):
            self._changes[-1] = Grown(block, last.text + text)
        else:
            self._changes.append(Grown(block, text))

    def _close(self) -> None:
        if self._open:
            self._changes.append(Closed(self._open))
            self._open = None
