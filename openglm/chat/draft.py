"""An answer while it is written: what came so far, what listeners have not heard yet, what is not saved yet.

Deltas are gathered for a moment before they are told, so that an answer of a thousand tokens a second costs
forty events. Offsets of parts count UTF-16 units, as strings of the page do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

from openglm.chat.shapes import Message
from openglm.messages import (
    Event,
    Failure,
    Finish,
    FinishReason,
    ReasoningDelta,
    ServerCall,
    TextDelta,
)

Kind = Literal["text", "reasoning"]
Piece = tuple[Kind, str]


class Draft:
    def __init__(self, message: Message):
        self._message = message  # its beginning
        self._said: dict[Kind, list[str]] = {"text": [message.text], "reasoning": [message.reasoning]}
        self.parts: list[dict[str, Any]] = list(message.parts)
        self.version = message.version
        self.finish: FinishReason | None = None
        self.failure: Failure | None = None
        self._length = units(message.text)  # of the text, in UTF-16 units
        self._untold: dict[Kind, list[str]] = {"text": [], "reasoning": []}
        self._unsaved: list[Piece] = []
        self.parts_saved = True
        self.pieces = 0  # that are saved

    @property
    def id(self) -> str:
        return self._message.id

    def text(self, kind: Kind = "text") -> str:
        """All of it; joined once, however often it is asked for."""
        self._said[kind] = ["".join(self._said[kind])]
        return self._said[kind][0]

    def message(self, siblings: Sequence[str] | None = None) -> Message:
        """As it stands now."""
        return replace(
            self._message,
            text=self.text("text"),
            reasoning=self.text("reasoning"),
            parts=list(self.parts),
            siblings=list(siblings or self._message.siblings),
            version=self.version,
        )

    def read(self, events: Sequence[Event]) -> bool:
        """Take a step in; whether a part was replaced, which deltas cannot tell."""
        replaced = False
        for event in events:
            match event:
                case TextDelta():
                    self._add("text", event.text)
                case ReasoningDelta():
                    self._add("reasoning", event.text)
                case ServerCall():
                    replaced |= self._call(event)
                case Finish():
                    self.finish = event.reason
                case Failure():
                    self.failure = event
                case _:
                    pass
        return replaced

    def add_part(self, part: dict[str, Any]) -> None:
        """Something that happened where the text stands now."""
        self.parts.append({**part, "at": self._length})
        self.parts_saved = False
        self.version += 1

    def untold(self) -> dict[str, Any] | None:
        """The delta that listeners have not heard yet."""
        told: dict[str, str] = {kind: "".join(pieces) for kind, pieces in self._untold.items() if pieces}
        if not told:
            return None
        for pieces in self._untold.values():
            pieces.clear()
        self.version += 1
        return {"id": self.id, "version": self.version, **told}

    def unsaved(self) -> list[Piece]:
        """The pieces that the database has not got yet, neighbours of one kind as one."""
        taken, self._unsaved = self._unsaved, []
        joined: list[tuple[Kind, list[str]]] = []
        for kind, text in taken:
            if joined and joined[-1][0] == kind:
                joined[-1][1].append(text)
            else:
                joined.append((kind, [text]))
        return [(kind, "".join(texts)) for kind, texts in joined]

    def give_back(self, pieces: Sequence[Piece]) -> None:
        """They were not saved after all."""
        self._unsaved[:0] = pieces

    def _add(self, kind: Kind, text: str) -> None:
        text = kept(text)
        if not text:
            return
        self._said[kind].append(text)
        self._untold[kind].append(text)
        self._unsaved.append((kind, text))
        if kind == "text":
            self._length += units(text)

    def _call(self, call: ServerCall) -> bool:
        part = {
            "type": "tool_call",
            "id": call.id,
            "server": call.server,
            "name": call.name,
            "arguments": kept(call.arguments),
            "output": None if call.output is None else kept(call.output),
            "error": None if call.error is None else kept(call.error),
            "state": "running" if not call.ended else "failed" if call.error is not None else "done",
        }
        for place, known in enumerate(self.parts):
            if known.get("id") == call.id:
                self.parts[place] = {**known, **part}
                self.parts_saved = False
                self.version += 1
                return True
        self.add_part(part)
        return True


def kept(text: str) -> str:
    """What every database keeps of a model's text: U+0000 and half characters are shown as what they are, a
    fault."""
    text = text.replace("\x00", "\ufffd")
    return (
        text if text.isascii() else text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    )


def units(text: str) -> int:
    """The length of a text in UTF-16 units."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le")) // 2
