"""Turns and what one may do with a message: answer again, edit, stop, rate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from fastapi import APIRouter

from openglm.chat.conversations import settings_of
from openglm.chat.owner import Asker, Asking, Room
from openglm.chat.prompt import attached
from openglm.chat.routes.bodies import Again, Edit, Turn
from openglm.chat.shapes import Message, Row, message_of
from openglm.chat.turns import Said, Wanted
from openglm.errors import InvalidRequest
from openglm.maas.console import Body

router = APIRouter(tags=["messages"])


@dataclass(frozen=True, slots=True)
class Taken:
    """The user's message, and the answers to it that are being written."""

    user: Message
    answers: list[Message]


@dataclass(frozen=True, slots=True)
class Answers:
    answers: list[Message]


class Rating(Body):
    value: Literal[1, -1] | None


@router.post("/conversations/{conversation_id}/turns", status_code=201)
async def take_turn(conversation_id: str, body: Turn, chat: Room, asker: Asking) -> Taken:
    """Say something. The answer goes on whoever listens; the same `client_id` again is the same turn."""
    chat.check_open()
    row = await chat.conversations.row(asker.owner, conversation_id)
    said = _said(body.text, await chat.attachments.parts(asker.owner, row["id"], body.attachments))
    return await _say(chat, asker, row, body, parent_id=body.parent_id, said=said)


@router.post("/messages/{message_id}/answers", status_code=201)
async def answer_again(message_id: str, body: Again, chat: Room, asker: Asking) -> Answers:
    """Another answer to a user's message, or beside an answer."""
    chat.check_open()
    message = await chat.tree.owned(asker.owner, message_id)
    row = await chat.conversations.row(asker.owner, message["conversation_id"])
    parent_id = message["id"] if message["role"] == "user" else message["parent_id"]
    wanted = await _wanted(chat, asker, row, body)
    begun = await chat.turns.begin(asker.owner, row["id"], parent_id, None, wanted)
    _, answers = await chat.begin(asker, row["id"], begun, wanted.settings)
    return Answers(answers)


@router.post("/messages/{message_id}/edit", status_code=201)
async def edit_message(message_id: str, body: Edit, chat: Room, asker: Asking) -> Taken:
    """The same turn in other words: a sibling of the user's message, with an answer of its own."""
    chat.check_open()
    message = await chat.tree.owned(asker.owner, message_id)
    if message["role"] != "user":
        raise InvalidRequest("only what the user said can be edited", hint="regenerate the answer instead")
    row = await chat.conversations.row(asker.owner, message["conversation_id"])
    files = attached(message) if body.attachments is None else body.attachments
    said = _said(body.text, await chat.attachments.parts(asker.owner, row["id"], files))
    return await _say(chat, asker, row, body, parent_id=message["parent_id"], said=said)


@router.post("/messages/{message_id}/stop")
async def stop_message(message_id: str, chat: Room, asker: Asking) -> Message:
    """Stop an answer. It comes back when the model's server has let go and its usage is paid."""
    await chat.tree.owned(asker.owner, message_id)
    await chat.stop_answer(message_id)
    return await _message(chat, await chat.tree.owned(asker.owner, message_id))


@router.post("/messages/{message_id}/rating")
async def rate_message(message_id: str, body: Rating, chat: Room, asker: Asking) -> Message:
    row = await chat.tree.owned(asker.owner, message_id)
    await chat.database.write(
        lambda tx: tx.run(
            "UPDATE chat_message SET rating = :value WHERE id = :id", value=body.value, id=message_id
        )
    )
    await chat.changed(row["conversation_id"])
    return await _message(chat, {**row, "rating": body.value})


async def _say(chat: Any, asker: Asker, row: Row, body: Again, *, parent_id: str | None, said: Said) -> Taken:
    wanted = await _wanted(chat, asker, row, body)
    begun = await chat.turns.begin(asker.owner, row["id"], parent_id, said, wanted)
    user, answers = await chat.begin(asker, row["id"], begun, wanted.settings)
    if user is None:
        raise InvalidRequest("this client_id was sent for another answer before", param="client_id")
    return Taken(user, answers)


def _said(text: str, parts: Sequence[dict[str, Any]]) -> Said:
    if not text.strip() and not parts:
        raise InvalidRequest("text must not be empty", param="text")
    return Said(text, parts)


async def _wanted(chat: Any, asker: Asker, row: Row, body: Again) -> Wanted:
    if body.model and body.models:
        raise InvalidRequest("send model or models, not both", param="models")
    models = body.models or [body.model or row["model"] or await _default(chat, asker, row)]
    settings = settings_of(row)
    if body.settings is not None:
        settings |= body.settings.model_dump(exclude_unset=True)
    return Wanted(models, settings, body.client_id)


async def _message(chat: Any, row: Row) -> Message:
    siblings = await chat.tree.siblings(row["conversation_id"], {row["parent_id"]})
    return message_of(row, siblings[row["parent_id"]])


async def _default(chat: Any, asker: Asker, row: Row) -> str:
    """The assistant's model, else the platform's first."""
    if row["assistant_id"] is not None:
        for one in await chat.shelf.list(asker.owner, "assistant", shown=True):
            if one["id"] == row["assistant_id"] and one["model"]:
                return str(one["model"])
    return str(await chat.default_model(asker.caller))
