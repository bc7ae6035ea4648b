"""Fine-tuning through zhipuai, which is the one of the two that has it."""

from __future__ import annotations

import json
from typing import Any

from tests.sdk.table import until
from tests.sdk.zhipu import Sdk, ask, zhipuai

MODEL = "tiny-zhipuai"


def training_file(client: Any) -> str:
    turns = [{"role": "user", "content": "潮水?"}, {"role": "assistant", "content": "一天两次。"}]
    line = json.dumps({"messages": turns}, ensure_ascii=False).encode() + b"\n"
    return client.files.create(file=("training.jsonl", line * 12), purpose="fine-tune").id


@zhipuai.works(
    "fine_tuning.jobs.create",
    "fine_tuning.jobs.retrieve",
    "fine_tuning.jobs.list",
    "fine_tuning.jobs.list_events",
    "fine_tuning.jobs.delete",
    "fine_tuning.models.delete",
)
def a_job_is_followed_to_a_model_that_answers_and_both_are_deleted(sdk: Sdk) -> None:
    client = sdk.open(key=sdk.world.tuning_key)
    jobs = client.fine_tuning.jobs
    made = jobs.create(
        model=MODEL,
        training_file=training_file(client),
        hyperparameters={"n_epochs": 2, "batch_size": "auto", "learning_rate_multiplier": "auto"},
        suffix="tides",
        request_id="tune-1",
    )
    assert (made.request_id, made.model, made.status) == ("tune-1", MODEL, "validating_files")

    def ended():
        found = jobs.retrieve(made.id)
        return found if found.finished_at else None

    done = until(ended)
    assert (done.status, done.trained_tokens, done.hyperparameters.n_epochs) == ("succeeded", 1200, 2)
    assert jobs.list(limit=1).data[0].id == made.id
    events = jobs.list_events(made.id, limit=5)
    last = next(event.data for event in events.data if event.type == "metrics")
    assert (last.current_steps, last.total_steps, last.trained_tokens) == (12, 12, 1200)
    assert last.loss > 0
    assert events.has_more
    answer = client.chat.completions.create(model=done.fine_tuned_model, messages=ask("hello"))
    assert answer.choices[0].message.content.startswith(done.fine_tuned_model)
    assert jobs.delete(made.id).id == made.id
    with sdk.raises("APIStatusError", "404"):
        jobs.retrieve(made.id)
    gone = client.fine_tuning.models.delete(done.fine_tuned_model)
    assert (gone.model_name, gone.delete_status) == (done.fine_tuned_model, "deleted")
    with sdk.raises("APIRequestFailedError", "1211"):
        client.chat.completions.create(model=done.fine_tuned_model, messages=ask("hello"))


@zhipuai.works("fine_tuning.jobs.cancel")
def what_has_ended_cannot_be_cancelled_and_what_is_not_there_is_not_found(sdk: Sdk) -> None:
    client = sdk.open(key=sdk.world.tuning_key)
    jobs = client.fine_tuning.jobs
    made = jobs.create(model=MODEL, training_file=training_file(client))
    cancelled = jobs.cancel(made.id)
    assert cancelled.status == "cancelled"
    until(lambda: jobs.retrieve(made.id).finished_at)
    jobs.delete(made.id)
    with sdk.raises("APIStatusError", "404"):
        jobs.cancel(made.id)
    with sdk.raises("APIRequestFailedError", "1214"):
        jobs.create(model=MODEL, training_file=training_file(client), suffix="a:b")
