"""The model that the programs talk to: it plays one turn after the other, and bills what it likes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

Call = tuple[str, dict[str, Any]]  # a tool's name and its arguments


@dataclass(frozen=True)
class Turn:
    """What the model thinks, says and calls; `more` are further words of the fake server's script."""

    thought: str
    said: str
    calls: tuple[Call, ...] = ()
    more: dict[str, Any] = field(default_factory=dict)


@dataclass
class Play:
    """A body's script. The turn is counted by the calls that the conversation holds already.

    A request without tools gets `aside`: programs make such beside the conversation, say for its title.
    """

    turns: Sequence[Turn]
    aside: Turn = Turn("", "A title")

    def __call__(self, body: dict[str, Any]) -> dict[str, Any]:
        prompt = len(json.dumps(body["messages"])) // 4
        counts = {"prompt": prompt, "cached": prompt // 3}
        made = sum(bool(message.get("tool_calls")) for message in body["messages"])
        turn = self.turns[min(made, len(self.turns) - 1)] if body.get("tools") else self.aside
        calls = [
            {"id": f"call_{made}_{place}", "name": name, "arguments": json.dumps(arguments)}
            for place, (name, arguments) in enumerate(turn.calls)
        ]
        return {
            **counts,
            "reasoning": 1 if turn.thought else 0,
            "words": [*filter(None, [turn.thought]), *(f"{word} " for word in turn.said.split())],
            "calls": calls,
            "finish": "tool_calls" if calls else "stop",
            **turn.more,
        }
