"""Reading a training file: JSON lines of conversations, every one checked before a job may cost anything.

A line is `{"messages": [...], "tools": [...]}`, spelled as in a chat request, and ends with the assistant's
word; `"weight": 0` in one of its messages says that this one is read, not learned. What a line may not hold
is refused rather than left out, because it would be missed. Whether the model's own prompt format can spell
it is the trainer's to say.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from openglm.dialects.fields import Fields, parse_object
from openglm.dialects.openai.turns import MAX_MESSAGES, read_messages, read_tools
from openglm.errors import InvalidRequest
from openglm.messages import ImagePart, Message

LEAST_EXAMPLES = 10
MOST_EXAMPLES = 200_000
MAX_LINE = 4 << 20  # bytes of one example
SHOWN_FAULTS = 20
KEYS = ("messages", "tools", "parallel_tool_calls")


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a line (from 1, as editors count), or with the whole file."""

    message: str
    line: int | None = None

    def __str__(self) -> str:
        return self.message if self.line is None else f"line {self.line}: {self.message}"


class ExampleReader:
    """Takes a file chunk by chunk, so that no file is held whole; counts examples, keeps what is wrong.

    `least`: the examples that a file must have.
    """

    def __init__(self, least: int = LEAST_EXAMPLES):
        self.examples = 0
        self.faults: list[Fault] = []
        self._least = least
        self._rest = b""
        self._line = 0

    def read(self, chunk: bytes) -> None:
        *whole, self._rest = (self._rest + chunk).split(b"\n")
        for text in whole:
            self._one(text)
        if len(self._rest) > MAX_LINE:
            self._one(self._rest)
            self._rest = b""

    def end(self) -> None:
        """The last line, if no line end follows it, and what is wrong with the whole."""
        if self._rest:
            self._one(self._rest)
            self._rest = b""
        if self.examples < self._least and not self.faults:
            self.faults.append(
                Fault(f"the file must have at least {self._least} examples, got {self.examples}")
            )

    @property
    def hopeless(self) -> bool:
        """Whether reading on is pointless."""
        return len(self.faults) >= SHOWN_FAULTS

    def _one(self, text: bytes) -> None:
        self._line += 1
        if self._line == 1:
            text = text.removeprefix(b"\xef\xbb\xbf")  # editors of Windows write it
        if self.hopeless or not text.strip():
            return
        self.examples += 1
        try:
            if self.examples > MOST_EXAMPLES:
                raise InvalidRequest(f"the file must have at most {MOST_EXAMPLES} examples")
            if len(text) > MAX_LINE:
                raise InvalidRequest(f"an example must be at most {MAX_LINE} bytes")
            check_example(text)
        except InvalidRequest as error:
            self.faults.append(Fault(error.message.replace("the body", "it", 1), self._line))


def check_example(text: bytes) -> None:
    """Raise an InvalidRequest that says what is wrong with a line."""
    fields = parse_object(text)
    unknown = next((name for name in fields.data if name not in KEYS), None)
    if unknown is not None:
        raise InvalidRequest(f"unknown field {unknown[:60]!r}; an example has {', '.join(KEYS)}")
    read_tools(fields)
    _check_turns(fields, read_messages(fields))


def _check_turns(fields: Fields, messages: tuple[Message, ...]) -> None:
    called = False
    for at, message in enumerate(messages):
        where = f"messages[{at}]"
        if any(isinstance(part, ImagePart) for part in message.parts):
            raise InvalidRequest(f"{where} holds an image; only text is trained on")
        if message.role == "tool" and not called:
            raise InvalidRequest(f"{where} answers a tool call, but no message before it makes one")
        called = called or bool(message.tool_calls)
    last = messages[-1]
    if last.role != "assistant":
        raise InvalidRequest(f"the last message must be the assistant's, got one of {last.role}")
    if not last.text and not last.tool_calls:
        raise InvalidRequest("the last message says nothing and calls no tool")
    if len(messages) < 2:
        raise InvalidRequest("an example needs a message that the assistant answers")
    learned = False
    for message, raw in zip(messages, fields.objects("messages", MAX_MESSAGES), strict=True):
        weight = raw.integer("weight", 0, 1)
        if weight is not None and message.role != "assistant":
            raise raw.wrong("weight", "left out: only the assistant's messages are learned")
        learned = learned or (message.role == "assistant" and weight != 0)
    if not learned:
        raise InvalidRequest("no message is learned: each of the assistant's has weight 0")


async def read_examples(reader: ExampleReader, chunks: AsyncIterator[bytes]) -> None:
    """A whole file, parsed beside the event loop."""
    async for chunk in chunks:
        await asyncio.to_thread(reader.read, chunk)
        if reader.hopeless:
            break
    await asyncio.to_thread(reader.end)
