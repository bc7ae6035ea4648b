"""One batch from validation to its result files. Every step is durable, so another worker can go on.

Rows run side by side; a row that has an answer is never run again, and a row without one is run under the
same request id as before, so that billing can tell. Only the holder of the lease changes a batch's state.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from openglm.errors import (
    Conflict,
    DuplicateRequest,
    NotFound,
    OpenGLMError,
    Overloaded,
    RateLimited,
    UpstreamFailure,
)
from openglm.maas.batches.batch import COLUMNS, FROM_FILES, Batch, Fault, from_row
from openglm.maas.batches.lines import Line, LineReader, TooMuch, body_of, read_lines, spoken
from openglm.maas.batches.refusals import refusal
from openglm.maas.batches.rows import (
    add_rows,
    has_answer,
    record_row,
    request_id_of,
    result_lines,
    waiting_lines,
)
from openglm.maas.database import Database, Transaction
from openglm.maas.files.files import Files
from openglm.maas.ids import Clock
from openglm.maas.leases import most_of
from openglm.maas.limits import FairQueue

if TYPE_CHECKING:
    from openglm.maas.identity.caller import Caller

logger = logging.getLogger(__name__)

Keep = Callable[[Transaction, int, bytes], None]
RunRow = Callable[["Caller", str, bytes, str, Keep], Awaitable[tuple[int, bytes]]]
"""(caller, endpoint, body, request_id, keep) -> (status, JSON). Calls `keep` in the transaction that settles
the row's bill. Raises RateLimited, Overloaded or UpstreamFailure, with nothing charged, when the same row may
succeed later."""
PAGE = 256  # rows looked up at once
PART = 1 << 20  # bytes of an input held at once
TRIES = 8  # at a row whose failure may pass
LONGEST_WAIT_S = 60.0
LOOK_AGAIN_S = 2.0  # at a row that somebody else still runs
SHOWN_FAULTS = 100  # the error file has all of them
INTERRUPTED = msgspec.json.encode(
    {
        "error": {
            "message": "the server stopped after this row was answered and before the answer was kept",
            "type": "conflict",
            "code": "interrupted",
            "param": None,
        }
    }
)
UNRUN = {
    "expired": ("batch_expired", "the batch ran out of its completion window before this row ran"),
    "cancelled": ("batch_cancelled", "the batch was cancelled before this row ran"),
    "completed": ("not_run", "this row did not run"),
}


def _record(request_id: str, transaction: Transaction, status: int, answer: bytes) -> None:
    """With the bill: what finds no place is not paid for. A commit half known may have kept it."""
    if not record_row(transaction, request_id, status, answer) and not has_answer(
        transaction, request_id, answer
    ):
        raise Conflict(f"the row {request_id} has ended otherwise")


class Worker:
    """Works on batches that `owner` holds leases on. `rows_at_once` bounds all together: organisations
    take turns, and none has every place."""

    def __init__(
        self,
        database: Database,
        files: Files,
        run_row: RunRow,
        *,
        owner: str,
        clock: Clock,
        rows_at_once: int,
        sleep: Callable[[float], Awaitable[Any]] = asyncio.sleep,
    ):
        self._database = database
        self._files = files
        self._run_row = run_row
        self._owner = owner
        self._clock = clock
        self._rows_at_once = rows_at_once
        self._places = FairQueue(
            rows_at_once, each=most_of(rows_at_once), most_waiting=None, longest_wait_s=None
        )
        self._sleep = sleep
        self.stopping = False
        self.cancelled: set[str] = set()  # batches that somebody cancelled while we work on them

    async def work(self, batch_id: str) -> None:
        """Go on with a batch from wherever it stands, to its end or until told to stop."""
        batch = await self._load(batch_id)
        if batch.state == "validating":
            batch = await self._validate(batch)
        if batch.state == "in_progress":
            await self._run_rows(batch)
            if self.stopping:
                return
        if not batch.ended:
            batch = await self._wind_up(batch)
        if not batch.ended:
            batch = await self._write_results(batch)
        await self._clean(batch)

    async def _load(self, batch_id: str) -> Batch:
        row = await self._database.read_one(f"SELECT {COLUMNS} FROM batch WHERE id = :id", id=batch_id)
        if row is None:
            raise NotFound(f"no batch {batch_id!r}")
        return from_row(row)

    async def _change(self, batch: Batch, state: str, change: str, **values: Any) -> Batch:
        """Move a batch on if it still is in `state` and ours; whatever holds now is returned."""
        await self._set(batch, state, change, **values)
        return await self._load(batch.id)

    async def _set(self, batch: Batch, state: str, change: str, **values: Any) -> None:
        def update(transaction: Transaction) -> None:
            transaction.run(
                f"UPDATE batch SET {change} WHERE id = :id AND lease_owner = :owner AND state = :state",
                id=batch.id,
                owner=self._owner,
                state=state,
                **values,
            )

        await self._database.write(update, durable=True)

    async def _validate(self, batch: Batch) -> Batch:
        reader = LineReader(batch.endpoint, batch.dialect)
        faults: list[Fault] = []
        await self._drop_rows(batch.id)  # of a validation that broke off
        try:
            _, content = await self._files.content(batch, batch.input_file_id)
            async for found in read_lines(reader, content):
                lines = [line for line in found if isinstance(line, Line)]
                faults += [fault for fault in found if isinstance(fault, Fault)]
                if lines and not faults:
                    await self._database.write(partial(add_rows, batch_id=batch.id, lines=lines))
        except TooMuch as much:
            faults.append(much.fault)
        except NotFound:
            faults.append(Fault("input_file_gone", "the input file was deleted"))
        if not reader.rows and not faults:
            faults.append(Fault("empty_file", "the input file has no lines"))
        if faults:
            return await self._refuse(batch, faults)
        return await self._change(
            batch,
            "validating",
            "state = 'in_progress', in_progress_at = :now, total = :total",
            now=self._clock(),
            total=reader.rows,
        )

    async def _refuse(self, batch: Batch, faults: list[Fault]) -> Batch:
        """Nothing of a file with bad lines runs, so nothing is charged. The error file names every one."""

        async def lines() -> AsyncIterator[bytes]:
            for at in range(0, len(faults), PAGE):
                page = faults[at : at + PAGE]
                yield b"".join(
                    msgspec.json.encode({"custom_id": None, "response": None, "error": fault.wire()}) + b"\n"
                    for fault in page
                )

        await self._files.write(
            batch, batch.error_file_id, f"{batch.id}_error.jsonl", "batch_output", lines()
        )
        return await self._change(
            batch,
            "validating",
            "state = 'failed', ended_at = :now, errors = :errors, has_errors = 1",
            now=self._clock(),
            errors=msgspec.json.encode([fault.wire() for fault in faults[:SHOWN_FAULTS]]).decode(),
        )

    async def _run_rows(self, batch: Batch) -> None:
        caller = batch.who()
        bodies = Bodies(self._files, batch)
        todo = self._todo(batch)
        turn = asyncio.Lock()

        async def runner() -> None:
            while True:
                async with turn:
                    line = await anext(todo, None)
                if line is None:
                    return
                await self._row(batch, caller, bodies, line)

        async with asyncio.TaskGroup() as group:
            for _ in range(self._rows_at_once):
                group.create_task(runner())

    @asynccontextmanager
    async def _place(self, org_id: str) -> AsyncIterator[None]:
        await self._places.enter(org_id)
        try:
            yield
        finally:
            self._places.leave(org_id)

    def _over(self, batch: Batch) -> bool:
        return self.stopping or batch.id in self.cancelled or self._clock() >= batch.expires_at

    async def _todo(self, batch: Batch) -> AsyncIterator[Line]:
        """Rows without an answer."""
        after = 0
        while not self._over(batch):
            lines = await waiting_lines(self._database, batch.id, after, PAGE)
            if not lines:
                return
            after = lines[-1].number
            for line in lines:
                if self._over(batch):
                    return
                yield line

    async def _row(self, batch: Batch, caller: Caller, bodies: Bodies, line: Line) -> None:
        request_id = request_id_of(batch.id, line.number)
        answered = await self._answer(batch, caller, bodies, line, request_id)
        if answered is not None:
            status, answer = answered
            # An answer in hand is kept, also by a worker that is told to stop.
            await asyncio.shield(
                self._database.write(
                    lambda tx: record_row(tx, request_id, status, answer, owner=self._owner), durable=True
                )
            )

    async def _answer(
        self, batch: Batch, caller: Caller, bodies: Bodies, line: Line, request_id: str
    ) -> tuple[int, bytes] | None:
        """A row's answer or its refusal; None if the batch is over before there is one."""
        tries = 0
        while True:
            async with self._place(batch.org_id):
                if self._over(batch):
                    return None
                # Who has a place has a body. If it cannot be read, that is no answer to the row.
                body = await bodies.of(line)
                try:
                    return await self._try(batch, caller, body, request_id)
                except _StillRunning:
                    wait_s = LOOK_AGAIN_S
                except (RateLimited, Overloaded, UpstreamFailure) as error:
                    if tries + 1 == TRIES:
                        return refusal(error, batch.dialect)
                    wait_s = min(2.0**tries, LONGEST_WAIT_S)
                    tries += 1
                except OpenGLMError as error:
                    return refusal(error, batch.dialect)
                except Exception as error:
                    logger.error("batch row %s failed", request_id, exc_info=error)
                    return refusal(error, batch.dialect)
            del body  # its room and its place are for others meanwhile
            await self._sleep(wait_s)

    async def _try(self, batch: Batch, caller: Caller, body: bytes, request_id: str) -> tuple[int, bytes]:
        endpoint, keep = spoken(batch.endpoint, batch.dialect), partial(_record, request_id)
        try:
            return await self._run_row(caller, endpoint, body, request_id, keep)
        except DuplicateRequest as error:
            if error.running:
                raise _StillRunning from None
            # A server died between the bill and the answer; asking again would bill twice.
            return 409, INTERRUPTED

    async def _wind_up(self, batch: Batch) -> Batch:
        """Decide what the batch will be. From here on no row runs."""
        if batch.ending:
            return batch
        late = self._clock() >= batch.expires_at and await waiting_lines(self._database, batch.id, 0, 1)
        batch = await self._change(
            batch,
            "in_progress",
            "state = 'finalizing', ending = :ending, finalizing_at = :now",
            ending="expired" if late else "completed",
            now=self._clock(),
        )
        if batch.state == "cancelling":
            batch = await self._change(batch, "cancelling", "ending = 'cancelled'")
        return batch

    async def _write_results(self, batch: Batch) -> Batch:
        if batch.ending is None or batch.lease_owner != self._owner:
            raise LeaseLost(batch.id)
        unrun = UNRUN[batch.ending]
        waiting = bool(await waiting_lines(self._database, batch.id, 0, 1))
        for good, file_id, wanted in (
            (True, batch.output_file_id, batch.completed > 0),
            (False, batch.error_file_id, batch.failed > 0 or waiting),
        ):
            if wanted:
                name = f"{batch.id}_{'output' if good else 'error'}.jsonl"
                lines = result_lines(self._database, batch.id, good=good, unrun=unrun)
                await self._files.write(batch, file_id, name, "batch_output", lines)
        return await self._change(
            batch,
            batch.state,
            "state = ending, ended_at = :now, has_output = :output, has_errors = :errors",
            now=self._clock(),
            output=int(batch.completed > 0),
            errors=int(batch.failed > 0 or waiting),
        )

    async def _clean(self, batch: Batch) -> None:
        """Forget the rows of a batch that has ended, and its input if its owner asked for that."""
        if not batch.ended:
            raise LeaseLost(batch.id)
        await self._drop_rows(batch.id)
        if batch.auto_delete_input and (batch.state == "completed" or batch.dialect not in FROM_FILES):
            try:
                await self._files.delete(batch, batch.input_file_id)
            except OpenGLMError as error:
                logger.info("batch %s keeps its input: %s", batch.id, error.message)
        # From then on its owner may delete it: nothing of it is read again.
        await self._set(batch, batch.state, "cleaned = 1, lease_until = 0")
        self.cancelled.discard(batch.id)

    async def _drop_rows(self, batch_id: str) -> None:
        """In pieces, so that nobody waits long for the writer."""
        while await self._database.write(
            lambda t: t.run(
                "DELETE FROM batch_row WHERE batch_id = :id AND number IN"
                " (SELECT number FROM batch_row WHERE batch_id = :id ORDER BY number LIMIT 5000)",
                id=batch_id,
            )
        ):
            pass


class Bodies:
    """Of a batch's rows, read from its input some at a time."""

    def __init__(self, files: Files, batch: Batch):
        self._files = files
        self._batch = batch
        self._at = 0
        self._part = b""  # of the input, from `_at`
        self._turn = asyncio.Lock()

    async def of(self, line: Line) -> bytes:
        async with self._turn:
            end = line.line_at + line.line_bytes
            if self._at <= line.line_at and end <= self._at + len(self._part):
                return body_of(line, self._part, self._at)
            if line.line_at < self._at or line.line_bytes > PART:
                # Tried again, or too large to keep for others: what comes next stays where it is.
                return body_of(line, await self._read(line.line_at, line.line_bytes), line.line_at)
            self._part = await self._read(line.line_at, PART)
            self._at = line.line_at
            return body_of(line, self._part, self._at)

    async def _read(self, start: int, length: int) -> bytes:
        return await self._files.part(self._batch, self._batch.input_file_id, start, length)


class _StillRunning(Exception):
    """Somebody else runs the row and has not let go yet."""


class LeaseLost(Exception):
    """Another node works on the batch now."""
