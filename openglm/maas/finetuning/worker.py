"""The loop that works on fine-tuning jobs: files are checked at once, trainings run so many at a time.

It survives being killed at any point: each step is one transaction of whoever holds the job's lease, and the
trainer's checkpoints and figures are files. What is left of a job is tidied when it has ended.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from openglm.errors import Forbidden, NotFound, OpenGLMError, Unauthorized
from openglm.maas.database import Transaction
from openglm.maas.finetuning import events
from openglm.maas.finetuning.attempt import RETRY_MS, TRIES, Attempt, Means
from openglm.maas.finetuning.examples import LEAST_EXAMPLES, ExampleReader, Fault, read_examples
from openglm.maas.finetuning.folder import Folder
from openglm.maas.finetuning.hyperparameters import Hyperparameters
from openglm.maas.finetuning.job import ENDED, Job
from openglm.maas.rounds import Rounds

logger = logging.getLogger(__name__)

TRAINER = (sys.executable, "-m", "openglm.cli", "train")
POLL_S = 2.0
ERRANDS_AT_ONCE = 4


class Worker:
    """`at_once`: trainings that run side by side on this machine; 0 trains nothing here."""

    def __init__(self, means: Means, *, data: Path, at_once: int = 1):
        self._means = means
        self._jobs = means.jobs
        self._data = data
        self._at_once = at_once
        self._errands: dict[str, asyncio.Task[None]] = {}
        self._trainings: dict[str, asyncio.Task[None]] = {}
        self._attempts: dict[str, Attempt] = {}
        self._serving = Rounds("fine-tuning jobs are looked for", self._claim, POLL_S)
        self._renewing = Rounds("the leases of fine-tuning jobs are renewed", self.renew, POLL_S)
        self._stopping = False

    async def start(self) -> None:
        self._serving.start(at_once=True)
        self._renewing.start()

    async def stop(self, grace_s: float = 20.0) -> None:
        """End trainers in order, or kill them; their jobs go on at the next start."""
        self._stopping = True
        await self._serving.stop()
        for attempt in self._attempts.values():
            attempt.stop()
        tasks = [*self._errands.values(), *self._trainings.values()]
        if tasks:
            await asyncio.wait(tasks, timeout=grace_s)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._renewing.stop()
        await self._jobs.free_leases()

    async def run_pending(self) -> None:
        """Work, in this task, on whatever waits now; for tests."""
        while True:
            errands = await self._jobs.claim_errands(ERRANDS_AT_ONCE)
            for job_id in errands:
                await self._errand(job_id)
            trainings = await self._jobs.claim_trainings(1 if self._at_once else 0)
            for job_id in trainings:
                await self._train(job_id)
            if not errands and not trainings:
                return

    def wake(self, job_id: str | None = None) -> None:
        """Somebody made a job, or changed what is to become of one."""
        if job_id in self._attempts:
            self._attempts[job_id].stop()
        self._serving.wake()

    async def renew(self) -> None:
        """Prolong the leases of what runs here; hear of jobs to pause or cancel; drop what went to others."""
        tasks = {**self._errands, **self._trainings}
        held = await self._jobs.renew(tasks)
        for job_id, task in tasks.items():
            if job_id not in held:
                task.cancel()
            elif job_id in self._attempts:
                await self._look_after(job_id, self._attempts[job_id], held[job_id])

    async def _look_after(self, job_id: str, attempt: Attempt, state: str) -> None:
        """Stop what is to pause or to end, and what nobody has the right to any more."""
        if state == "running":
            try:
                await attempt.check_rights()
                return
            except (Unauthorized, Forbidden) as error:
                message = f"the job is paused and can be resumed: {error.message}"
            await self._jobs.change(
                job_id,
                ("running",),
                "state = 'pausing'",
                also=lambda tx: events.tell(tx, job_id, self._jobs.clock(), message, level="warn"),
            )
        if state != "queued":
            attempt.stop()

    async def _claim(self) -> None:
        errands, trainings = ERRANDS_AT_ONCE - len(self._errands), self._at_once - len(self._trainings)
        for job_id in await self._jobs.claim_errands(errands, [*self._errands, *self._trainings]):
            self._begin(self._errands, job_id, self._errand(job_id))
        for job_id in await self._jobs.claim_trainings(trainings, [*self._errands, *self._trainings]):
            self._begin(self._trainings, job_id, self._train(job_id))

    def _begin(self, room: dict[str, asyncio.Task[None]], job_id: str, work: Any) -> None:
        async def working() -> None:
            try:
                await work
            except Exception as error:
                # The lease is given up or runs out by itself, and then the job is tried again.
                logger.error("the fine-tuning job %s broke off", job_id, exc_info=error)
            finally:
                del room[job_id]
                self._serving.wake()

        room[job_id] = asyncio.create_task(working(), name=job_id)

    async def _train(self, job_id: str) -> None:
        job = await self._jobs.load(job_id)
        attempt = self._attempts[job_id] = Attempt(job, Folder(self._data, job_id), self._means)
        try:
            if not self._stopping:
                await attempt.run()
        finally:
            del self._attempts[job_id]

    async def _errand(self, job_id: str) -> None:
        """Work of a moment, under a lease that is given up at the end."""
        job = await self._jobs.load(job_id)
        if job.state == "validating_files":
            job, faults = await self._read(job)
        attempt = Attempt(job, Folder(self._data, job_id), self._means)
        try:
            if job.state == "validating_files":
                await self._queue(job, attempt, faults)
            elif job.state == "cancelling":
                await attempt.cancelled(job.trained_tokens)
            elif job.state == "pausing":
                await attempt.paused()
            elif job.state in ENDED:
                await self._clean(job)
        finally:
            await asyncio.shield(attempt.let_go())

    async def _read(self, job: Job) -> tuple[Job, dict[str, list[Fault]]]:
        """Every line of the files: the job with its number of examples, and what is wrong with which file."""
        faults: dict[str, list[Fault]] = {}
        for param, file_id, least in (
            ("training_file", job.training_file, LEAST_EXAMPLES),
            ("validation_file", job.validation_file, 1),
        ):
            if file_id is None:
                continue
            reader = ExampleReader(least)
            try:
                _, chunks = await self._means.files.content(job, file_id)
                await read_examples(reader, chunks)
            except NotFound as error:
                reader.faults.append(Fault(error.message))
            if reader.faults:
                faults[param] = reader.faults
            if param == "training_file":
                job = replace(job, examples=reader.examples)
        return job, faults

    async def _queue(self, job: Job, attempt: Attempt, faults: dict[str, list[Fault]]) -> None:
        """Let the trainer plan, and queue what it can train on."""
        for param, found in faults.items():
            await attempt.fail(f"invalid_{param}", explained(param, found), param=param)
            return
        if job.tries >= TRIES:
            await attempt.fail("training_failed", "the trainer cannot say what this training comes to")
            return
        try:
            plan = await attempt.prepare()
        except (OpenGLMError, OSError) as error:
            logger.error("the job %s could not be planned", job.id, exc_info=error)
            await self._jobs.change(job.id, ("validating_files",), "tries = tries + 1")
            await self._jobs.release(job.id, wait_ms=RETRY_MS)
            return
        if plan is None:
            return
        asked = msgspec.json.decode(job.hyperparameters, type=Hyperparameters)
        decided = Hyperparameters(asked.epochs(job.examples), plan.batch_size, asked.multiplier)
        message = f"the files are good: {job.examples} examples, {plan.tokens} tokens to train; queued"
        await self._jobs.change(
            job.id,
            ("validating_files",),
            "state = 'queued', tries = 0, hyperparameters = :dials, examples = :examples,"
            " expected_tokens = :tokens",
            also=lambda tx: events.tell(tx, job.id, self._jobs.clock(), message),
            dials=msgspec.json.encode(decided).decode(),
            examples=job.examples,
            tokens=plan.tokens,
        )

    async def _clean(self, job: Job) -> None:
        """Delete what the trainer no longer needs; all of it where no model came of it, or that is gone."""
        row = await self._jobs.database.read_one(
            "SELECT 1 AS found FROM model WHERE name = :name", name=job.fine_tuned_model or ""
        )
        folder = Folder(self._data, job.id)
        await asyncio.to_thread(folder.tidy, keep_adapter=row is not None)

        def work(tx: Transaction) -> None:
            self._jobs.move(tx, job.id, ENDED, "cleaned = 1")
            if row is None and tx.run(
                "DELETE FROM fine_tuning_job WHERE id = :id AND deleted = 1", id=job.id
            ):
                tx.run("DELETE FROM fine_tuning_event WHERE job_id = :id", id=job.id)

        await self._jobs.database.write(work)


def explained(param: str, faults: list[Fault]) -> str:
    """What is wrong with a file, in one text."""
    return f"the {param} is not good: " + "; ".join(map(str, faults))
