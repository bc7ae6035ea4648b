"""Batches of messages through the official Anthropic client."""

from __future__ import annotations

from typing import Any

import anthropic

from tests.sdk.anthropic_sdk import Sdk, ask, raises, table
from tests.sdk.table import until


def wanted(custom_id: str, model: str = "glm", **script: Any) -> Any:
    params = {"model": model, "max_tokens": 64, "messages": ask(**{"tokens": 2, **script})}
    return {"custom_id": custom_id, "params": params}


def over(batches: Any, batch_id: str) -> Any:
    def ended() -> Any:
        found = batches.retrieve(batch_id)
        return found if found.processing_status == "ended" else None

    return until(ended)


@table.works(
    "messages.batches.create",
    "messages.batches.retrieve",
    "messages.batches.results",
    "messages.batches.list",
    "messages.batches.delete",
    "beta.messages.batches.create",
    "beta.messages.batches.retrieve",
    "beta.messages.batches.results",
    "beta.messages.batches.list",
    "beta.messages.batches.delete",
)
def a_batch_is_answered_listed_and_deleted(sdk: Sdk) -> None:
    for batches in (sdk.client.messages.batches, sdk.client.beta.messages.batches):
        made = batches.create(requests=[wanted("good", reasoning=1), wanted("bad", model="nobody")])
        assert made.processing_status == "in_progress"
        counts = made.request_counts
        assert counts.processing + counts.succeeded + counts.errored == 2
        done = over(batches, made.id)
        assert (done.request_counts.succeeded, done.request_counts.errored) == (1, 1)
        assert done.ended_at > done.created_at
        results = {line.custom_id: line.result for line in batches.results(made.id)}
        message = results["good"].message
        assert [block.type for block in message.content] == ["thinking", "text"]
        assert (message.content[1].text, message.usage.output_tokens) == ("w1 ", 2)
        assert results["bad"].error.error.type == "not_found_error"
        other = batches.create(requests=[wanted("only")])
        over(batches, other.id)
        assert [batch.id for batch in batches.list(limit=1)][:2] == [other.id, made.id]
        for batch_id in (made.id, other.id):
            assert batches.delete(batch_id).type == "message_batch_deleted"
        with raises(anthropic.NotFoundError, "not_found_error"):
            batches.retrieve(made.id)
        assert not list(batches.list())


@table.works("messages.batches.cancel", "beta.messages.batches.cancel")
def a_batch_is_cancelled_and_says_what_was_not_run(sdk: Sdk) -> None:
    for batches in (sdk.client.messages.batches, sdk.client.beta.messages.batches):
        many = [wanted(f"row-{number}", tokens=30, pace_s=0.05) for number in range(100)]
        made = batches.create(requests=many)
        assert batches.cancel(made.id).processing_status == "canceling"
        with raises(anthropic.ConflictError, "invalid_request_error"):
            batches.delete(made.id)
        done = over(batches, made.id)
        assert done.request_counts.canceled > 0
        kinds = [line.result.type for line in batches.results(made.id)]
        assert len(kinds) == 100
        assert kinds.count("canceled") == done.request_counts.canceled
        batches.delete(made.id)


@table.works("messages.batches.create")
def a_batch_with_a_mistake_is_refused_whole(sdk: Sdk) -> None:
    streaming = wanted("a")
    streaming["params"]["stream"] = True
    for requests, words in (
        ([], "requests"),
        ([wanted("a"), wanted("a")], r"requests\[1\].custom_id"),
        ([wanted("x" * 65)], r"requests\[0\].custom_id"),
        ([streaming], r"requests\[0\].params.stream"),
    ):
        with raises(anthropic.BadRequestError, "invalid_request_error") as caught:
            sdk.client.messages.batches.create(requests=requests)
        assert caught.match(words)
    with raises(anthropic.NotFoundError, "not_found_error"):
        sdk.client.messages.batches.results("batch_nobody")


@table.works("messages.batches.results")
def a_batch_is_paid_by_the_wallet_where_the_plan_would_pay_for_its_messages_alone(sdk: Sdk) -> None:
    planned = sdk.open(sdk.world.plan_key)
    message = wanted("row")["params"]
    assert planned.messages.create(**message).usage.output_tokens == 2
    batches = planned.messages.batches
    made = batches.create(requests=[wanted("row")])
    over(batches, made.id)
    (row,) = batches.results(made.id)
    assert row.result.error.error.type == "billing_error"
