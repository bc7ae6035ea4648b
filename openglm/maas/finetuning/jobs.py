"""The table of jobs: read, claimed under a lease, moved from state to state by whoever holds the lease.

A node that dies loses its leases. A job under nobody's lease is taken up wherever it stood.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

from openglm.errors import NotFound
from openglm.maas.database import Database, Transaction
from openglm.maas.finetuning.job import COLUMNS, Job, from_row
from openglm.maas.ids import Clock
from openglm.maas.leases import FREE, LEASE_MS, Leases, free_but

# Work of a moment: files to check, what nobody trains any more to wind up, folders to tidy.
_ERRANDS = (
    "cleaned = 0 AND (state IN ('validating_files', 'pausing', 'cancelling')"
    " OR state IN ('succeeded', 'failed', 'cancelled'))"
)
_TRAININGS = "cleaned = 0 AND state IN ('queued', 'running')"
# What was interrupted goes on first. Then tenants take turns, though few trainings run at once: first comes
# whose last training began longest ago.
_TURNS = (
    "CASE state WHEN 'running' THEN 0 ELSE 1 END, (SELECT coalesce(max(other.started_at), 0)"
    " FROM fine_tuning_job other WHERE other.org_id = fine_tuning_job.org_id), id"
)


class Jobs:
    def __init__(self, database: Database, *, node_id: str, clock: Clock):
        self.database = database
        self.clock = clock
        self._node_id = node_id

        def leases(waits: str) -> Leases:
            return Leases(database, "fine_tuning_job", waits, columns="id", node_id=node_id, clock=clock)

        self._leases, self._errands = leases("cleaned = 0"), leases(_ERRANDS)

    async def load(self, job_id: str) -> Job:
        row = await self.database.read_one(f"SELECT {COLUMNS} FROM fine_tuning_job WHERE id = :id", id=job_id)
        if row is None:
            raise NotFound(f"no fine-tuning job {job_id!r}")
        return from_row(row)

    async def claim_errands(self, most: int, working: Iterable[str] = ()) -> Sequence[str]:
        return [row["id"] for row in await self._errands.claim(most, working=working)]

    async def claim_trainings(self, most: int, working: Iterable[str] = ()) -> Sequence[str]:
        """Of the trainings that wait, those whose turn it is."""
        if most <= 0:
            return []
        now, (free, names) = self.clock(), free_but(working)

        def take(tx: Transaction) -> Sequence[str]:
            waiting = tx.all(
                f"SELECT id FROM fine_tuning_job WHERE {_TRAININGS} AND {free} ORDER BY {_TURNS} LIMIT :most",
                me=self._node_id,
                now=now,
                most=most,
                **names,
            )
            return [
                row["id"]
                for row in waiting
                if tx.run(
                    "UPDATE fine_tuning_job SET lease_owner = :me, lease_until = :until"
                    f" WHERE id = :id AND {FREE}",
                    id=row["id"],
                    me=self._node_id,
                    until=now + LEASE_MS,
                    now=now,
                )
            ]

        return await asyncio.shield(self.database.write(take))

    def move(self, tx: Transaction, job_id: str, states: Collection[str], change: str, **values: Any) -> bool:
        """Change a job that we hold the lease of, if it is in one of those states; inside a transaction."""
        words = ", ".join(f"'{state}'" for state in states)
        return bool(
            tx.run(
                f"UPDATE fine_tuning_job SET {change}"
                f" WHERE id = :id AND lease_owner = :me AND state IN ({words})",
                id=job_id,
                me=self._node_id,
                **values,
            )
        )

    async def change(
        self,
        job_id: str,
        states: Collection[str],
        change: str,
        *,
        also: Callable[[Transaction], object] = lambda tx: None,
        **values: Any,
    ) -> bool:
        """`move`, and `also` in the same transaction if it moved."""

        def work(tx: Transaction) -> bool:
            moved = self.move(tx, job_id, states, change, **values)
            if moved:
                also(tx)
            return moved

        return await asyncio.shield(self.database.write(work, durable=True))

    async def memory_of(self, base: str) -> int:
        """What trainings of a model were seen to take at most; 0: there was none yet."""
        row = await self.database.read_one(
            "SELECT max(memory_bytes) AS most FROM fine_tuning_job WHERE base = :base", base=base
        )
        return int(row["most"] or 0) if row is not None else 0

    async def saw_memory(self, job_id: str, memory_bytes: int) -> None:
        """What a trainer took at most, for the next one of the same model."""
        await self.database.write(
            lambda tx: tx.run(
                "UPDATE fine_tuning_job SET memory_bytes = :bytes WHERE id = :id",
                id=job_id,
                bytes=memory_bytes,
            )
        )

    async def release(self, job_id: str, *, wait_ms: int = 0) -> None:
        """Give a lease up. Nobody takes the job before so much time has passed."""
        await self._leases.put_off(job_id, self.clock() + wait_ms if wait_ms else 0)

    async def renew(self, working: Collection[str]) -> dict[str, str]:
        """Prolong leases; the states of those jobs that are still ours."""
        held = await self._leases.renew(working)
        return {job_id: (await self.load(job_id)).state for job_id in sorted(held)}

    async def free_leases(self) -> None:
        await self._leases.give_up()
