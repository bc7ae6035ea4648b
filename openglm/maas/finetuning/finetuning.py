"""Fine-tuning as callers see it: jobs of a project, and the private models that come of them.

What is cheap to see is refused at once; the whole of a file is checked before anything is trained or charged.
A model belongs to its organisation and goes with its files when it is deleted.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from openglm.errors import Conflict, FineTuneNotFound, Forbidden, InvalidRequest, NotFound, NotOffered
from openglm.maas.database import Database, Transaction
from openglm.maas.files.files import Files, is_id
from openglm.maas.finetuning import events
from openglm.maas.finetuning.attempt import Means
from openglm.maas.finetuning.examples import LEAST_EXAMPLES, ExampleReader
from openglm.maas.finetuning.job import COLUMNS, Dialect, Job, JobPage, from_row
from openglm.maas.finetuning.jobs import Jobs
from openglm.maas.finetuning.publish import model_name
from openglm.maas.finetuning.wanted import MAX_SEED, Wanted
from openglm.maas.finetuning.worker import TRAINER, Worker, explained
from openglm.maas.identity.audit import Actor, note
from openglm.maas.ids import Clock, new_id, wall_clock
from openglm.maas.quotas.quota import check

if TYPE_CHECKING:
    from openglm.maas.identity.caller import Caller
    from openglm.maas.models import Models
    from openglm.maas.money import Billing, Prices, Receipt
    from openglm.maas.servers import Servers

MAX_PAGE = 100
LOOKED_AT = 256 << 10  # bytes of a file that are checked at once
STOP_S = 120.0  # for a step and a checkpoint of a job that is paused or cancelled
FRESH_MS = 60_000  # a model so young may not have been read by this process yet


@dataclass(frozen=True, slots=True)
class Move:
    """From any of some states to another one, where the condition holds."""

    states: tuple[str, ...]
    to: str
    condition: str = "1 = 1"


class FineTuning:
    """`start` begins the work, if this node trains at all.

    `at_once`: trainings side by side here; 0 leaves them to other nodes. `offered` False takes no jobs in.
    """

    def __init__(
        self,
        database: Database,
        *,
        files: Files,
        billing: Billing,
        prices: Prices,
        models: Models,
        servers: Servers,
        still: Callable[[Caller], Awaitable[Caller]],
        data: Path,
        node_id: str,
        at_once: int = 1,
        offered: bool = True,
        clock: Clock = wall_clock,
        trainer: Sequence[str] = TRAINER,
        stop_s: float = STOP_S,
        settled: Callable[[str, Receipt], None] = lambda model, receipt: None,
    ):
        self._database = database
        self._files = files
        self._prices = prices
        self._models = models
        self._clock = clock
        self._at_once = at_once
        self._offered = offered
        jobs = Jobs(database, node_id=node_id, clock=clock)
        means = Means(jobs, files, billing, models, servers, trainer, stop_s, settled, still)
        self.worker = Worker(means, data=data, at_once=at_once)

    async def start(self) -> None:
        if self._at_once:
            await self.worker.start()

    async def stop(self) -> None:
        await self.worker.stop()

    async def create(
        self, caller: Caller, wanted: Wanted, *, dialect: Dialect = "openai", actor: Actor
    ) -> Job:
        """Take a job in. Its files are checked whole before it is queued."""
        if not self._offered:
            raise NotOffered("this platform serves no model of its own that could be fine-tuned")
        base = await self._base(caller, wanted)
        now = self._clock()
        job_id = new_id("ftjob", now)
        model_name(base, wanted.suffix or "x" * 20, job_id)
        await self._look_at(caller, wanted.training_file, "training_file", LEAST_EXAMPLES)
        if wanted.validation_file:
            await self._look_at(caller, wanted.validation_file, "validation_file", 1)
        values: dict[str, Any] = {
            "id": job_id,
            "org_id": caller.org_id,
            "project_id": caller.project_id,
            "caller": _json(caller),
            "dialect": dialect,
            "request_id": wanted.request_id,
            "model": wanted.model,
            "base": base,
            "training_file": wanted.training_file,
            "validation_file": wanted.validation_file,
            "suffix": wanted.suffix,
            "seed": secrets.randbelow(MAX_SEED) if wanted.seed is None else wanted.seed,
            "hyperparameters": _json(wanted.hyperparameters),
            "metadata": _json(wanted.metadata),
            "state": "validating_files",
            "created_at": now,
        }
        names, places = ", ".join(values), ", ".join(f":{name}" for name in values)

        def insert(tx: Transaction) -> None:
            check(tx, caller.org_id, now, open_fine_tuning_jobs=1, fine_tuned_models=1, files=1, file_bytes=1)
            for file_id in filter(None, (wanted.training_file, wanted.validation_file)):
                # The file may be on its way out: a job either finds it, or is refused.
                if not tx.one("SELECT id FROM file WHERE id = :id", id=file_id):
                    raise NotFound(f"no file {file_id!r}")
            tx.run(f"INSERT INTO fine_tuning_job ({names}) VALUES ({places})", **values)
            events.tell(tx, job_id, now, "the job was created; its files are checked")
            note(tx, now, actor, "finetuning.create", job_id, org_id=caller.org_id, details={"model": base})

        await self._database.write(insert, durable=True, lock=caller.org_id)
        self.worker.wake()
        return await self.get(caller.org_id, job_id)

    async def _base(self, caller: Caller, wanted: Wanted) -> str:
        """The model behind the name, if it can be trained here and has a price for it."""
        caller.may_use(wanted.model)
        self._models.check(caller, wanted.model)
        name = self._models.target(wanted.model)
        self._models.check(caller, name)
        if self._models.base_of(name):
            raise _unavailable(f"{name!r} is fine-tuned already", "fine-tune its base")
        if name not in {model.name for model in self._models.local}:
            raise _unavailable(
                f"the model {name[:80]!r} cannot be fine-tuned here", "only models that this machine serves"
            )
        price = await self._prices.current(name)
        if not price.trains:
            raise _unavailable(
                f"the model {name!r} has no price for training", "ask the operator of this platform"
            )
        return name

    async def _look_at(self, caller: Caller, file_id: str, param: str, least: int) -> None:
        """What is cheap to see of a file: its purpose, its size, its first lines."""
        file = await self._files.get(caller, file_id)
        if file.purpose != "fine-tune":
            raise InvalidRequest(
                f"{param} must be a file with purpose fine-tune, got purpose {file.purpose}",
                param=param,
                hint="upload the file again with purpose=fine-tune",
            )
        start = await self._files.part(caller, file_id, 0, min(file.bytes, LOOKED_AT))
        reader = ExampleReader(least if file.bytes <= LOOKED_AT else 0)
        reader.read(start if file.bytes <= LOOKED_AT else start[: start.rfind(b"\n") + 1])
        reader.end()
        if reader.faults:
            raise InvalidRequest(explained(param, reader.faults), param=param, code=f"invalid_{param}")

    async def get(self, org_id: str, job_id: str, project_id: str | None = None) -> Job:
        """One job of an organisation, or of one of its projects."""
        row = None
        if is_id(job_id):
            row = await self._database.read_one(
                f"SELECT {COLUMNS} FROM fine_tuning_job WHERE id = :id AND org_id = :org AND deleted = 0"
                + (" AND project_id = :project" if project_id else ""),
                id=job_id,
                org=org_id,
                **({"project": project_id} if project_id else {}),
            )
        if row is None:
            raise FineTuneNotFound(
                f"no fine-tuning job {job_id[:80]!r}", hint="list the jobs of this project to see their ids"
            )
        job = from_row(row)
        await self._know([job])
        return job

    async def list(
        self, org_id: str, project_id: str | None = None, *, limit: int = 20, after: str | None = None
    ) -> JobPage:
        """A page of jobs, newest first. `after` is the last id of the page before."""
        if not 1 <= limit <= MAX_PAGE:
            raise InvalidRequest(f"limit must be from 1 to {MAX_PAGE}, got {limit}", param="limit")
        if after and not is_id(after):
            raise InvalidRequest(f"after must be the id of a job, got {after[:40]!r}", param="after")
        rows = await self._database.read(
            f"SELECT {COLUMNS} FROM fine_tuning_job WHERE org_id = :org AND deleted = 0 AND id < :after"
            + (" AND project_id = :project" if project_id else "")
            + " ORDER BY id DESC LIMIT :most",
            org=org_id,
            after=after or "ftjob_g",  # past every id: their digits end with f
            most=limit + 1,
            **({"project": project_id} if project_id else {}),
        )
        jobs = [from_row(row) for row in rows[:limit]]
        await self._know(jobs)
        return JobPage(jobs, len(rows) > limit)

    async def _know(self, jobs: Sequence[Job]) -> None:
        """Whoever is told of a new model may call it at once: see to it that this process knows it."""
        since = self._clock() - FRESH_MS
        for job in jobs:
            name, ended = job.fine_tuned_model, job.ended_at
            if name and ended and ended > since and not self._models.knows(name):
                await self._models.reload()
                return

    async def event_page(
        self, job: Job, *, limit: int = 20, after: str | None = None
    ) -> tuple[Sequence[events.Event], bool]:
        return await events.page(self._database, job.id, limit=limit, after=after)

    async def messages(self, job: Job, *, limit: int) -> Sequence[events.Event]:
        """What the job told in words, newest first."""
        return await events.messages(self._database, job.id, limit=limit)

    async def curve(self, job: Job) -> Sequence[dict[str, Any]]:
        """The figures of every step that was logged."""
        return await events.curve(self._database, job.id)

    async def cancel(self, job: Job, *, actor: Actor) -> Job:
        """Train no further. What was trained is charged, and no model comes of it."""
        # Where nothing was trained there is nothing to pay, and nobody to wait for.
        moves = (
            Move(("validating_files", "queued", "paused"), "cancelled", "trained_tokens = 0"),
            Move(("queued", "paused", "running", "pausing"), "cancelling"),
        )
        return await self._steer(job, "cancel", moves, ("cancelling", "cancelled"), actor=actor)

    async def pause(self, job: Job, *, actor: Actor) -> Job:
        """Train no further for now. Nothing is charged or held meanwhile."""
        moves = (Move(("queued",), "paused"), Move(("running",), "pausing"))
        return await self._steer(job, "pause", moves, ("pausing", "paused"), actor=actor)

    async def resume(self, job: Job, *, caller: Caller | None = None, actor: Actor) -> Job:
        """Go on with a paused job from its last checkpoint. A caller who resumes it takes it over: it runs on
        the rights of their key, and is billed to it."""
        if caller is not None:
            taken_over = _json(caller)
            await self._database.write(
                lambda tx: tx.run(
                    "UPDATE fine_tuning_job SET caller = :caller WHERE id = :id AND state = 'paused'",
                    caller=taken_over,
                    id=job.id,
                ),
                durable=True,
            )
        moves = (Move(("paused",), "queued"), Move(("pausing",), "running"))
        return await self._steer(job, "resume", moves, ("queued", "running"), actor=actor)

    async def _steer(
        self, job: Job, deed: str, moves: Sequence[Move], already: Sequence[str], *, actor: Actor
    ) -> Job:
        """Make the first move that fits; Conflict where none does and the job is not there `already`."""
        now = self._clock()

        def work(tx: Transaction) -> bool:
            for move in moves:
                words = ", ".join(f"'{state}'" for state in move.states)
                if tx.run(
                    "UPDATE fine_tuning_job SET state = :to, tries = 0,"
                    " ended_at = CASE WHEN :to = 'cancelled' THEN :now ELSE NULL END"
                    f" WHERE id = :id AND state IN ({words}) AND {move.condition}",
                    to=move.to,
                    now=now,
                    id=job.id,
                ):
                    events.tell(tx, job.id, now, f"somebody asked to {deed} the job")
                    note(tx, now, actor, f"finetuning.{deed}", job.id, org_id=job.org_id)
                    return True
            return False

        changed = await self._database.write(work, durable=True)
        found = await self.get(job.org_id, job.id)
        if not changed and found.state not in already:
            raise Conflict(f"cannot {deed} a job that is {found.status}")
        self.worker.wake(job.id if found.state in ("cancelling", "pausing") else None)
        return found

    async def delete(self, job: Job, *, actor: Actor) -> None:
        """Forget a job that has ended. Its model stays."""
        now = self._clock()

        def work(tx: Transaction) -> bool:
            gone = tx.run(
                "UPDATE fine_tuning_job SET deleted = 1, cleaned = 0"
                " WHERE id = :id AND state IN ('succeeded', 'failed', 'cancelled')",
                id=job.id,
            )
            if gone:
                note(tx, now, actor, "finetuning.delete", job.id, org_id=job.org_id)
            return bool(gone)

        if not await self._database.write(work, durable=True):
            raise Conflict(f"a job that is {job.status} cannot be deleted", hint="cancel it first")
        self.worker.wake()

    async def delete_model(self, caller: Caller, name: str, *, actor: Actor) -> None:
        """Delete a private model of the caller's organisation: its row, then its files."""
        caller.may_use(name)
        if name not in self._models.seen_by(caller, (name,)):
            raise no_model(name)
        await self.delete_model_of(caller.org_id, name, actor=actor)

    async def delete_model_of(self, org_id: str, name: str, *, actor: Actor) -> None:
        now = self._clock()

        def work(tx: Transaction) -> None:
            row = tx.one("SELECT owner_org, base FROM model WHERE name = :name", name=name)
            if row is None or (row["owner_org"] and row["owner_org"] != org_id):
                raise no_model(name)
            if row["owner_org"] is None or row["base"] is None:
                raise Forbidden(f"the model {name!r} is the platform's, not yours to delete")
            tx.run("DELETE FROM model WHERE name = :name", name=name)
            tx.run("UPDATE fine_tuning_job SET cleaned = 0 WHERE fine_tuned_model = :name", name=name)
            note(tx, now, actor, "finetuning.delete_model", name, org_id=org_id)

        await self._database.write(work, durable=True)
        await self._models.reload()
        self.worker.wake()


def no_model(name: str) -> FineTuneNotFound:
    return FineTuneNotFound(f"there is no model {name[:80]!r}")


def _unavailable(message: str, hint: str) -> InvalidRequest:
    return InvalidRequest(message, param="model", code="model_not_available", hint=hint)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
