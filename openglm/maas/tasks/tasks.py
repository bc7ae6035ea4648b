"""Asynchronous answers: a request is kept, run by the gateway's own road, and its answer kept for some days.

The task's id is the request id that billing sees, so a task that a dead server left behind runs again under
the same id and is charged once. Only the organisation that made a task can see it.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from openglm.asgi.body import decoded
from openglm.dialects.fields import parse_object
from openglm.errors import (
    Conflict,
    DuplicateRequest,
    InvalidRequest,
    NotFound,
    Overloaded,
    RateLimited,
    UpstreamFailure,
)
from openglm.maas.batches.refusals import refusal
from openglm.maas.database import Database, Row, Transaction
from openglm.maas.files.files import is_id
from openglm.maas.ids import Clock, new_id, wall_clock
from openglm.maas.leases import Leases, most_of
from openglm.maas.quotas.quota import check
from openglm.maas.rounds import Rounds

if TYPE_CHECKING:
    from openglm.maas.identity.caller import Caller

logger = logging.getLogger(__name__)

Keep = Callable[[Transaction, int, bytes], None]
Run = Callable[["Caller", str, bytes, str, Keep], Awaitable[tuple[int, bytes]]]
CHAT = "/v4/chat/completions"
IMAGES = "/v4/images/generations"
AGENTS = "/v4/agents"
WORDS = {CHAT: "chat", IMAGES: "images", AGENTS: "agents"}  # of an endpoint, as keys are scoped
KEEP_DAYS = 7
DAY_MS = 86_400_000
POLL_S = 2.0
TRIES = 6
LEAST_WAIT_S = 2.0  # of a task that is over its caller's limits
_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")


@dataclass(frozen=True, slots=True)
class Task:
    """One task; `answer` is the JSON that the run ended with."""

    id: str
    request_id: str
    model: str
    state: str  # PROCESSING, SUCCESS, FAIL
    answer: bytes | None
    endpoint: str = CHAT

    def wire(self) -> dict[str, Any]:
        status = {
            "id": self.id,
            "request_id": self.request_id,
            "model": self.model,
            "task_status": self.state,
        }
        if self.answer is None:
            return status
        body = msgspec.json.decode(self.answer)
        if self.state == "FAIL":
            error = body.get("error", body) if isinstance(body, dict) else body
            return {**status, "error": error}
        return {**body, **status}


class Tasks:
    """`run` answers (caller, endpoint, body, request_id, keep) as for a batch's rows."""

    def __init__(
        self,
        database: Database,
        run: Run,
        *,
        node_id: str,
        clock: Clock = wall_clock,
        tasks_at_once: int = 32,
        keep_days: int = KEEP_DAYS,
        sleep: Callable[[float], Awaitable[Any]] = asyncio.sleep,
    ):
        self._database = database
        self._run = run
        self._leases = Leases(
            database,
            "async_task",
            "state = 'PROCESSING'",
            columns="id, caller, endpoint, body",
            node_id=node_id,
            clock=clock,
        )
        self._clock = clock
        self._tasks_at_once = tasks_at_once
        self._keep_ms = keep_days * DAY_MS
        self._sleep = sleep
        self._working: dict[str, asyncio.Task[None]] = {}
        self._serving = Rounds("tasks are looked for", self._claim, POLL_S)
        self._keeping = Rounds("the leases of tasks are renewed", self._keep, POLL_S)

    async def submit(self, caller: Caller, body: bytes, endpoint: str = CHAT) -> Task:
        """Take a request in. `stream` is ignored: there is nobody to stream to."""
        fields = await decoded(parse_object, body)
        model = fields.needed_text("model")
        if endpoint == CHAT and not fields.items("messages", 100_000):
            raise fields.wrong("messages", "a list that is not empty")
        caller.may_use(model)
        now = self._clock()
        task_id = new_id("task", now)
        request_id = fields.text("request_id") or task_id
        if not _REQUEST_ID.fullmatch(request_id):
            raise InvalidRequest(
                f"request_id must be 1 to 128 printable ASCII characters, got {ascii(request_id)[:60]}",
                param="request_id",
            )
        left_out = ("stream", "stream_options", "request_id")
        kept = {name: value for name, value in fields.data.items() if name not in left_out}
        asked = msgspec.json.encode(kept)

        def insert(transaction: Transaction) -> None:
            check(transaction, caller.org_id, now, waiting_tasks=1, waiting_task_bytes=len(asked))
            made = transaction.run(
                "INSERT INTO async_task"
                " (id, org_id, request_id, caller, endpoint, model, body, state, created_at)"
                " VALUES (:id, :org, :request, :caller, :endpoint, :model, :body, 'PROCESSING', :now)"
                " ON CONFLICT (org_id, request_id) DO NOTHING",
                id=task_id,
                org=caller.org_id,
                request=request_id,
                caller=msgspec.json.encode(caller).decode(),
                endpoint=endpoint,
                model=model.replace("\0", ""),
                body=asked,
                now=now,
            )
            if not made:
                raise DuplicateRequest(f"a task with request_id {request_id!r} exists already")

        await asyncio.shield(self._database.write(insert, durable=True, lock=caller.org_id))
        self._serving.wake()
        return Task(task_id, request_id, model, "PROCESSING", None, endpoint)

    async def get(self, caller: Caller, task_id: str) -> Task:
        row = None
        if is_id(task_id):
            row = await self._database.read_one(
                "SELECT id, request_id, model, state, answer, endpoint FROM async_task"
                " WHERE id = :id AND org_id = :org",
                id=task_id,
                org=caller.org_id,
            )
        if row is None:
            raise NotFound(f"no task {task_id[:80]!r}", hint="results are kept for some days only")
        caller.may_call(WORDS[row["endpoint"]])
        return Task(*(row[name] for name in ("id", "request_id", "model", "state", "answer", "endpoint")))

    async def start(self) -> None:
        """Run tasks from now on."""
        self._serving.start(at_once=True)
        self._keeping.start()

    async def stop(self, grace_s: float = 30.0) -> None:
        """Take up no further task, wait for those that run, give the leases up."""
        await self._serving.stop()
        working = list(self._working.values())
        if working:
            await asyncio.wait(working, timeout=grace_s)
        for task in working:
            task.cancel()
        await asyncio.gather(*working, return_exceptions=True)
        await self._keeping.stop()
        await self._leases.give_up()

    async def run_pending(self) -> None:
        """Run, in this task, whatever waits now; for `glm admin` and for tests."""
        while claimed := await self._leases.claim(self._tasks_at_once):
            for row in claimed:
                await self._answer(row)

    async def forget_old(self) -> int:
        """Delete results that are past their days."""
        before = self._clock() - self._keep_ms
        return await asyncio.shield(
            self._database.write(
                lambda t: t.run(
                    "DELETE FROM async_task WHERE id IN"
                    " (SELECT id FROM async_task WHERE ended_at < :before ORDER BY id LIMIT 1000)",
                    before=before,
                )
            )
        )

    async def _claim(self) -> None:
        places = self._tasks_at_once - len(self._working)
        each = most_of(self._tasks_at_once)
        for row in await self._leases.claim(places, each=each, working=self._working):
            self._working[row["id"]] = asyncio.create_task(self._work(row))

    async def _work(self, row: Row) -> None:
        try:
            await self._answer(row)
        except Exception as error:
            # The lease runs out by itself, and then the task is tried again.
            logger.error("task %s broke off", row["id"], exc_info=error)
        finally:
            del self._working[row["id"]]
            self._serving.wake()

    async def _answer(self, row: Row) -> None:
        from openglm.maas.identity.caller import Caller

        caller = msgspec.json.decode(row["caller"], type=Caller)

        def kept(transaction: Transaction, status: int, answer: bytes, *, paid: bool) -> bool:
            return bool(
                transaction.run(
                    "UPDATE async_task SET state = :state, status = :status, answer = :answer,"
                    " body = :none, ended_at = :now WHERE id = :id AND state = 'PROCESSING'"
                    " AND (:paid = 1 OR lease_owner = :me)",
                    id=row["id"],
                    paid=int(paid),
                    me=self._leases.node_id,
                    state="SUCCESS" if status < 400 else "FAIL",
                    status=status,
                    answer=answer,
                    none=b"",  # nobody needs the request any more, and it may be large
                    now=self._clock(),
                )
            )

        def keep(transaction: Transaction, status: int, answer: bytes) -> None:
            """With the bill: what finds no place is not paid for. A commit half known may have kept it."""
            if kept(transaction, status, answer, paid=True):
                return
            there = transaction.one("SELECT answer FROM async_task WHERE id = :id", id=row["id"])
            if there is None or there["answer"] != answer:
                raise Conflict(f"the task {row['id']} has ended otherwise")

        answered = await self._try(caller, row, keep)
        if answered is None:
            return
        status, answer = answered
        # Of a refusal that nobody paid for. Who has lost the lease has nothing to say any more.
        await asyncio.shield(
            self._database.write(lambda tx: kept(tx, status, answer, paid=False), durable=True)
        )

    async def _try(self, caller: Caller, row: Row, keep: Keep) -> tuple[int, bytes] | None:
        """The answer or its refusal; None if the task waits for its caller's own limits."""
        for attempt in range(TRIES):
            try:
                return await self._run(caller, row["endpoint"], row["body"], row["id"], keep)
            except RateLimited as error:
                # Its place is for others meanwhile, and waiting is no failure.
                await self._put_off(row, max(error.retry_after_s, LEAST_WAIT_S))
                return None
            except DuplicateRequest as error:
                if not error.running:  # paid for, and the answer was not kept: asking again would bill twice
                    return refusal(error, "zhipu")
                await self._put_off(row, LEAST_WAIT_S)  # a try of before has not let go yet
                return None
            except (Overloaded, UpstreamFailure) as error:
                if attempt + 1 == TRIES:
                    return refusal(error, "zhipu")
                await self._sleep(2.0**attempt)
            except Exception as error:
                logger.info("task %s failed: %s", row["id"], error)
                return refusal(error, "zhipu")
        raise AssertionError("the last try returns")

    async def _put_off(self, row: Row, wait_s: float) -> None:
        await self._leases.put_off(row["id"], self._clock() + int(wait_s * 1000))

    async def _keep(self) -> None:
        """Prolong the leases of what runs here; forget what is old."""
        await self._leases.renew(self._working)
        await self.forget_old()
