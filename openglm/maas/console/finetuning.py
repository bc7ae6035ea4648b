"""Fine-tuning in the console: an organisation's jobs with their curves, and its private models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query

from openglm.maas.console.access import House, Seat, seat
from openglm.maas.finetuning.job import Job

router = APIRouter(tags=["fine-tuning"], prefix="/organisations/{org_id}")
Reader = Annotated[Seat, seat("org.read")]
Writer = Annotated[Seat, seat("data.write")]
MESSAGES = 100  # of a job, shown beside its curve


@dataclass(frozen=True, slots=True)
class JobView:
    """A job; times are ms UTC. `trained_tokens` are those so far, `expected_tokens` those of the whole."""

    id: str
    project_id: str
    user_id: str | None
    model: str
    status: str
    fine_tuned_model: str | None
    training_file: str
    validation_file: str | None
    result_file: str | None
    hyperparameters: dict[str, Any]
    error: str | None
    examples: int
    expected_tokens: int
    trained_tokens: int
    created_at: int
    started_at: int | None
    expected_end_at: int | None
    ended_at: int | None


@dataclass(frozen=True, slots=True)
class Jobs:
    """Jobs, newest first; give `next` as `after` for older ones."""

    jobs: list[JobView]
    next: str | None


@dataclass(frozen=True, slots=True)
class Point:
    """One step that was logged."""

    step: int
    total_steps: int
    epoch: float
    tokens: int
    train_loss: float
    valid_loss: float | None
    learning_rate: float | None
    tokens_per_second: float | None


@dataclass(frozen=True, slots=True)
class Message:
    at: int
    level: str
    message: str


@dataclass(frozen=True, slots=True)
class Whole:
    """A job with its curve, oldest point first, and what it told, newest first."""

    job: JobView
    points: list[Point]
    events: list[Message]


@router.get("/fine-tuning")
async def list_jobs(
    here: Reader,
    platform: House,
    after: Annotated[str | None, Query(max_length=100, description="the next of an earlier page")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 50,
) -> Jobs:
    """The organisation's fine-tuning jobs, of all its projects."""
    page = await platform.finetuning.list(here.org_id, limit=limit, after=after)
    return Jobs([_view(job) for job in page.jobs], page.jobs[-1].id if page.has_more else None)


@router.get("/fine-tuning/{job_id}")
async def get_job(job_id: str, here: Reader, platform: House) -> Whole:
    """One job with its figures."""
    job = await platform.finetuning.get(here.org_id, job_id)
    points = [
        Point(**{name: point.get(name) for name in Point.__dataclass_fields__})
        for point in await platform.finetuning.curve(job)
    ]
    found = await platform.finetuning.messages(job, limit=MESSAGES)
    return Whole(_view(job), points, [Message(one.at_ms, one.level, one.message) for one in found])


@router.post("/fine-tuning/{job_id}/cancel")
async def cancel_job(job_id: str, here: Writer, platform: House) -> JobView:
    """Train no further. What was trained is charged."""
    job = await platform.finetuning.get(here.org_id, job_id)
    return _view(await platform.finetuning.cancel(job, actor=here.actor))


@router.post("/fine-tuning/{job_id}/pause")
async def pause_job(job_id: str, here: Writer, platform: House) -> JobView:
    """Train no further for now."""
    job = await platform.finetuning.get(here.org_id, job_id)
    return _view(await platform.finetuning.pause(job, actor=here.actor))


@router.post("/fine-tuning/{job_id}/resume")
async def resume_job(job_id: str, here: Writer, platform: House) -> JobView:
    """Go on with a paused job."""
    job = await platform.finetuning.get(here.org_id, job_id)
    return _view(await platform.finetuning.resume(job, actor=here.actor))


@router.delete("/models/{name:path}", status_code=204)
async def delete_model(name: str, here: Annotated[Seat, seat("models.write")], platform: House) -> None:
    """Delete a private model of the organisation, with its files."""
    await platform.finetuning.delete_model_of(here.org_id, name, actor=here.actor)


def _view(job: Job) -> JobView:
    return JobView(
        id=job.id,
        project_id=job.project_id,
        user_id=job.who().user_id,
        model=job.model,
        status=job.status,
        fine_tuned_model=job.fine_tuned_model,
        training_file=job.training_file,
        validation_file=job.validation_file,
        result_file=job.result_file_id,
        hyperparameters=msgspec.json.decode(job.hyperparameters),
        error=msgspec.json.decode(job.error)["message"] if job.error else None,
        examples=job.examples,
        expected_tokens=job.expected_tokens,
        trained_tokens=job.trained_tokens,
        created_at=job.created_at,
        started_at=job.started_at,
        expected_end_at=job.expected_end_at,
        ended_at=job.ended_at,
    )
