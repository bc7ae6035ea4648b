"""OpenAI's Responses through the official client: events in order, kept, fetched, continued, cancelled."""

from __future__ import annotations

import json
from typing import Any

import openai
from pydantic import BaseModel

from tests.sdk.openai_sdk import Sdk, raises, table
from tests.sdk.table import until

WEATHER = {
    "type": "function",
    "name": "weather",
    "description": "The weather of a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    "strict": False,
}


class Tide(BaseModel):
    height: int


def script(**words: Any) -> str:
    return json.dumps(words)


CALLING = script(
    tokens=1,
    reasoning=1,
    calls=[{"id": "call_1", "name": "weather", "arguments": '{"city": "Wuhan"}'}],
    finish="tool_calls",
)


@table.works("responses.create")
def a_response_has_items_text_and_usage(sdk: Sdk) -> None:
    made = sdk.client.responses.create(
        model="glm",
        input=script(tokens=4, reasoning=1, prompt=20, cached=8),
        instructions="be brief",
        metadata={"a": "b"},
        max_output_tokens=50,
    )
    assert [item.type for item in made.output] == ["reasoning", "message"]
    assert (made.output_text, made.status, made.metadata) == ("w1 w2 w3 ", "completed", {"a": "b"})
    usage = made.usage
    assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == (20, 4, 24)
    assert (usage.input_tokens_details.cached_tokens, usage.input_tokens_details.cache_write_tokens) == (8, 0)
    assert usage.output_tokens_details.reasoning_tokens == 1


