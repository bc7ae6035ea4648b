"""Batches of a project, and the loop that works on them: each on one node at a time, under a lease.

A node that dies loses its leases once its holds are freed; then another one goes on where it stood.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from openglm.errors import Conflict, InvalidRequest, NotFound
from openglm.maas.batches.batch import COLUMNS, FROM_FILES, Batch, BatchPage, Dialect, from_row
from openglm.maas.batches.lines import ENDPOINTS
from openglm.maas.batches.worker import LeaseLost, RunRow, Worker
from openglm.maas.database import Database, Transaction
from openglm.maas.files.files import MAX_BYTES_OF, Files, Owner, is_id
from openglm.maas.ids import Clock, new_id, wall_clock
from openglm.maas.leases import Leases
from openglm.maas.quotas.quota import check, look
from openglm.maas.rounds import Rounds

if TYPE_CHECKING:
    from openglm.maas.identity.caller import Caller

logger = logging.getLogger(__name__)

POLL_S = 2.0  # how soon a node sees a batch that another node took in, or left behind
MAX_PAGE = 100
LONGEST_WINDOW_H = 7 * 24


class Batches:
    """`run_row` runs one row as the gateway runs a request, at half price. `start` begins the work."""

    def __init__(
        self,
        database: Database,
        files: Files,
        run_row: RunRow,
        *,
        node_id: str,
        clock: Clock = wall_clock,
        rows_at_once: int = 32,
        batches_at_once: int = 64,
        batches_each: int = 4,
        sleep: Callable[[float], Awaitable[Any]] = asyncio.sleep,
    ):
        self._database = database
        self._files = files
        self._leases = Leases(database, "batch", "cleaned = 0", columns="id", node_id=node_id, clock=clock)
        self._clock = clock
        self._batches_at_once = batches_at_once
        self._batches_each = batches_each  # of one organisation
        self._worker = Worker(
            database, files, run_row, owner=node_id, clock=clock, rows_at_once=rows_at_once, sleep=sleep
        )
        self._working: dict[str, asyncio.Task[None]] = {}
        self._serving = Rounds("batches are looked for", self._claim, POLL_S)
        self._renewing = Rounds("the leases of batches are renewed", self.renew, POLL_S)

    async def create(
        self,
        caller: Caller,
        *,
        input_file_id: str,
        endpoint: str,
        completion_window: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        auto_delete_input_file: bool = False,
        dialect: Dialect = "openai",
    ) -> Batch:
        """Take a batch in. Its lines are validated and counted before the first one runs."""
        if endpoint not in ENDPOINTS and dialect != "anthropic":
            raise InvalidRequest(
                f"endpoint must be one of {', '.join(ENDPOINTS)}, got {endpoint[:80]!r}",
                param="endpoint",
                code="invalid_value",
            )
        window = completion_window or "24h"
        window_length_ms(window)
        checked_metadata(metadata)
        file = await self._files.get(caller, input_file_id)
        if file.purpose != "batch":
            raise InvalidRequest(
                f"input_file_id must be a file with purpose batch, got purpose {file.purpose}",
                param="input_file_id",
                hint="upload the file again with purpose=batch",
            )
        if file.bytes > MAX_BYTES_OF["batch"]:
            raise InvalidRequest(
                f"the input must be at most {MAX_BYTES_OF['batch']} bytes, got {file.bytes}",
                param="input_file_id",
                code="file_too_large",
            )
        batch_id, insert = self._taken_in(
            caller,
            input_file_id=input_file_id,
            endpoint=endpoint,
            window=window,
            auto_delete_input=auto_delete_input_file,
            dialect=dialect,
            metadata=metadata,
        )
        await self._database.write(insert, durable=True, lock=caller.org_id)
        self._serving.wake()
        return await self.get(caller, batch_id, (dialect,))

    async def create_with(
        self, caller: Caller, content: bytes, *, name: str, endpoint: str, dialect: Dialect
    ) -> Batch:
        """Take a batch in together with its lines, which are a file that goes with it: both or none."""

        async def chunks() -> AsyncIterator[bytes]:
            yield content

        file_id = new_id("file", self._clock())
        batch_id, insert = self._taken_in(
            caller,
            input_file_id=file_id,
            endpoint=endpoint,
            window="24h",
            auto_delete_input=True,
            dialect=dialect,
            total=content.count(b"\n"),
        )
        # Whoever goes away in the middle must not take the content from a batch that is there.
        await asyncio.shield(self._files.write(caller, file_id, name, "batch", chunks(), also=insert))
        self._serving.wake()
        return await self.get(caller, batch_id, (dialect,))

    async def look_for_room(self, caller: Caller) -> None:
        """Raise where no batch with its file has room, before anything is sent."""
        await look(self._database, caller.org_id, self._clock(), open_batches=1, files=1, file_bytes=1)

    def _taken_in(
        self,
        caller: Caller,
        *,
        input_file_id: str,
        endpoint: str,
        window: str,
        auto_delete_input: bool,
        dialect: Dialect,
        metadata: Mapping[str, Any] | None = None,
        total: int = 0,
    ) -> tuple[str, Callable[[Transaction], None]]:
        """A batch's id, and what writes it down."""
        now = self._clock()
        batch_id = new_id("batch", now)
        values = {
            "id": batch_id,
            "org_id": caller.org_id,
            "project_id": caller.project_id,
            "caller": msgspec.json.encode(caller).decode(),
            "dialect": dialect,
            "endpoint": endpoint,
            "completion_window": window,
            "input_file_id": input_file_id,
            "auto_delete_input": int(auto_delete_input),
            "metadata": msgspec.json.encode(metadata).decode(),
            "state": "validating",
            "total": total,
            "output_file_id": new_id("file", now),
            "error_file_id": new_id("file", now),
            "created_at": now,
            "expires_at": now + window_length_ms(window),
        }
        names = ", ".join(values)
        places = ", ".join(f":{name}" for name in values)

        def insert(transaction: Transaction) -> None:
            # The file may be on its way out: a batch either finds it, or is refused.
            if not transaction.one("SELECT id FROM file WHERE id = :id", id=input_file_id):
                raise NotFound(f"no file {input_file_id!r}")
            # Its results find room in any case, so it begins only where there is some.
            check(transaction, caller.org_id, now, open_batches=1, files=1, file_bytes=1)
            transaction.run(f"INSERT INTO batch ({names}) VALUES ({places})", **values)

        return batch_id, insert

    async def get(self, owner: Owner, batch_id: str, dialects: Sequence[Dialect] = FROM_FILES) -> Batch:
        if not is_id(batch_id):
            raise no_batch(batch_id)
        row = await self._database.read_one(
            f"SELECT {COLUMNS} FROM batch WHERE id = :id AND org_id = :org AND project_id = :project"
            f" AND dialect IN ({_listed(dialects)})",
            id=batch_id,
            org=owner.org_id,
            project=owner.project_id,
        )
        if row is None:
            raise no_batch(batch_id)
        return from_row(row)

    async def list(
        self,
        owner: Owner,
        *,
        limit: int = 20,
        after: str | None = None,
        before: str | None = None,
        dialects: Sequence[Dialect] = FROM_FILES,
        largest: int = MAX_PAGE,
    ) -> BatchPage:
        """A page of batches, newest first: those that follow `after`, or those that stand right `before`."""
        if not 1 <= limit <= largest:
            raise InvalidRequest(f"limit must be from 1 to {largest}, got {limit}", param="limit")
        check_id("after", after)
        check_id("before", before)
        side, order = ("id > :edge", "ASC") if before else ("id < :edge", "DESC")
        rows = await self._database.read(
            f"SELECT {COLUMNS} FROM batch WHERE org_id = :org AND project_id = :project"
            f" AND dialect IN ({_listed(dialects)}) AND {side} ORDER BY id {order} LIMIT :most",
            org=owner.org_id,
            project=owner.project_id,
            edge=before or after or "batch_g",  # past every id: their digits end with f
            most=limit + 1,
        )
        found = [from_row(row) for row in rows[:limit]]
        return BatchPage(found[::-1] if before else found, len(rows) > limit)

    async def cancel(self, owner: Owner, batch_id: str, dialects: Sequence[Dialect] = FROM_FILES) -> Batch:
        """Run no further row. What has an answer stays and is charged; the rest is not."""
        batch = await self.get(owner, batch_id, dialects)

        def update(transaction: Transaction) -> int:
            return transaction.run(
                "UPDATE batch SET state = 'cancelling', cancelling_at = :now"
                " WHERE id = :id AND state IN ('validating', 'in_progress')",
                id=batch.id,
                now=self._clock(),
            )

        changed = await self._database.write(update, durable=True)
        batch = await self.get(owner, batch_id, dialects)
        if not changed and batch.state not in ("cancelling", "cancelled"):
            raise Conflict(f"a batch that is {batch.state} cannot be cancelled")
        self._worker.cancelled.add(batch.id)
        self._serving.wake()
        return batch

    async def delete(self, owner: Owner, batch_id: str, dialects: Sequence[Dialect] = FROM_FILES) -> None:
        """Forget a batch that has ended, with its results, and its input if that goes with it."""
        batch = await self.get(owner, batch_id, dialects)
        if not batch.over:
            raise Conflict(f"a batch that is {batch.state} cannot be deleted", hint="cancel it, or wait")
        for there, file_id in (
            (batch.auto_delete_input, batch.input_file_id),
            (batch.has_output, batch.output_file_id),
            (batch.has_errors, batch.error_file_id),
        ):
            if there:
                with contextlib.suppress(NotFound):  # the owner deleted it before
                    await self._files.delete(owner, file_id)
        await self._database.write(
            lambda t: t.run("DELETE FROM batch WHERE id = :id", id=batch.id), durable=True
        )

    async def start(self) -> None:
        """Work on batches from now on."""
        self._serving.start(at_once=True)
        self._renewing.start()

    async def stop(self, grace_s: float = 30.0) -> None:
        """Start no further row, wait for those that run, give the leases up."""
        self._worker.stopping = True
        await self._serving.stop()
        working = list(self._working.values())
        if working:
            await asyncio.wait(working, timeout=grace_s)
        for task in working:
            task.cancel()
        await asyncio.gather(*working, return_exceptions=True)
        await self._renewing.stop()
        await self._leases.give_up()

    async def run_pending(self) -> None:
        """Work, in this task, on whatever waits now; for `glm admin` and for tests."""
        while claimed := await self._leases.claim(self._batches_at_once):
            for row in claimed:
                await self._worker.work(row["id"])

    async def _claim(self) -> None:
        places = self._batches_at_once - len(self._working)
        for row in await self._leases.claim(places, each=self._batches_each, working=self._working):
            self._working[row["id"]] = asyncio.create_task(self._work(row["id"]))

    async def _work(self, batch_id: str) -> None:
        try:
            await self._worker.work(batch_id)
        except LeaseLost:
            logger.warning("batch %s went to another node", batch_id)
        except Exception as error:
            # The lease runs out by itself, and then the batch is tried again.
            logger.error("batch %s broke off", batch_id, exc_info=error)
        finally:
            del self._working[batch_id]
            self._serving.wake()

    async def renew(self) -> None:
        """Prolong the leases of what we work on, hear of cancelled batches, drop what went to others."""
        working = list(self._working)
        if not working:
            return
        held = await self._leases.renew(working)
        stopped = await self._database.read(
            "SELECT id FROM batch WHERE lease_owner = :me AND state = 'cancelling'", me=self._leases.node_id
        )
        self._worker.cancelled &= set(self._working)
        for batch_id in working:
            if batch_id not in held and batch_id in self._working:
                self._working[batch_id].cancel()
        self._worker.cancelled |= {row["id"] for row in stopped} & set(self._working)


