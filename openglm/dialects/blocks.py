"""Events of one answer -> blocks that open, grow and close one after the other: reasoning, text, calls.

For the dialects whose answers are lists of typed blocks. At most one block is open; what comes for a second
call while the first one is unfinished waits until the first has ended. A text of blanks alone, as some models
write between their reasoning and a call, opens no block. Whoever reads sees the same blocks however the
events were cut into steps. Tools of servers that the platform calls are blocks too: a list, and each call.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from openglm.dialects.fields import is_object
from openglm.messages import Event, ReasoningDelta, ServerCall, TextDelta, ToolCallDelta, ToolsListed

Kind = Literal["reasoning", "text", "call", "list", "server_call"]


@dataclass(slots=True, eq=False)
class Block:
    """`call_id` and `name` belong to calls, whose text is that of their arguments; `told` is the event behind
    a server's list or call, of a call the newest."""

    index: int
    kind: Kind
    call_id: str | None = None
    name: str = ""
    pieces: list[str] = field(default_factory=list)
    told: ToolsListed | ServerCall | None = None

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
        self._blank = ""  # came first of a block that would be of the kind
        self._blank_kind: Kind = "text"
        self._calls: dict[int, Block] = {}  # the newest of each number on the wire
        self._waiting: list[Block] = []  # calls that began while another one was unfinished
        self._changes: list[Change] = []

    @property
    def called(self) -> bool:
        """Whether a call came that can be used."""
        return any(block.kind == "call" and block.whole for block in self.all)

    def read(self, events: Iterable[Event]) -> list[Change]:
        for event in events:
            if isinstance(event, ReasoningDelta) and event.text:
                self._read_text("reasoning", event.text)
            elif isinstance(event, TextDelta) and event.text:
                self._read_text("text", event.text)
            elif isinstance(event, ToolCallDelta):
                self._read_call(event)
            elif isinstance(event, ToolsListed | ServerCall):
                self._read_server(event)
        return self._taken()

    def close(self) -> list[Change]:
        self._let_in()
        self._close()
        return self._taken()

    def _taken(self) -> list[Change]:
        changes, self._changes = self._changes, []
        return changes

    def _read_text(self, kind: Kind, text: str) -> None:
        if self._open is not None and self._open.kind == kind and not self._blank:
            self._grow(self._open, text)
            return
        if self._blank and self._blank_kind == kind:
            text = self._blank + text
        self._blank, self._blank_kind = (text, kind) if text.isspace() else ("", kind)
        if self._blank:
            return
        if self._open is None or self._open.kind != kind:
            self._let_in()
            self._close()
            self._begin(Block(-1, kind, pieces=[text]))
        else:
            self._grow(self._open, text)

    def _read_call(self, piece: ToolCallDelta) -> None:
        known = self._calls.get(piece.index)
        # Some servers number every call 0; a new id with a new name is a new call.
        if known is None or (piece.name and piece.id and piece.id != known.call_id):
            known = Block(
                -1, "call", piece.id, piece.name or "", [piece.arguments] if piece.arguments else []
            )
            self._calls[piece.index] = known
            self._blank = ""
            if self._waiting or (self._open and self._open.kind == "call" and not is_object(self._open.text)):
                self._waiting.append(known)
            else:
                self._close()
                self._begin(known)
        elif known is self._open:
            self._grow(known, piece.arguments)
        elif piece.arguments and known in self._waiting:
            known.pieces.append(piece.arguments)
        # else: more of a call that has ended; its arguments were whole, or given back as text.

    def _read_server(self, event: ToolsListed | ServerCall) -> None:
        if isinstance(event, ServerCall) and event.ended and self._open and self._open.call_id == event.id:
            self._open.told = event
            self._close()
            return
        self._let_in()
        self._close()
        self._blank = ""
        if isinstance(event, ServerCall):
            self._begin(Block(-1, "server_call", event.id, event.name, [event.arguments], event))
        else:
            self._begin(Block(-1, "list", told=event))
            self._close()

    def _let_in(self) -> None:
        """The calls that waited, in the order they began."""
        waiting, self._waiting = self._waiting, []
        for block in waiting:
            self._close()
            self._begin(block)

    def _begin(self, block: Block) -> None:
        block.index = len(self.all)
        self.all.append(block)
        self._open = block
        self._changes.append(Opened(block))
        if block.pieces:
            self._changes.append(Grown(block, block.text))

    def _grow(self, block: Block, text: str) -> None:
        if not text:
            return
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
