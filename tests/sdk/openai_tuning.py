"""Fine-tuning through the official OpenAI client."""

from __future__ import annotations

import json

import openai

from tests.sdk.openai_sdk import Sdk, raises, table
from tests.sdk.table import until

MODEL = "tiny-openai"


def training_file(client: openai.OpenAI, count: int = 12) -> str:
    turns = [{"role": "user", "content": "tide?"}, {"role": "assistant", "content": "twice a day"}]
    lines = json.dumps({"messages": turns}).encode() + b"\n"
    return client.files.create(file=("training.jsonl", lines * count), purpose="fine-tune").id


@table.works(
    "fine_tuning.jobs.create",
    "fine_tuning.jobs.retrieve",
    "fine_tuning.jobs.list",
    "fine_tuning.jobs.list_events",
    "fine_tuning.jobs.checkpoints.list",
)
def a_job_is_followed_to_its_end(sdk: Sdk) -> None:
    client = sdk.open(sdk.world.tuning_key)
    jobs = client.fine_tuning.jobs
    made = jobs.create(
        model=MODEL,
        training_file=training_file(client),
        method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2}}},
        suffix="tides",
    )
    assert (made.object, made.model) == ("fine_tuning.job", MODEL)
    until(lambda: jobs.retrieve(made.id).finished_at)
    done = jobs.retrieve(made.id)
    assert (done.status, done.trained_tokens) == ("succeeded", 1200)
    assert made.id in [job.id for job in jobs.list(limit=1)]
    events = list(jobs.list_events(made.id, limit=5))
    assert len(events) == len({event.id for event in events}) > 5
    assert isinstance(jobs.checkpoints.list(made.id).data, list)


@table.works("fine_tuning.jobs.cancel", "fine_tuning.jobs.pause", "fine_tuning.jobs.resume", "models.delete")
def a_job_that_has_ended_is_not_cancelled_paused_or_resumed_and_only_ones_own_models_are_deleted(
    sdk: Sdk,
) -> None:
    client = sdk.open(sdk.world.tuning_key)
    jobs = client.fine_tuning.jobs
    made = jobs.create(model=MODEL, training_file=training_file(client))
    until(lambda: jobs.retrieve(made.id).finished_at)
    for method in (jobs.cancel, jobs.pause, jobs.resume):
        with raises(openai.ConflictError, "conflict"):
            method(made.id)
    with raises(openai.NotFoundError, "not_found"):
        jobs.retrieve("ftjob_nobody")
    with raises(openai.NotFoundError, "model_not_found"):
        client.models.delete("ft:tiny-openai:nobody:00000000")
