"""The first account takes over what the household wrote and its knowledge bases, at its first request here.

So it does not matter who made the account, a page or `glm admin`. A household ends with the first account,
but a request that was under way may still write a moment later: the founder's requests look each time.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from openglm.maas import household
from openglm.maas.knowledge import adopt

if TYPE_CHECKING:
    from openglm.chat.owner import Asker
    from openglm.maas.database import Database, Transaction

logger = logging.getLogger(__name__)
TABLES = ("chat_conversation", "chat_item", "chat_attachment", "chat_share", "chat_term")
_ANY = " UNION ALL ".join(
    f"SELECT 1 FROM {table} WHERE org_id = :home"
    for table in (*TABLES, "knowledge_base", "knowledge_document")
)


class Takeover:
    def __init__(self, database: Database):
        self._database = database
        self._founder: str | None = None

    async def by(self, asker: Asker) -> None:
        """Hand over, if it is the founder who asks and there is something."""
        if self._founder is None:
            row = await self._database.read_one("SELECT id FROM app_user ORDER BY created_at, id LIMIT 1")
            self._founder = row["id"] if row else None
        if asker.owner.user_id != self._founder:
            return
        if await self._database.read_one(f"SELECT 1 FROM ({_ANY}) found LIMIT 1", home=household.ORG):
            moved = await self._database.write(lambda tx: _move(tx, asker), durable=True)
            logger.info("the first account took over %d rows of the household", moved)


def _move(tx: Transaction, asker: Asker) -> int:
    owner = asker.owner
    # What the founder has chosen since stays.
    tx.run(
        "UPDATE chat_person SET org_id = :org, user_id = :user WHERE org_id = :home AND NOT EXISTS"
        " (SELECT 1 FROM chat_person p WHERE p.org_id = :org AND p.user_id = :user)",
        home=household.ORG,
        **owner.ids,
    )
    return adopt(tx, household.ORG, asker.caller) + sum(
        tx.run(
            f"UPDATE {table} SET org_id = :org, user_id = :user WHERE org_id = :home",
            home=household.ORG,
            **owner.ids,
        )
        for table in TABLES
    )
