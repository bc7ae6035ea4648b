"""One attempt at a training, by the node that holds the job's lease: room, money, the trainer, and the end.

An attempt that breaks off leaves the job where its trainer's last checkpoint is, with nothing charged. The
transaction that ends a job also settles its bill and adds its model.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from openglm.errors import (
    BudgetExhausted,
    DuplicateRequest,
    Forbidden,
    InvalidRequest,
    NotFound,
    OpenGLMError,
    Overloaded,
    PaymentRequired,
    Unauthorized,
)
from openglm.maas.database import Transaction
from openglm.maas.finetuning import events
from openglm.maas.finetuning.bill import Bill
from openglm.maas.finetuning.folder import Folder
from openglm.maas.finetuning.job import Job
from openglm.maas.finetuning.jobs import Jobs
from openglm.maas.finetuning.prepare import BAD_INPUT, Plan, Refused, prepare, refused
from openglm.maas.finetuning.publish import add_model, write_result
from openglm.maas.finetuning.trainer import Life, Trainer

if TYPE_CHECKING:
    from openglm.maas.files.files import Files
    from openglm.maas.identity.caller import Caller
    from openglm.maas.models import Models
    from openglm.maas.money import Billing, Receipt
    from openglm.maas.servers import Servers

logger = logging.getLogger(__name__)

SCOPE = "fine_tuning"  # of keys
TRIES = 3  # starts without one more step in between, after which a job is given up
WAIT_MS = 10_000  # until a job that has no room, or whose last hold is not free yet, is looked at again
UNPAID_MS = 60_000  # until the bill of a cancelled job is tried again
RETRY_MS = 5_000
_MONEY = (PaymentRequired, BudgetExhausted)
_OPEN = ("queued", "running")
_FREE = "lease_owner = NULL, lease_until = 0"


@dataclass(frozen=True, slots=True)
class Means:
    """What every attempt of a node works with."""

    jobs: Jobs
    files: Files
    billing: Billing
    models: Models
    servers: Servers
    trainer: Sequence[str]  # `glm train`, or what keeps its contract; recipe and flags are added
    stop_s: float  # for a step and a checkpoint, before a trainer is killed
    settled: Callable[[str, Receipt], None]
    still: Callable[[Caller], Awaitable[Caller]]  # the caller of a job as their key stands now


class Attempt:
    """`run` once. `stop` ends it in order: the job's state says whether it pauses, is cancelled or waits."""

    def __init__(self, job: Job, folder: Folder, means: Means):
        self._job = job
        self._folder = folder
        self._means = means
        self._jobs = means.jobs
        self._bill = Bill(means.billing, job, means.jobs.clock)
        self._trainer = Trainer(means.trainer, folder.recipe, stop_s=means.stop_s)
        self._lock: int | None = None  # the open file that locks the folder
        self._began: tuple[int, int] | None = None  # when the first row came, and its step

    def stop(self) -> None:
        self._trainer.stop()

    async def run(self) -> None:
        try:
            await self._run()
        except (OpenGLMError, OSError) as error:
            logger.error("the training %s broke off", self._job.id, exc_info=error)
            await self._again(f"it broke off: {type(error).__name__}")
        finally:
            await asyncio.shield(self.let_go())

    async def let_go(self) -> None:
        """Of everything that was taken and not used up: memory, folder, money, lease."""
        self._means.servers.taken(self._name)
        if self._lock is not None:
            os.close(self._lock)
        await self._bill.void()
        await self._jobs.release(self._job.id)

    @property
    def _name(self) -> str:
        return f"the training {self._job.id}"

    async def _run(self) -> None:
        job = self._job
        if job.tries >= TRIES:
            await self.fail("training_failed", f"the training broke off {job.tries} times at the same step")
            return
        try:
            await self.check_rights()
        except (Unauthorized, Forbidden) as error:
            await self._pause(error)
            return
        plan = await self.prepare()
        if plan is None or not await self._hold(plan):
            return
        await self._catch_up()
        word = "the training begins" if job.started_at is None else "the training goes on"
        if await self._jobs.change(
            job.id,
            _OPEN,
            "state = 'running', tries = tries + 1, started_at = coalesce(started_at, :now)",
            also=lambda tx: self._tell(tx, word),
            now=self._jobs.clock(),
        ):
            assert self._lock is not None, "it came with the plan"
            await self._end(await self._trainer.live(self._lock, self._row))

    async def check_rights(self) -> None:
        """Raise Unauthorized or Forbidden where the job's key has ended, or may not do this any more."""
        caller = await self._means.still(self._job.who())
        caller.may_call(SCOPE)
        caller.may_use(self._job.model)

    async def prepare(self) -> Plan | None:
        """The folder's lock, files and plan; None where the job waits, or has ended."""
        model = next((model for model in self._means.models.local if model.name == self._job.base), None)
        if model is None:
            await self.fail("model_not_available", f"{self._job.base!r} is not trained here any more")
            return None
        try:
            self._lock = self._folder.lock()
            return await prepare(self._means, self._job, self._folder, model, self._lock)
        except Overloaded as error:
            await self._wait(error.message)
        except NotFound as error:
            await self.fail("file_gone", error.message)
        except Refused as error:
            await self._refused(error)
        return None

    async def _catch_up(self) -> None:
        """Note what the trainer logged and we did not live to hear."""
        for row in await asyncio.to_thread(self._folder.rows):
            await self._note(row, heard=False)

    async def _hold(self, plan: Plan) -> bool:
        """Room in memory, then money. False: the job waits, or has ended."""
        job = self._job
        try:
            memory = max(plan.memory_bytes, await self._jobs.memory_of(job.base))
            await self._means.servers.promise(self._name, memory)
            await self._bill.open(max(plan.tokens, job.trained_tokens))
        except Overloaded as error:
            await self._wait(error.message)
        except DuplicateRequest:
            await self._jobs.release(job.id, wait_ms=WAIT_MS)
        except _MONEY as error:
            await self._unpaid(error)
        except InvalidRequest as error:  # there is no price for training any more
            await self.fail(error.code, error.message, param=error.param)
        else:
            return True
        return False

    async def _row(self, row: dict[str, Any]) -> None:
        self._means.servers.taken(self._name)
        await self._note(row, heard=True)

    async def _note(self, row: dict[str, Any], *, heard: bool) -> None:
        """Tell a step, once; a new one shows that the job gets on. `heard`: it has just been trained."""
        now = self._jobs.clock()
        figures, message = events.figures_of(row)
        expected = self._expected_end(row, now, figures) if heard else None

        def work(tx: Transaction) -> None:
            if events.tell(tx, self._job.id, now, message, figures=figures):
                self._jobs.move(
                    tx,
                    self._job.id,
                    ("queued", "running", "pausing", "cancelling"),
                    "tries = 0, expected_end_at = :expected, trained_tokens = :tokens",
                    expected=expected,
                    tokens=row["tokens"],
                )

        await self._jobs.database.write(work)

    def _expected_end(self, row: dict[str, Any], now: int, figures: dict[str, Any]) -> int | None:
        """By the pace since this attempt's first row; into the figures, too."""
        if self._began is None:
            self._began = (now, row["step"])
        began_at, first = self._began
        if row["step"] == first:
            return None
        left = int((now - began_at) / (row["step"] - first) * (row["total_steps"] - row["step"]))
        figures |= {"elapsed_s": (now - began_at) // 1000, "remaining_s": left // 1000}
        return now + left

    async def _end(self, life: Life) -> None:
        """What the job is after its trainer has ended."""
        await self._jobs.saw_memory(self._job.id, life.memory_bytes)
        job = await self._jobs.load(self._job.id)
        if job.ended_at:
            return
        done = life.trained_tokens
        if job.state == "cancelling":
            await self.cancelled(job.trained_tokens if done is None else done)
        elif done is not None and self._folder.has_adapter:
            await self._catch_up()
            await self._succeeded(job, done)
        elif job.state == "pausing":
            await self.paused()
        elif life.code == BAD_INPUT:
            await self._refused(refused(life.last_words(), self._folder))
        elif life.stopped:
            await self._jobs.change(
                job.id,
                ("running",),
                "state = 'queued', tries = 0",
                also=lambda tx: self._tell(tx, "interrupted; it goes on from its last checkpoint"),
            )
        else:
            logger.error("the trainer of %s ended with %d: %s", job.id, life.code, life.last_words())
            await self._again(f"the trainer ended with {life.code}")

    async def _succeeded(self, job: Job, tokens: int) -> None:
        """The model, its bill and the job's end, all in one transaction."""
        points = await events.curve(self._jobs.database, job.id)
        result_id = await write_result(self._means.files, job, points, self._jobs.clock())

        def end(tx: Transaction) -> None:
            now = self._jobs.clock()
            name = add_model(tx, job, self._folder, now)
            if not self._jobs.move(
                tx,
                job.id,
                ("running", "pausing"),
                "state = 'succeeded', ended_at = :now, expected_end_at = NULL, trained_tokens = :tokens,"
                f" fine_tuned_model = :model, result_file_id = :result, {_FREE}",
                now=now,
                tokens=tokens,
                model=name,
                result=result_id,
            ):
                raise _Moved
            self._tell(tx, f"the model {name} is ready; {tokens} tokens were trained")

        try:
            await self._settle(tokens, end)
        except _Moved:  # cancelled in the last moment, or taken over by another node
            await self._means.files.delete(job, result_id)
            await self.cancelled(tokens)
        else:
            await self._means.models.reload()

    async def cancelled(self, tokens: int) -> None:
        """The end of a job that is being cancelled: what was trained is charged."""

        def end(tx: Transaction) -> None:
            if not self._jobs.move(
                tx,
                self._job.id,
                ("cancelling",),
                "state = 'cancelled', ended_at = :now, expected_end_at = NULL, trained_tokens = :tokens,"
                f" {_FREE}",
                now=self._jobs.clock(),
                tokens=tokens,
            ):
                raise _Moved
            self._tell(tx, f"the job was cancelled; {tokens} tokens were trained")

        try:
            if tokens == 0:
                await self._jobs.database.write(end, durable=True)
                return
            if not self._bill.is_open:
                await self._bill.open(tokens)
            await self._settle(tokens, end)
        except (*_MONEY, DuplicateRequest) as error:  # nothing is handed out, so the bill can wait
            logger.info("the bill of the cancelled job %s waits: %s", self._job.id, error.message)
            await self._jobs.release(self._job.id, wait_ms=UNPAID_MS)
        except _Moved:
            logger.warning("the job %s went to another node", self._job.id)

    async def _settle(self, tokens: int, end: Callable[[Transaction], None]) -> None:
        self._means.settled(self._job.base, await self._bill.settle(tokens, end))

    async def paused(self) -> None:
        await self._jobs.change(
            self._job.id,
            ("pausing",),
            f"state = 'paused', expected_end_at = NULL, {_FREE}",
            also=lambda tx: self._tell(tx, "the job is paused"),
        )

    async def fail(self, code: str, message: str, *, param: str | None = None) -> None:
        """Ended by an error: nothing is charged."""
        error = {"code": code, "message": message, "param": param}
        await self._jobs.change(
            self._job.id,
            ("validating_files", *_OPEN, "pausing"),
            f"state = 'failed', ended_at = :now, expected_end_at = NULL, error = :error, {_FREE}",
            also=lambda tx: self._tell(tx, message, level="error"),
            now=self._jobs.clock(),
            error=msgspec.json.encode(error).decode(),
        )

    async def _refused(self, error: Refused) -> None:
        if error.of_data:
            await self.fail("invalid_training_file", error.message, param="training_file")
        else:
            await self.fail("training_refused", error.message)

    async def _unpaid(self, error: OpenGLMError) -> None:
        """No money to begin ends a job; no money to go on pauses it, so that what was trained is not lost."""
        if not self._job.trained_tokens:
            word = "insufficient_quota" if isinstance(error, PaymentRequired) else "budget_exhausted"
            await self.fail(word, error.message)
            return
        await self._pause(error)

    async def _pause(self, error: OpenGLMError) -> None:
        """For a reason that passes, while nothing is trained."""
        message = f"the job is paused and can be resumed: {error.message}"
        await self._jobs.change(
            self._job.id,
            _OPEN,
            f"state = 'paused', expected_end_at = NULL, {_FREE}",
            also=lambda tx: self._tell(tx, message, level="warn"),
        )

    async def _wait(self, why: str) -> None:
        """Back into the queue for a while; told once, not at each look."""
        message = f"the job waits: {why}"
        seen, _ = await events.page(self._jobs.database, self._job.id, limit=1)
        if not seen or not seen[0].message.startswith("the job waits"):
            await self._jobs.change(
                self._job.id, _OPEN, "state = 'queued'", also=lambda tx: self._tell(tx, message)
            )
        await self._jobs.release(self._job.id, wait_ms=WAIT_MS)

    async def _again(self, why: str) -> None:
        await self._jobs.change(
            self._job.id,
            _OPEN,
            "state = 'queued', expected_end_at = NULL",
            also=lambda tx: self._tell(tx, f"{why}; it is tried again", level="warn"),
        )
        await self._jobs.release(self._job.id, wait_ms=RETRY_MS)

    def _tell(self, tx: Transaction, message: str, *, level: events.Level = "info") -> None:
        events.tell(tx, self._job.id, self._jobs.clock(), message, level=level)


class _Moved(Exception):
    """The job is not what the transaction was for; nothing of it was written."""
