"""The stream of a response that was kept: the events of one that is made, each text in one piece."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import msgspec

from openglm.dialects.blocks import Block, Change, Closed, Grown, Kind, Opened
from openglm.dialects.responses.answer import ResponseEvents, ResponseObject
from openglm.dialects.responses.tools import INPUT

_KINDS: dict[str, Kind] = {
    "reasoning": "reasoning",
    "message": "text",
    "function_call": "call",
    "custom_tool_call": "call",
}
_OPENING: dict[str, dict[str, Any]] = {  # what an item has not yet when it begins
    "reasoning": {"summary": []},
    "message": {"status": "in_progress", "content": []},
    "function_call": {"status": "in_progress", "arguments": ""},
    "custom_tool_call": {"status": "in_progress", "input": ""},
}


def replay(body: Mapping[str, Any], after: int | None = None) -> bytes:
    """The events of an ended response, as it was kept.

    Whoever has heard the first ones live, up to number `after`, is told the end alone, which holds all:
    the pieces that they heard were others.
    """
    if after is not None:
        return _Replay(cast(ResponseObject, _Kept(body)), first_number=after + 1).last()
    return _Replay(cast(ResponseObject, _Kept(body))).told()


class _Replay(ResponseEvents):
    def told(self) -> bytes:
        kept = cast(_Kept, self.response)
        frames = [self._start()]
        for block in kept.blocks():
            grown: list[Change] = [Grown(block, block.text)] if block.text else []
            for change in (Opened(block), *grown, Closed(block)):
                frames += self._frames(change)
        return b"".join([*frames, self.last()])


class _Kept:
    """A kept body with the face that `ResponseEvents` asks of a response that is being made."""

    def __init__(self, body: Mapping[str, Any]):
        self._body = body
        self.status = body["status"]

    def body(self) -> Mapping[str, Any]:
        return self._body

    def begun(self) -> dict[str, Any]:
        nothing: dict[str, Any] = {"output": [], "usage": None, "error": None, "incomplete_details": None}
        return {**self._body, "status": "in_progress", **nothing}

    def blocks(self) -> list[Block]:
        return [
            Block(at, _KINDS[item["type"]], item.get("call_id"), item.get("name", ""), [_text(item)])
            for at, item in enumerate(self._body["output"])
        ]

    def item(self, block: Block, *, opening: bool = False) -> dict[str, Any]:
        item = self._item(block.index)
        if not opening:
            return item
        sealed = {"encrypted_content": None} if "encrypted_content" in item else {}
        return {**item, **_OPENING[item["type"]], **sealed}

    def item_id(self, block: Block) -> str:
        return self._item(block.index)["id"]

    def is_custom(self, block: Block) -> bool:
        return self._item(block.index)["type"] == "custom_tool_call"

    def called(self, block: Block) -> dict[str, str]:
        return {"name": block.name}

    def _item(self, index: int) -> dict[str, Any]:
        return self._body["output"][index]


def _text(item: Mapping[str, Any]) -> str:
    """The text that a block of such an item holds."""
    if item["type"] == "custom_tool_call":
        return msgspec.json.encode({INPUT: item["input"]}).decode()
    if item["type"] == "function_call":
        return item["arguments"]
    parts = item["content"] if item["type"] == "message" else item["summary"]
    return "".join(part["text"] for part in parts)
