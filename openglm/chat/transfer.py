"""Out and in: a conversation as Markdown or as JSON with its whole tree, and back from that or from ChatGPT's
export (`conversations.json`).

What comes in is somebody else's file: every field is judged, and ids are made anew."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from openglm.chat.draft import kept
from openglm.chat.owner import Owner
from openglm.chat.search import put, words_of
from openglm.errors import InvalidRequest
from openglm.maas.ids import new_id
from openglm.maas.quotas import check, look

if TYPE_CHECKING:
    from openglm.chat.shapes import Message, Row
    from openglm.maas.database import Database, Transaction
    from openglm.maas.ids import Clock

FORMAT = "openglm-chat/1"
MOST_CONVERSATIONS = 5_000
MOST_MESSAGES = 200_000  # of one
AT_ONCE = 200  # messages of a transaction
_PARTS = ("tool_call", "citation", "cut")  # files stay where they were


@dataclass(slots=True)
class _Node:
    """A message that comes in."""

    name: str
    parent: str | None
    role: str
    text: str
    reasoning: str = ""
    model: str | None = None
    at: int = 0
    parts: list[dict[str, Any]] = field(default_factory=list)


@dataclass(slots=True)
class _Talk:
    title: str
    nodes: list[_Node]
    leaf: str | None


def as_markdown(title: str, path: Sequence[Message]) -> str:
    told = [f"# {title or 'Conversation'}"]
    for message in path:
        name = "You" if message.role == "user" else message.model or "Assistant"
        files = [f"*{part['name']}*" for part in message.parts if part.get("type") == "attachment"]
        files += [_picture(part) for part in message.parts if part.get("type") == "image"]
        told += [f"## {name}", *files, *([message.text] if message.text else [])]
    return "\n\n".join(told) + "\n"


def _picture(part: Mapping[str, Any]) -> str:
    """A link to where the reader, signed in, finds it."""
    alt = " ".join(part.get("alt", "").translate({ord("["): "(", ord("]"): ")"}).split())
    return f"![{alt}](/api/chat/attachments/{part['file_id']}/content)"


def as_json(row: Row, messages: Sequence[Message]) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "title": row["title"],
        "model": row["model"],
        "settings": msgspec.json.decode(row["settings"]),
        "leaf_id": row["leaf_id"],
        "created_at": row["created_at"],
        "messages": [asdict(message) for message in messages],
    }


def read(content: bytes) -> list[_Talk]:
    """The conversations of a file."""
    try:
        given = msgspec.json.decode(content)
    except (msgspec.MsgspecError, RecursionError, ValueError):
        raise InvalidRequest("the file is no JSON") from None
    listed = given if isinstance(given, list) else [given]
    if not listed or len(listed) > MOST_CONVERSATIONS:
        raise InvalidRequest(f"a file has 1 to {MOST_CONVERSATIONS} conversations, got {len(listed)}")
    return [_talk(one, number) for number, one in enumerate(listed)]


async def bring_in(database: Database, owner: Owner, talks: Sequence[_Talk], clock: Clock) -> list[str]:
    """New conversations: all of them find room, or none begins. Each is written some messages at a time, so
    that nobody else waits for a large file; until it is whole it is a temporary one, swept if we die."""
    await look(database, owner.org_id, clock(), conversations=len(talks))
    return [await _written(database, owner, talk, clock()) for talk in talks]


async def _written(database: Database, owner: Owner, talk: _Talk, now: int) -> str:
    conversation_id = new_id("conv", now)
    ids: dict[str, str] = {}
    rows: list[dict[str, Any]] = []
    for number, node in enumerate(_in_order(talk.nodes)):
        ids[node.name] = new_id("msg", now + number)  # so that siblings keep their order
        rows.append(
            {
                "id": ids[node.name],
                "conversation": conversation_id,
                "parent": ids.get(node.parent or ""),
                "role": node.role,
                "model": node.model,
                "at": node.at or now,
                "reasoning": node.reasoning,
                "text": node.text,
                "parts": msgspec.json.encode(node.parts).decode(),
            }
        )
    leaf = ids.get(talk.leaf or "", rows[-1]["id"] if rows else None)
    given = {"id": conversation_id, "title": talk.title[:200], "now": now, **owner.ids}

    def begin(tx: Transaction) -> None:
        check(tx, owner.org_id, now, conversations=1)
        tx.run(_BEGIN, **given)

    await database.write(begin, lock=owner.org_id)
    for start in range(0, len(rows), AT_ONCE):
        some = rows[start : start + AT_ONCE]
        words = await asyncio.to_thread(lambda some=some: [words_of(row["text"]) for row in some])  # type: ignore[misc]
        await database.write(partial(_add, owner=owner, rows=some, words=words))
    await database.write(
        lambda tx: tx.run(_WHOLE, id=conversation_id, leaf=leaf, messages=len(rows)), durable=True
    )
    return conversation_id


def _add(
    tx: Transaction, owner: Owner, rows: Sequence[Mapping[str, Any]], words: Sequence[Sequence[str]]
) -> None:
    tx.many(_MESSAGE, rows)
    for row, found in zip(rows, words, strict=True):
        put(tx, owner, row["conversation"], row["id"], found)


_BEGIN = (
    "INSERT INTO chat_conversation (id, org_id, user_id, title, titled_by, temporary, settings, created_at,"
    " updated_at) VALUES (:id, :org, :user, :title, 'user', 1, '{}', :now, :now)"
)
_MESSAGE = (
    "INSERT INTO chat_message (id, conversation_id, parent_id, role, state, model, created_at, parts,"
    " reasoning, text)"
    " VALUES (:id, :conversation, :parent, :role, 'done', :model, :at, :parts, :reasoning, :text)"
)
_WHOLE = "UPDATE chat_conversation SET temporary = 0, leaf_id = :leaf, messages = :messages WHERE id = :id"


def _talk(given: Any, number: int) -> _Talk:
    if isinstance(given, Mapping) and given.get("format") == FORMAT:
        return _ours(given, number)
    if isinstance(given, Mapping) and isinstance(given.get("mapping"), Mapping):
        return _chatgpts(given, number)
    raise InvalidRequest(
        f"conversation {number} is neither of {FORMAT} nor of ChatGPT's conversations.json",
        hint="export it again",
    )


def _ours(given: Mapping[str, Any], number: int) -> _Talk:
    messages = given.get("messages")
    if not isinstance(messages, list):
        raise InvalidRequest(f"conversation {number}: messages must be a list")
    nodes = []
    for one in messages:
        if not isinstance(one, Mapping) or one.get("role") not in ("user", "assistant"):
            raise InvalidRequest(f"conversation {number}: a message must have the role user or assistant")
        parts = one.get("parts")
        nodes.append(
            _Node(
                _text(one.get("id")),
                _text(one.get("parent_id")) or None,
                one["role"],
                _text(one.get("text")),
                _text(one.get("reasoning")),
                _text(one.get("model"))[:128] or None,
                _moment(one.get("created_at")),
                _kept_parts(parts),
            )
        )
    return _Talk(_text(given.get("title")), nodes, _text(given.get("leaf_id")) or None)


def _chatgpts(given: Mapping[str, Any], number: int) -> _Talk:
    """Nodes without words of a user or an assistant (system, tools) are passed over to their parents."""
    mapping: Mapping[str, Any] = given["mapping"]
    spoken: dict[str, _Node] = {}
    for name, node in mapping.items():
        message = node.get("message") if isinstance(node, Mapping) else None
        if isinstance(message, Mapping) and (found := _chatgpts_node(name, message)):
            spoken[name] = found

    def up(name: Any) -> str | None:
        seen = set()
        while isinstance(name, str) and name in mapping and name not in seen:
            if name in spoken:
                return name
            seen.add(name)
            node = mapping[name]
            name = node.get("parent") if isinstance(node, Mapping) else None
        return None

    for name, one in spoken.items():
        one.parent = up(mapping[name].get("parent"))
    return _Talk(_text(given.get("title")), list(spoken.values()), up(given.get("current_node")))


def _chatgpts_node(name: str, message: Mapping[str, Any]) -> _Node | None:
    author, content = message.get("author"), message.get("content")
    role = author.get("role") if isinstance(author, Mapping) else None
    if role not in ("user", "assistant") or not isinstance(content, Mapping):
        return None
    pieces = content.get("parts")
    text = "\n".join(one for one in pieces if isinstance(one, str)) if isinstance(pieces, list) else ""
    if not text.strip():
        return None
    meta = message.get("metadata")
    model = _text(meta.get("model_slug"))[:128] if isinstance(meta, Mapping) else ""
    moment = message.get("create_time")
    at = int(moment * 1000) if isinstance(moment, int | float) and 0 < moment < 1e11 else 0
    return _Node(name, None, role, kept(text), model=model or None, at=at)


def _in_order(nodes: Sequence[_Node]) -> Iterator[_Node]:
    """Parents before children; what hangs in the air is a beginning, and a ring is broken at its first."""
    if len(nodes) > MOST_MESSAGES:
        raise InvalidRequest(f"a conversation has at most {MOST_MESSAGES} messages, got {len(nodes)}")
    known = {node.name: node for node in nodes}
    if len(known) != len(nodes):
        raise InvalidRequest("two messages of a conversation have the same id")
    done: set[str] = set()
    for node in nodes:
        chain, at = [], node
        while at.name not in done:
            done.add(at.name)
            chain.append(at)
            if at.parent is None or at.parent not in known:
                break
            at = known[at.parent]
        yield from reversed(chain)


def _kept_parts(parts: Any) -> list[dict[str, Any]]:
    found = parts if isinstance(parts, list) else []
    told = [part for part in found if isinstance(part, dict) and part.get("type") in _PARTS]
    return msgspec.json.decode(kept(msgspec.json.encode(told).decode()))


def _text(given: Any) -> str:
    return kept(given) if isinstance(given, str) else ""


def _moment(given: Any) -> int:
    return given if isinstance(given, int) and 0 < given < 10**14 else 0