def check_id(name: str, given: str | None) -> None:
    if given and not is_id(given):
        raise InvalidRequest(f"{name} must be the id of a batch, got {given[:40]!r}", param=name)


def _listed(dialects: Sequence[Dialect]) -> str:
    return ", ".join(f"'{dialect}'" for dialect in dialects)


def window_length_ms(window: str) -> int:
    found = re.fullmatch(r"([1-9]\d{0,2})([hd])", window)
    hours = int(found[1]) * (24 if found[2] == "d" else 1) if found else 0
    if not 1 <= hours <= LONGEST_WINDOW_H:
        raise InvalidRequest(
            f"completion_window must be hours or days up to 7d, such as 24h, got {window[:20]!r}",
            param="completion_window",
            code="invalid_value",
        )
    return hours * 3_600_000


def checked_metadata(metadata: Mapping[str, Any] | None) -> None:
    """Up to 16 pairs of short texts."""
    pairs = metadata or {}
    if len(pairs) > 16:
        raise InvalidRequest(f"metadata must have at most 16 pairs, got {len(pairs)}", param="metadata")
    for name, value in pairs.items():
        if not isinstance(value, str) or len(value) > 512 or len(name) > 64:
            raise InvalidRequest(
                f"metadata {name[:64]!r} must be a text of at most 512 characters under a name of at most 64",
                param=f"metadata.{name[:64]}",
            )


def no_batch(batch_id: str) -> NotFound:
    return NotFound(f"no batch {batch_id[:80]!r}", hint="list the batches of this project to see their ids")
