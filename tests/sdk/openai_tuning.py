"""Fine-tuning through the official OpenAI client."""

from __future__ import annotations

import json
from pathlib import Path

import openai

from tests.sdk.openai_sdk import Sdk, ask, raises, table
from tests.sdk.table import until

MODEL = "tiny-openai"


def training_file(client: openai.OpenAI) -> str:
    turns = [{"role": "user", "content": "tide?"}, {"role": "assistant", "content": "twice a day"}]
    lines = json.dumps({"messages": turns}).encode() + b"\n"
    return client.files.create(file=("training.jsonl", lines * 12), purpose="fine-tune").id


@table.works(
    "fine_tuning.jobs.create",
    "fine_tuning.jobs.retrieve",
    "fine_tuning.jobs.list",
    "fine_tuning.jobs.list_events",
    "fine_tuning.jobs.checkpoints.list",
    "models.delete",
)
def a_job_is_followed_to_a_model_that_answers_and_is_deleted(sdk: Sdk) -> None:
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
    answer = client.chat.completions.create(model=done.fine_tuned_model, messages=ask("hello"))
    assert answer.choices[0].message.content.startswith(done.fine_tuned_model)
    assert client.models.delete(done.fine_tuned_model).deleted
    with raises(openai.NotFoundError, "model_not_found"):
        client.models.delete(done.fine_tuned_model)


@table.works("fine_tuning.jobs.cancel", "fine_tuning.jobs.pause", "fine_tuning.jobs.resume")
def a_job_is_paused_goes_on_and_is_cancelled(sdk: Sdk) -> None:
    # The client types no "paused", though it has the method.
    client = sdk.open(sdk.world.tuning_key, _strict_response_validation=False)
    jobs, gate = client.fine_tuning.jobs, Path(sdk.world.training_gate)
    open_to = gate.read_text()
    gate.write_text("3")
    try:
        made = jobs.create(model=MODEL, training_file=training_file(client))
        until(lambda: jobs.retrieve(made.id).status == "running")
        jobs.pause(made.id)
        until(lambda: jobs.retrieve(made.id).status == "paused")
        assert jobs.resume(made.id).status in ("queued", "running")
        until(lambda: jobs.retrieve(made.id).status == "running")
        jobs.cancel(made.id)
        until(lambda: jobs.retrieve(made.id).status == "cancelled")
    finally:
        gate.write_text(open_to)
    with raises(openai.ConflictError, "conflict"):
        jobs.pause(made.id)
    with raises(openai.NotFoundError, "not_found"):
        jobs.retrieve("ftjob_nobody")