@table.works("responses.create")
def the_events_of_a_stream_are_numbered_and_in_order(sdk: Sdk) -> None:
    events = list(sdk.client.responses.create(model="glm", input=CALLING, tools=[WEATHER], stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert list(dict.fromkeys(event.type for event in events)) == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.reasoning_summary_part.added",
        "response.reasoning_summary_text.delta",
        "response.reasoning_summary_text.done",
        "response.reasoning_summary_part.done",
        "response.output_item.done",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.completed",
    ]
    (call,) = [item for item in events[-1].response.output if item.type == "function_call"]
    assert (call.call_id, json.loads(call.arguments)) == ("call_1", {"city": "Wuhan"})


@table.works("responses.stream", "responses.parse")
def helpers_collect_and_parse(sdk: Sdk) -> None:
    answer = script(words=['{"heig', 'ht": 4}'])
    with sdk.client.responses.stream(model="glm", input=answer, text_format=Tide) as stream:
        text = [event for event in stream if event.type == "response.output_text.done"]
        final = stream.get_final_response()
    assert text[0].parsed == final.output_parsed == Tide(height=4)
    assert sdk.client.responses.parse(model="glm", input=answer, text_format=Tide).output_parsed == Tide(
        height=4
    )


@table.works("responses.stream", "responses.retrieve")
def a_response_that_is_kept_can_be_streamed_again_from_anywhere(sdk: Sdk) -> None:
    events = list(sdk.client.responses.create(model="glm", input=script(tokens=3, reasoning=1), stream=True))
    response_id = events[0].response.id
    until(lambda: kept(sdk, response_id))
    again = list(sdk.client.responses.retrieve(response_id, stream=True))
    assert [again[0].type, again[-1].type] == ["response.created", "response.completed"]
    assert [event.sequence_number for event in again] == list(range(len(again)))
    assert again[-1].response == events[-1].response
    (end,) = sdk.client.responses.retrieve(response_id, stream=True, starting_after=3)
    assert (end.type, end.sequence_number, end.response) == ("response.completed", 4, events[-1].response)
    with sdk.client.responses.stream(response_id=response_id) as stream:
        assert stream.get_final_response().output_text == "w1 w2 "


@table.works("responses.retrieve", "responses.delete", "responses.input_items.list")
def a_response_is_kept_continued_and_deleted(sdk: Sdk) -> None:
    responses = sdk.client.responses
    first = responses.create(model="glm", input=script(tokens=1))
    assert responses.retrieve(first.id).output_text == "w0 "
    second = responses.create(model="glm", input=script(echo=True), previous_response_id=first.id)
    told = json.loads(second.output_text)["messages"]
    assert [turn["role"] for turn in told] == ["user", "assistant", "user"]
    items = list(responses.input_items.list(second.id, order="asc"))
    assert [item.role for item in items] == ["user", "assistant", "user"]
    paged = list(responses.input_items.list(second.id, order="asc", limit=1))
    assert [item.id for item in paged] == [item.id for item in items]
    assert len(responses.input_items.list(second.id, limit=1).data) == 1
    assert responses.delete(first.id) is None
    with raises(openai.NotFoundError, "not_found"):
        responses.retrieve(first.id)
    with raises(openai.NotFoundError, "not_found"):
        responses.create(model="glm", input="go on", previous_response_id=first.id)


@table.works("responses.create", "responses.cancel", "responses.retrieve")
def a_response_in_the_background_is_polled_streamed_and_cancelled(sdk: Sdk) -> None:
    responses = sdk.client.responses
    quick = responses.create(model="glm", input=script(tokens=3), background=True)
    assert quick.status in ("queued", "in_progress")
    until(lambda: responses.retrieve(quick.id).status == "completed")
    assert responses.retrieve(quick.id).output_text == "w0 w1 w2 "
    endless = script(tokens=10_000, pace_s=0.01)
    slow = responses.create(model="glm", input=endless, background=True, max_output_tokens=20_000)
    assert responses.cancel(slow.id).status == "cancelled"
    with raises(openai.ConflictError, "conflict"):
        responses.cancel(responses.create(model="glm", input=script(tokens=1)).id)
    told = script(tokens=5, pace_s=0.05)
    with responses.create(model="glm", input=told, background=True, stream=True) as stream:
        first = [next(stream) for _ in range(5)]  # and then the line goes dead
    rest = list(responses.retrieve(first[0].response.id, stream=True, starting_after=4))
    assert [event.sequence_number for event in first + rest] == list(range(len(first + rest)))
    deltas = [event.delta for event in first + rest if event.type == "response.output_text.delta"]
    assert "".join(deltas) == rest[-1].response.output_text == "w0 w1 w2 w3 w4 "


@table.works(
    "beta.responses.create",
    "beta.responses.retrieve",
    "beta.responses.delete",
    "beta.responses.cancel",
    "beta.responses.input_items.list",
    "beta.responses.input_tokens.count",
    "beta.responses.compact",
)
def the_newer_face_of_the_client_does_the_same(sdk: Sdk) -> None:
    lenient = sdk.open(_strict_response_validation=False)
    newer = lenient.beta.responses
    made = newer.create(model="glm", input=script(tokens=2))
    assert newer.retrieve(made.id).output[-1].content[0].text == "w0 w1 "
    assert len(list(newer.input_items.list(made.id))) == 1
    assert newer.input_tokens.count(model="glm", input="one two").input_tokens == 2
    assert newer.compact(model="glm", input="one two").output[-1].type == "compaction"
    slow = newer.create(model="glm", input=script(tokens=10_000, pace_s=0.01), background=True)
    assert newer.cancel(slow.id).status == "cancelled"
    newer.delete(made.id)


@table.works("responses.input_tokens.count")
def the_tokens_of_an_input_are_counted(sdk: Sdk) -> None:
    counted = sdk.client.responses.input_tokens.count(model="glm", input="one two", instructions="be brief")
    assert counted.input_tokens > 2


@table.works("responses.compact")
def a_long_conversation_is_made_short_and_goes_on(sdk: Sdk) -> None:
    turns = [
        {"role": "user", "content": "how high is the tide?"},
        {"role": "assistant", "content": "four metres, " * 50},
        {"role": "user", "content": "and tomorrow?"},
    ]
    lenient = sdk.open(_strict_response_validation=False)  # users' messages are typed as the assistant's
    short = lenient.responses.compact(model="glm", input=turns)
    assert short.usage.output_tokens == 3
    items = [item.model_dump(exclude_none=True) for item in short.output]
    assert [item.get("role") for item in items] == ["user", "user", None]
    assert "w0 w1" not in items[-1]["encrypted_content"]
    again = [*items, {"role": "user", "content": script(echo=True)}]
    told = json.loads(sdk.client.responses.create(model="glm", input=again).output_text)["messages"]
    assert [turn["role"] for turn in told] == ["user", "user", "system", "user"]
    assert "w0 w1 w2" in told[2]["content"]


def kept(sdk: Sdk, response_id: str) -> bool:
    try:
        return sdk.client.responses.retrieve(response_id).status == "completed"
    except openai.NotFoundError:
        return False
