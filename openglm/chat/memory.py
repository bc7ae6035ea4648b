"""Memory: short facts about a person, which every prompt of theirs begins with.

It is read until its owner switches it off. Models write into it where somebody has switched it on by hand.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from openglm.chat.owner import OWN, Owner

if TYPE_CHECKING:
    from openglm.chat.shelf import Shelf
    from openglm.maas.database import Database

MOST_CHARS = 8_000  # of all facts in a prompt; the newest come first
FACT_CHARS = 500


class Memory:
    def __init__(self, database: Database, shelf: Shelf):
        self._database = database
        self._shelf = shelf

    async def is_on(self, owner: Owner) -> bool:
        row = await self._database.read_one(f"SELECT memory_on FROM chat_person WHERE {OWN}", **owner.ids)
        return row is None or bool(row["memory_on"])

    async def may_grow(self, owner: Owner) -> bool:
        """Whether models may write into it: only where somebody has switched it on."""
        row = await self._database.read_one(f"SELECT memory_on FROM chat_person WHERE {OWN}", **owner.ids)
        return row is not None and bool(row["memory_on"])

    async def switch(self, owner: Owner, on: bool) -> None:
        await self._database.write(
            lambda tx: tx.run(
                "INSERT INTO chat_person (org_id, user_id, memory_on) VALUES (:org, :user, :value)"
                " ON CONFLICT (org_id, user_id) DO UPDATE SET memory_on = excluded.memory_on",
                value=int(on),
                **owner.ids,
            ),
            durable=True,
        )

    async def remember(self, owner: Owner, text: str) -> dict[str, Any]:
        return await self._shelf.add(owner, "memory", {"text": " ".join(text.split())[:FACT_CHARS]})

    async def instructions(self, owner: Owner) -> str:
        """What a prompt says of the person; empty where there is nothing, or memory is off."""
        if not await self.is_on(owner):
            return ""
        kept: list[str] = []
        room = MOST_CHARS
        for item in reversed(await self._shelf.list(owner, "memory")):
            room -= len(item["text"])
            if room < 0:
                break
            kept.append(f"- {item['text']}")
        return "What you remember of the user:\n" + "\n".join(reversed(kept)) if kept else ""
