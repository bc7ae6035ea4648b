"""The organisation of whoever starts a platform on their own machine, before anybody signs up.

Its requests are metered like all others, on models that cost nothing. The first account ends it: from then on
everybody needs a key. What it used stays in the books.
"""

from __future__ import annotations

from openglm.maas.database import Database, Transaction
from openglm.maas.identity import Accounts, Caller
from openglm.maas.ids import Clock, wall_clock

ORG, PROJECT, KEY = "org_household", "project_household", "key_household"
LOOK_AGAIN_MS = 1_000  # until an account that another process made is seen


class Household:
    def __init__(self, database: Database, accounts: Accounts, *, clock: Clock = wall_clock):
        self._database = database
        self._accounts = accounts
        self._clock = clock
        self._caller: Caller | None = None
        self._closed = False
        self._looked_at = -LOOK_AGAIN_MS

    async def caller(self) -> Caller | None:
        """Whom programs of this machine speak for; None once somebody has signed up."""
        if self._closed:
            return None
        now = self._clock()
        if not 0 <= now - self._looked_at < LOOK_AGAIN_MS:
            self._closed = not await self._accounts.is_empty()
            self._looked_at = now
        if self._closed:
            return None
        if self._caller is None:
            await self._database.write(self._settle_in)
            self._caller = Caller(ORG, PROJECT, KEY)
        return self._caller

    def _settle_in(self, transaction: Transaction) -> None:
        now = self._clock()
        transaction.run(
            "INSERT INTO org (id, name, created_at) VALUES (:id, 'This machine', :now)"
            " ON CONFLICT DO NOTHING",
            id=ORG,
            now=now,
        )
        transaction.run(
            "INSERT INTO project (id, org_id, name, created_at) VALUES (:id, :org, 'default', :now)"
            " ON CONFLICT DO NOTHING",
            id=PROJECT,
            org=ORG,
            now=now,
        )
