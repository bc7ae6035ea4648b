"""From a path of the tree to the request that the model gets: instructions, and as much of what was said
before as a prompt may hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec

from openglm.chat.shapes import Row
from openglm.messages import ChatRequest, Message, SamplingParams

if TYPE_CHECKING:
    from openglm.chat.tree import Tree
    from openglm.errors import PromptTooLong

HISTORY_CHARS = 4_000_000  # of turns that are read for a prompt; the model's window takes less
AT_ONCE = 200  # messages of a path


async def history(tree: Tree, conversation_id: str, message_id: str) -> tuple[list[Row], int]:
    """The messages up to and with one, oldest first, and how many older ones were left out."""
    rows: list[Row] = []
    size, leaf = 0, message_id
    while True:
        stretch = await tree.stretch(conversation_id, leaf, AT_ONCE)
        for row in reversed(stretch):
            size += len(row["text"])
            if size > HISTORY_CHARS and rows:
                return rows[::-1], await tree.height(conversation_id, row["id"])
            rows.append(row)
        if not stretch or stretch[0]["parent_id"] is None:
            return rows[::-1], 0
        leaf = stretch[0]["parent_id"]


def request_of(
    model: str, turns: Sequence[Message], settings: Mapping[str, Any], *, instructions: Sequence[str] = ()
) -> ChatRequest:
    """`instructions` stand before all, the conversation's own last."""
    told = "\n\n".join(text for text in (*instructions, settings.get("system") or "") if text)
    system = (Message.of("system", told),) if told else ()
    given = {
        name: settings[name]
        for name in ("temperature", "top_p", "max_tokens")
        if settings.get(name) is not None
    }
    effort = settings.get("effort")
    return ChatRequest(
        model,
        (*system, *turns),
        sampling=SamplingParams(**given),
        chosen=frozenset(given),
        thinking=settings.get("thinking"),
        template_options={} if effort is None else {"reasoning_effort": effort},
    )


def attached(row: Row) -> list[str]:
    """The files of a message."""
    if row["parts"] == "[]":
        return []
    parts = msgspec.json.decode(row["parts"])
    return [part["file_id"] for part in parts if part["type"] == "attachment"]


def turn_of(row: Row) -> Message | None:
    """A message as the model reads it; an answer that never came is none."""
    if row["role"] == "user":
        return Message.of("user", row["text"])
    told = row["text"] or "\n".join(f"[A picture: {alt}]" for alt in _drawn(row))
    return Message.of("assistant", told) if told else None


def _drawn(row: Row) -> list[str]:
    """What the pictures of an answer show."""
    if row["parts"] == "[]":
        return []
    return [part.get("alt") or "" for part in msgspec.json.decode(row["parts"]) if part["type"] == "image"]


def shorter(request: ChatRequest, refusal: PromptTooLong) -> ChatRequest | None:
    """Without its oldest turns, as many as must go by the server's count; None where the question alone is
    left. Instructions stay, and the question with the knowledge that stands before it."""
    asked, limit = (refusal.prompt or 0) + (refusal.wanted or 0), refusal.limit
    first = next((at for at, turn in enumerate(request.messages) if turn.role != "system"), 0)
    last = len(request.messages) - 1
    while last > first and request.messages[last - 1].role == "system":
        last -= 1
    turns, stays = request.messages[first:last], request.messages[last:]
    if not turns:
        return None
    sizes = [len(turn.text) + 1 for turn in turns]
    rest = sum(len(turn.text) + 1 for turn in stays)
    kept = 0.9 * limit / asked if limit and limit < asked else 0.5
    room = kept * (sum(sizes) + rest) - rest
    while turns and sum(sizes) > room:
        turns, sizes = turns[1:], sizes[1:]
    while turns and turns[0].role != "user":  # a prompt begins with a question
        turns = turns[1:]
    if first + len(turns) == last:
        return None
    return replace(request, messages=(*request.messages[:first], *turns, *stays))
