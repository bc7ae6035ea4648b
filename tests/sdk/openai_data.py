"""Files and batches through the official OpenAI client."""

from __future__ import annotations

import json
from typing import Any

import openai

from tests.sdk.openai_sdk import Sdk, raises, table
from tests.sdk.table import until


@table.works("files.create", "files.list", "files.retrieve", "files.content", "files.delete")
def a_file_is_kept_listed_read_and_deleted(sdk: Sdk) -> None:
    files = sdk.client.files
    kept = files.create(file=("tide.txt", b"high"), purpose="user_data")
    assert (kept.filename, kept.bytes, kept.purpose, kept.status) == ("tide.txt", 4, "user_data", "processed")
    assert files.retrieve(kept.id) == kept
    assert files.content(kept.id).text == "high"
    assert kept.id in [file.id for file in files.list(purpose="user_data")]
    assert files.delete(kept.id).deleted
    for call in (files.retrieve, files.content, files.delete):
        with raises(openai.NotFoundError, "not_found"):
            call(kept.id)


@table.works("files.list", "files.wait_for_processing", "files.retrieve_content")
def pages_of_files_follow_each_other(sdk: Sdk) -> None:
    files = sdk.client.files
    made = [files.create(file=(f"{n}.txt", b"x"), purpose="assistants").id for n in range(3)]
    first = files.list(purpose="assistants", limit=2, order="asc")
    assert first.has_next_page()
    assert [file.id for file in first] == made
    assert files.wait_for_processing(made[0]).status == "processed"
    assert files.retrieve_content(made[0]) == "x"


@table.works("batches.create", "batches.retrieve", "batches.list")
def a_batch_is_answered_row_by_row_in_openais_words(sdk: Sdk) -> None:
    done = ended(sdk, row("1"), row("2", model="nobody"))
    assert (done.status, done.endpoint) == ("completed", "/v1/chat/completions")
    assert (done.request_counts.completed, done.request_counts.failed) == (1, 1)
    good = json.loads(sdk.client.files.content(done.output_file_id).text)
    assert good["response"]["body"]["object"] == "chat.completion"
    bad = json.loads(sdk.client.files.content(done.error_file_id).text)
    assert bad["response"]["status_code"] == 404
    assert bad["response"]["body"]["error"]["code"] == "model_not_found"
    ended(sdk, row("1"))
    listed = [batch.id for batch in sdk.client.batches.list(limit=1)]
    assert listed == sorted(listed, reverse=True)
    assert done.id in listed


@table.works("batches.cancel")
def a_batch_is_cancelled_or_says_why_not(sdk: Sdk) -> None:
    batch = begun(sdk, *(row(str(number), pace_s=0.05, tokens=100) for number in range(200)))
    assert sdk.client.batches.cancel(batch.id).status in ("cancelling", "cancelled")
    until(lambda: sdk.client.batches.retrieve(batch.id).status == "cancelled")
    with raises(openai.ConflictError, "conflict"):
        sdk.client.batches.cancel(ended(sdk, row("1")).id)


@table.works("batches.create")
def a_batch_that_cannot_be_read_names_its_lines(sdk: Sdk) -> None:
    failed = ended(sdk, row("1"), row("1"))
    assert failed.status == "failed"
    (error,) = failed.errors.data
    assert (error.line, error.code, error.param) == (2, "duplicate_custom_id", "custom_id")
    with raises(openai.BadRequestError, "invalid_value"):
        sdk.client.batches.create(
            input_file_id=failed.input_file_id, endpoint="/v1/moderations", completion_window="24h"
        )


def row(custom_id: str, model: str = "glm", **script: Any) -> str:
    messages = [{"role": "user", "content": json.dumps({"tokens": 2, **script})}]
    body = {"model": model, "messages": messages}
    return json.dumps({"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": body})


def begun(sdk: Sdk, *rows: str) -> Any:
    file = sdk.client.files.create(file=("rows.jsonl", "\n".join(rows).encode()), purpose="batch")
    return sdk.client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h", metadata={"a": "b"}
    )


def ended(sdk: Sdk, *rows: str) -> Any:
    batch = begun(sdk, *rows)

    def over() -> Any:
        found = sdk.client.batches.retrieve(batch.id)
        return found if found.status in ("completed", "failed", "cancelled") else None

    return until(over)
