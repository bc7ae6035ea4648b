"""The operator's table of quotas: for all, for a tier, for one organisation, or for one person."""

from __future__ import annotations

import difflib
from dataclasses import asdict, dataclass

from openglm.errors import InvalidRequest, NotFound
from openglm.maas.database import Database, Transaction
from openglm.maas.identity.audit import SYSTEM, Actor, note
from openglm.maas.ids import Clock, wall_clock
from openglm.maas.quotas.quota import ALL, PEOPLE, QUOTAS, Standing, standing

MOST = 1 << 53
MAX_HOLDER = 200


@dataclass(frozen=True, slots=True)
class Limit:
    """What `holder` may have: an organisation's or a person's id, a tier's name, or *. None: no bound."""

    holder: str
    name: str
    most: int | None

    def __post_init__(self) -> None:
        known(self.name)
        if self.most is not None and not 0 <= self.most <= MOST:
            raise InvalidRequest(f"most must be from 0 to {MOST}, got {self.most}", param="most")
        if not 0 < len(self.holder) <= MAX_HOLDER or self.holder != self.holder.strip():
            raise InvalidRequest(
                f"holder must be an id, a tier or *, got {self.holder[:80]!r}", param="holder"
            )


class Quotas:
    def __init__(self, database: Database, *, clock: Clock = wall_clock):
        self._database = database
        self._clock = clock

    async def list(self) -> tuple[Limit, ...]:
        """What was set. The defaults are in `QUOTAS`."""
        rows = await self._database.read("SELECT holder, name, most FROM quota ORDER BY name, holder")
        return tuple(Limit(row["holder"], row["name"], row["most"]) for row in rows)

    async def of(self, org_id: str) -> tuple[Standing, ...]:
        """How an organisation stands to all that is counted for organisations."""
        now = self._clock()
        return tuple([await standing(self._database, org_id, now, name) for name in QUOTAS if name != PEOPLE])

    async def set(self, limit: Limit, *, actor: Actor = SYSTEM) -> None:
        """Set a limit or replace it. What is there already stays, also where it is more."""
        now = self._clock()

        def work(tx: Transaction) -> None:
            org_id = _holder_exists(tx, limit)
            tx.run(
                "INSERT INTO quota (holder, name, most) VALUES (:holder, :name, :most)"
                " ON CONFLICT (holder, name) DO UPDATE SET most = excluded.most",
                **asdict(limit),
            )
            details = {"name": limit.name, "most": limit.most}
            note(tx, now, actor, "quota.set", limit.holder, org_id=org_id, details=details)

        await self._database.write(work, durable=True)

    async def remove(self, holder: str, name: str, *, actor: Actor = SYSTEM) -> None:
        """Back to what holds without this limit."""
        now = self._clock()

        def work(tx: Transaction) -> None:
            if not tx.run(
                "DELETE FROM quota WHERE holder = :holder AND name = :name", holder=holder, name=name
            ):
                raise NotFound(f"there is no quota {name[:80]!r} for {holder[:80]!r}")
            org_id = holder if tx.one("SELECT 1 FROM org WHERE id = :id", id=holder) else None
            note(tx, now, actor, "quota.remove", holder, org_id=org_id, details={"name": name})

        await self._database.write(work, durable=True)


def known(name: str) -> str:
    """The name of a quota, or what it may have been meant to be."""
    if name not in QUOTAS:
        near = difflib.get_close_matches(name, QUOTAS, 1)
        raise InvalidRequest(
            f"there is no quota {name[:80]!r}",
            param="name",
            hint=f"did you mean {near[0]}?" if near else f"known: {', '.join(QUOTAS)}",
        )
    return name


def _holder_exists(tx: Transaction, limit: Limit) -> str | None:
    """The organisation whose limit it is, if it is one's own. A tier need not be in use yet."""
    holder = limit.holder
    if holder == ALL:
        return None
    if limit.name == PEOPLE:
        if not tx.one("SELECT 1 FROM app_user WHERE id = :id", id=holder):
            raise NotFound(f"no user {holder[:80]!r} here", hint="organisations are counted for people")
        return None
    if tx.one("SELECT 1 FROM org WHERE id = :id", id=holder):
        return holder
    if holder.startswith(("org_", "user_")):
        raise NotFound(f"no organisation {holder[:80]!r} here")
    return None
