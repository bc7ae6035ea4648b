"""Memory: short facts about a person, which every prompt of theirs begins with.

It is read until its owner switches it off. Models write into it where somebody has switched that on by hand.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from openglm.chat.owner import OWN, Owner

if TYPE_CHECKING:
    from openglm.chat.shelf import Shelf
    from openglm.maas.database import Database, Transaction

MOST_CHARS = 8_000  # of all facts in a prompt; the newest come first
FACT_CHARS = 500


@dataclass(frozen=True, slots=True)
class Use:
    """What memory is good for: prompts read it; models add to it."""

    on: bool
    grows: bool


class Memory:
    def __init__(self, database: Database, shelf: Shelf):
        self._database = database
        self._shelf = shelf

    async def use(self, owner: Owner) -> Use:
        """Where nobody has said anything, there is no row: it is read and does not grow."""
        row = await self._database.read_one(f"SELECT memory_on FROM chat_person WHERE {OWN}", **owner.ids)
        return Use(True, False) if row is None else Use(bool(row["memory_on"]), bool(row["memory_on"]))

    async def switch(self, owner: Owner, use: Use) -> None:
        def work(tx: Transaction) -> None:
            tx.run(f"DELETE FROM chat_person WHERE {OWN}", **owner.ids)
            if use.grows or not use.on:
                tx.run(
                    "INSERT INTO chat_person (org_id, user_id, memory_on) VALUES (:org, :user, :on)",
                    on=int(use.on),
                    **owner.ids,
                )

        await self._database.write(work, durable=True)

    async def remember(self, owner: Owner, text: str) -> dict[str, Any]:
        return await self._shelf.add(owner, "memory", {"text": " ".join(text.split())[:FACT_CHARS]})

    async def instructions(self, owner: Owner) -> str:
        """What a prompt says of the person; empty where there is nothing, or memory is off."""
        if not (await self.use(owner)).on:
            return ""
        kept: list[str] = []
        room = MOST_CHARS
        for item in reversed(await self._shelf.list(owner, "memory")):
            room -= len(item["text"])
            if room < 0:
                break
            kept.append(f"- {item['text']}")
        return "What you remember of the user:\n" + "\n".join(reversed(kept)) if kept else ""
