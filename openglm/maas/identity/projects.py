"""Projects of an organisation: what keys belong to and usage is told apart by."""

from __future__ import annotations

from collections.abc import Callable

from openglm.errors import InvalidRequest, NotFound
from openglm.maas.database import Database, Transaction
from openglm.maas.identity.audit import SYSTEM, Actor, note
from openglm.maas.identity.names import clean_name
from openglm.maas.identity.people import Project, lock_org, must_exist, project_of
from openglm.maas.ids import Clock, new_id, wall_clock
from openglm.maas.quotas.quota import check

MOST_BODY_DAYS = 90


class Projects:
    """`changed` is called after anything that a remembered key may depend on: pass `keys.forget`."""

    def __init__(
        self,
        database: Database,
        *,
        changed: Callable[[], None] | None = None,
        clock: Clock = wall_clock,
    ):
        self._database = database
        self._changed = changed
        self._clock = clock

    async def create(self, org_id: str, name: str, *, actor: Actor = SYSTEM) -> Project:
        name, now = clean_name(name), self._clock()
        project_id = new_id("proj", now)

        def work(tx: Transaction) -> Project:
            lock_org(tx, org_id)
            _name_is_free(tx, org_id, name)
            check(tx, org_id, now, projects=1)
            tx.run(
                "INSERT INTO project (id, org_id, name, created_at) VALUES (:id, :org, :name, :now)",
                id=project_id,
                org=org_id,
                name=name,
                now=now,
            )
            note(tx, now, actor, "project.create", project_id, org_id=org_id, details={"name": name})
            return Project(project_id, org_id, name, False, 0, now)

        return await self._database.write(work, durable=True, lock=org_id)

    async def list(self, org_id: str) -> tuple[Project, ...]:
        rows = await self._database.read("SELECT * FROM project WHERE org_id = :org ORDER BY id", org=org_id)
        return tuple(project_of(row) for row in rows)

    async def get(self, org_id: str, project_id: str) -> Project:
        row = await self._database.read_one(
            "SELECT * FROM project WHERE org_id = :org AND id = :id", org=org_id, id=project_id
        )
        if row is None:
            raise NotFound(f"no project {project_id!r} here")
        return project_of(row)

    async def rename(self, org_id: str, project_id: str, name: str, *, actor: Actor = SYSTEM) -> None:
        name, now = clean_name(name), self._clock()

        def work(tx: Transaction) -> None:
            lock_org(tx, org_id)
            known = tx.one(
                "SELECT 1 FROM project WHERE org_id = :org AND id = :id", org=org_id, id=project_id
            )
            must_exist(known, "project", project_id)
            _name_is_free(tx, org_id, name, but=project_id)
            tx.run("UPDATE project SET name = :name WHERE id = :id", name=name, id=project_id)
            note(tx, now, actor, "project.rename", project_id, org_id=org_id, details={"name": name})

        await self._database.write(work)

    async def keep_bodies(self, org_id: str, project_id: str, days: int, *, actor: Actor = SYSTEM) -> None:
        """For how many days a project's whole requests are kept from now on; 0: not at all."""
        now = self._clock()
        if isinstance(days, bool) or not 0 <= days <= MOST_BODY_DAYS:
            raise InvalidRequest(f"body_days must be in [0, {MOST_BODY_DAYS}], got {days}", param="body_days")

        def work(tx: Transaction) -> None:
            touched = tx.run(
                "UPDATE project SET body_days = :days WHERE org_id = :org AND id = :id",
                days=days,
                org=org_id,
                id=project_id,
            )
            must_exist(touched, "project", project_id)
            note(tx, now, actor, "project.keep_bodies", project_id, org_id=org_id, details={"days": days})

        await self._database.write(work, durable=True, then=self._changed)

    async def archive(self, org_id: str, project_id: str, *, actor: Actor = SYSTEM) -> None:
        """Its keys stop; its usage and bills stay."""
        now = self._clock()

        def work(tx: Transaction) -> None:
            touched = tx.run(
                "UPDATE project SET archived_at = coalesce(archived_at, :now)"
                " WHERE org_id = :org AND id = :id",
                now=now,
                org=org_id,
                id=project_id,
            )
            must_exist(touched, "project", project_id)
            note(tx, now, actor, "project.archive", project_id, org_id=org_id)

        await self._database.write(work, durable=True, then=self._changed)


def _name_is_free(tx: Transaction, org_id: str, name: str, *, but: str = "") -> None:
    if tx.one(
        "SELECT 1 FROM project WHERE org_id = :org AND name = :name AND id <> :but",
        org=org_id,
        name=name,
        but=but,
    ):
        raise InvalidRequest(f"a project is called {name!r} already", param="name", code="name_taken")
