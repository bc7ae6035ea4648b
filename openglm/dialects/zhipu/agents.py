"""Zhipu's agents: POST agents, agents/async-result and agents/conversation, both ways.

The official pages and the official SDK do not name the same fields: a choice has a list `messages`, each of a
`phase`, there, and one `message` (in streams a `delta`) here. Both are sent, and say the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from openglm.dialects.blocks import Block, Blocks, Change, Closed, Grown
from openglm.dialects.fields import Fields, parse_object
from openglm.dialects.openai.frames import DONE, KEEP_ALIVE, encode_usage
from openglm.dialects.openai.turns import read_messages
from openglm.dialects.zhipu.chat import REASONS, Hits
from openglm.dialects.zhipu.decode import check_user_id, read_request_id
from openglm.dialects.zhipu.errors import encode_error, encode_failure
from openglm.dialects.zhipu.images import with_whole_urls
from openglm.dialects.zhipu.shapes import new_id
from openglm.messages import (
    Event,
    Failure,
    Finish,
    Message,
    Part,
    ServerCall,
    TextPart,
    Usage,
    UsageUpdate,
)

Phase = Literal["thinking", "tool", "answer"]
_PHASES: dict[str, Phase] = {"reasoning": "thinking", "text": "answer"}
_encode = msgspec.json.Encoder().encode
_AGENT_ID = re.compile(r"[\w.-]{1,64}")


@dataclass(frozen=True, slots=True)
class AgentCall:
    """One turn with an agent. Extensions: `model`, and `later` for an answer that is fetched later."""

    agent_id: str
    messages: tuple[Message, ...]
    variables: Mapping[str, Any] = field(default_factory=dict)
    conversation_id: str | None = None
    stream: bool = False
    model: str | None = None
    later: bool = False
    request_id: str | None = None


def decode_agent(body: bytes) -> AgentCall:
    """The body of POST agents. Content may be a text, one part, or a list of parts."""
    fields = parse_object(body)
    variables = fields.object("custom_variables")
    check_user_id(fields)
    return AgentCall(
        _agent_id(fields),
        _messages(fields),
        dict(variables.data) if variables else {},
        fields.text("conversation_id") or None,
        bool(fields.flag("stream")),
        fields.text("model") or None,
        bool(fields.flag("async")),
        read_request_id(fields),
    )


def decode_agent_result(body: bytes) -> tuple[str, str]:
    """The body of POST agents/async-result: the agent's id and the task's."""
    fields = parse_object(body)
    return _agent_id(fields), fields.needed_text("async_id")


def decode_agent_conversation(body: bytes) -> tuple[str, str]:
    """The body of POST agents/conversation: the agent's id and the conversation's."""
    fields = parse_object(body)
    return _agent_id(fields), fields.needed_text("conversation_id")


def _agent_id(fields: Fields) -> str:
    agent_id = fields.needed_text("agent_id")
    if not _AGENT_ID.fullmatch(agent_id):
        raise fields.wrong("agent_id", "1 to 64 letters, digits or any of _ . -")
    return agent_id


def _messages(fields: Fields) -> tuple[Message, ...]:
    given = fields.raw("messages")
    if isinstance(given, list):  # one part may stand where a list of parts is expected
        given = [
            {**turn, "content": [turn["content"]]}
            if isinstance(turn, dict) and isinstance(turn.get("content"), dict)
            else turn
            for turn in given
        ]
    messages = with_whole_urls(read_messages(Fields({"messages": given}, fields.path)))
    if any(message.role not in ("user", "assistant") or message.tool_calls for message in messages):
        raise fields.wrong(
            "messages", "turns of the roles user and assistant: the agent has its instructions"
        )
    if messages[-1].role != "user":
        raise fields.wrong("messages", "a list that ends with a turn of the user")
    return messages


class AgentObject:
    """Collects one turn of an agent and encodes it whole."""

    def __init__(
        self,
        agent_id: str,
        *,
        conversation_id: str | None = None,
        request_id: str | None = None,
        query: str = "",
        hits: Hits = (),
    ):
        answer_id = new_id()
        self.head: dict[str, Any] = {"id": answer_id, "agent_id": agent_id}
        if conversation_id:
            self.head["conversation_id"] = conversation_id
        self.head["request_id"] = request_id or answer_id
        self.found = [tool_message("web_search", {"query": query}, list(hits))] if hits else []
        self.failure: Failure | None = None
        self.usage = Usage()
        self.finish: str | None = None
        self._blocks = Blocks()

    def add(self, choice: int, events: Iterable[Event]) -> None:
        self.read(tuple(events))

    def read(self, events: Sequence[Event]) -> list[dict[str, Any]]:
        """The messages that a step adds, each with what is new of its content."""
        for event in events:
            if isinstance(event, UsageUpdate):
                self.usage = event.usage
            elif isinstance(event, Finish):
                self.finish = REASONS[event.reason]
            elif isinstance(event, Failure):
                self.failure = event
        changed = (_of_change(change) for change in self._blocks.read(events))
        return [message for message in changed if message]

    @property
    def messages(self) -> list[dict[str, Any]]:
        """What was thought, done and answered, in order."""
        blocks = (_of_block(block) for block in self._blocks.all)
        return [*self.found, *(message for message in blocks if message)]

    @property
    def text(self) -> str:
        return "".join(block.text for block in self._blocks.all if block.kind == "text")

    def body(self) -> dict[str, Any]:
        answer = _message("answer", self.text)
        choice = {
            "index": 0,
            "finish_reason": self.finish or "stop",
            "message": answer,
            "messages": self.messages,
        }
        return {**self.head, "status": "success", "choices": [choice], "usage": encode_usage(self.usage)}


class AgentChunks:
    """Encodes one streamed turn of an agent. `answer` is what it amounts to, also while it grows."""

    keep_alive = KEEP_ALIVE

    def __init__(self, answer: AgentObject):
        self.answer = answer
        self._head = _encode({**answer.head, "choices": []}).removesuffix(b"]}")
        self._begun = False
        self._broken = False

    def encode(self, choice: int, events: Sequence[Event]) -> bytes:
        grown = self.answer.read(events)
        if not self._begun:
            self._begun = True
            grown = [*self.answer.found, *grown]
        frames = [self._frame({"index": 0, "delta": message, "messages": [message]}) for message in grown]
        if self.answer.failure:
            frames.append(self._error(encode_failure(self.answer.failure).body))
        return b"".join(frames)

    def fail(self, error: Exception) -> bytes:
        return self._error(encode_error(error).body)

    def end(self) -> bytes:
        if self._broken:
            return DONE
        last = {
            "index": 0,
            "delta": _message("answer", ""),
            "messages": [],
            "finish_reason": self.answer.finish or "stop",
        }
        return self._frame(last, usage=encode_usage(self.answer.usage)) + DONE

    def _frame(self, choice: dict[str, Any], **more: Any) -> bytes:
        tail = b"," + _encode(more)[1:] if more else b"}"
        return b"data: %b%b]%b\n\n" % (self._head, _encode(choice), tail)

    def _error(self, body: dict[str, Any]) -> bytes:
        self._broken = True
        return b"data: %b\n\n" % _encode(body)


def tool_message(name: str, given: Any, output: Any) -> dict[str, Any]:
    """What a tool did for the agent."""
    done = {"tool_name": name, "input": given, "output": output}
    return {"role": "assistant", "phase": "tool", "content": {"type": "object", "object": done}}


def encode_agent_task(
    agent_id: str,
    task_id: str,
    state: str,
    answer: Mapping[str, Any] | None = None,
    conversation_id: str | None = None,
) -> dict[str, Any]:
    """An answer to fetch later, as it stands. `answer` is its body, or that of the error it ended in."""
    words = {"PROCESSING": "pending", "SUCCESS": "success", "FAIL": "failed"}
    head: dict[str, Any] = {"agent_id": agent_id, "async_id": task_id, "status": words[state], "choices": []}
    if conversation_id:
        head["conversation_id"] = conversation_id
    if answer is None:
        return head
    if state == "FAIL":
        return {**head, "error": answer.get("error", answer)}
    return {**head, **answer}


def agent_messages(turn: Sequence[Mapping[str, Any]]) -> tuple[Message, ...]:
    """What a user said in an earlier turn, from the form that `encode_turn` gave it."""
    return read_messages(Fields({"messages": list(turn)}))


def encode_turn(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """What a user says, as histories show it."""
    return [
        {"role": message.role, "content": [_encode_part(part) for part in message.parts]}
        for message in messages
    ]


def _encode_part(part: Part) -> dict[str, Any]:
    if isinstance(part, TextPart):
        return {"type": "text", "text": part.text}
    return {"type": "image_url", "image_url": {"url": part.url}}


def encode_conversation(
    agent_id: str, conversation_id: str, turns: Iterable[Sequence[Mapping[str, Any]]]
) -> dict[str, Any]:
    """All turns, oldest first; each has its messages as a list, under both names that the pages use."""
    choices = [
        {"index": index, "message": list(turn), "messages": list(turn)} for index, turn in enumerate(turns)
    ]
    return {
        "agent_id": agent_id,
        "conversation_id": conversation_id,
        "status": "success",
        "choices": choices,
    }


def _of_change(change: Change) -> dict[str, Any] | None:
    """What is new of a text, or a server's call that has ended."""
    if isinstance(change, Grown) and change.block.kind in _PHASES:
        return _message(_PHASES[change.block.kind], change.text)
    if isinstance(change, Closed) and change.block.kind == "server_call":
        return _of_block(change.block)
    return None


def _of_block(block: Block) -> dict[str, Any] | None:
    if isinstance(block.told, ServerCall):
        call = block.told
        return tool_message(call.name, call.arguments, call.output if call.error is None else call.error)
    return _message(_PHASES[block.kind], block.text) if block.kind in _PHASES else None


def _message(phase: Phase, text: str) -> dict[str, Any]:
    return {"role": "assistant", "phase": phase, "content": {"type": "text", "text": text}}
