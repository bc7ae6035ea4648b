"""Chats as training samples: JSONL in the form of OpenAI's fine-tuning files, by the model's own renderer.

A line is {"messages": […], "tools": […]?}; reasoning_content and tool calls of assistant turns are kept, and
`"weight": 0` in one says that it is read, not learnt. Only what the model itself would write is learnt: the
assistant turns, each with the token that ends it.

Some formats leave the reasoning of earlier turns out of later prompts. Such a turn is learnt from a sample
that ends with it, because that is what the model sees when it writes it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

from openglm.dialects.fields import Fields, parse_object
from openglm.dialects.openai.turns import MAX_MESSAGES, read_messages, read_tools
from openglm.errors import InvalidRequest, RecipeError
from openglm.messages import Message, ToolSpec
from openglm.tokenizer.chat import ChatFormat
from openglm.train.samples import Sample, causal

OLD_WORDS = {"functions": "tools", "function_call": "tool_calls"}


@dataclass(frozen=True, slots=True)
class Chats:
    samples: list[Sample]
    num_chats: int
    num_cut: int  # chats that were longer than max_length
    num_lost: int  # samples of which no learnt token was left by that
    sha256: str  # of the file


def read_chats(path: Path, chat_format: ChatFormat, max_length: int) -> Chats:
    """All chats of a file. A line that is none is a RecipeError with its number."""
    samples: list[Sample] = []
    num_chats = num_cut = num_lost = 0
    digest = sha256()
    try:
        with open(path, "rb") as lines:
            for number, line in enumerate(lines, 1):
                digest.update(line)
                if not line.strip():
                    continue
                try:
                    rendered = list(_render(parse_object(line), chat_format, max_length))
                except InvalidRequest as error:
                    what = error.message.replace("the body", "the line")
                    raise RecipeError(f"{path}, line {number}: {what}", hint=error.hint) from error
                num_chats += 1
                num_cut += any(cut for _, cut in rendered)
                samples += [sample for sample, _ in rendered if len(sample)]
                num_lost += sum(not len(sample) for sample, _ in rendered)
    except OSError as error:
        raise RecipeError(f"{path} cannot be read: {error.strerror}") from error
    if not samples:
        raise RecipeError(
            f"{path} has nothing to learn from",
            hint="max_length leaves no assistant turn" if num_lost else "it holds no chats",
        )
    return Chats(samples, num_chats, num_cut, num_lost, digest.hexdigest())


def _render(row: Fields, chat_format: ChatFormat, max_length: int) -> Iterator[tuple[Sample, bool]]:
    """The samples of one line, and whether each was cut."""
    messages, tools = _read(row)
    for turns in as_served(messages, tools, chat_format):
        rendered = chat_format.render(turns, tools=tools, generate=False)
        yield causal(rendered.ids, rendered.mask, max_length), any(rendered.mask[max_length:])


def _read(row: Fields) -> tuple[tuple[Message, ...], tuple[ToolSpec, ...]]:
    for old, new in OLD_WORDS.items():
        if row.has(old):
            raise InvalidRequest(f"{old} is not supported", hint=f"{new} is its successor")
    messages = tuple(
        _weighed(message, fields)
        for message, fields in zip(read_messages(row), row.objects("messages", MAX_MESSAGES), strict=True)
    )
    if not any(message.role == "assistant" and message.weight for message in messages):
        raise InvalidRequest("there is no assistant turn to learn (with weight 1, or none given)")
    return messages, read_tools(row)


def _weighed(message: Message, fields: Fields) -> Message:
    weight = fields.integer("weight", 0, 1)
    if weight is None:
        return message
    if message.role != "assistant":
        raise fields.wrong("weight", "left out: only assistant turns are learnt")
    return replace(message, weight=1 if weight else 0)


def as_served(
    messages: Sequence[Message], tools: Sequence[ToolSpec], chat_format: ChatFormat
) -> Iterator[Sequence[Message]]:
    """The conversation, and the beginnings of it that serving showed otherwise when they were written."""
    remaining = list(messages)
    early = [n for n, m in enumerate(messages[:-1]) if m.role == "assistant" and m.weight and m.reasoning]
    whole = chat_format.render(messages, tools=tools, generate=False).ids if early else []
    beginnings = []
    for n in early:
        beginning = messages[: n + 1]
        ids = chat_format.render(beginning, tools=tools, generate=False).ids
        if whole[: len(ids)] != ids:
            remaining[n] = replace(messages[n], weight=0)
            beginnings.append([*(replace(m, weight=0) for m in beginning[:-1]), beginning[-1]])
    if any(m.role == "assistant" and m.weight for m in remaining):
        yield remaining
    yield from beginnings
