"""Messages, token counts and models through the official Anthropic client."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import anthropic
from anthropic import beta_tool
from pydantic import BaseModel

from tests.sdk.anthropic_sdk import Sdk, ask, table
from tests.sdk.table import PICTURE_URL

CREATE = "messages.create"
WEATHER = {
    "name": "weather",
    "description": "The weather of a city",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
}
CALLING = {
    "reasoning": 1,
    "words": ["hm", "let me see"],
    "calls": [{"id": "call_1", "name": "weather", "arguments": '{"city": "Wuhan"}'}],
    "finish": "tool_calls",
}


class Tide(BaseModel):
    height: int


def create(sdk: Sdk, messages: list[Any], **more: Any) -> Any:
    return sdk.client.messages.create(**{"model": "glm", "max_tokens": 64, "messages": messages, **more})


def echoed(sdk: Sdk, messages: list[Any] | None = None, **more: Any) -> dict[str, Any]:
    """What our gateway asks the model's server with."""
    return json.loads(create(sdk, messages or ask(echo=True), **more).content[-1].text)


@table.works(CREATE)
def a_whole_answer_has_thinking_text_and_usage(sdk: Sdk) -> None:
    made = create(sdk, ask(tokens=4, reasoning=1, prompt=20, cached=8), thinking={"type": "adaptive"})
    thought, text = made.content
    assert (thought.thinking, text.text, made.stop_reason) == ("w0 ", "w1 w2 w3 ", "end_turn")
    assert thought.signature
    usage = made.usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens) == (12, 8, 4)
    assert made._request_id.startswith("req_")


@table.works(CREATE)
def the_events_of_a_stream_come_in_the_strict_order(sdk: Sdk) -> None:
    events = list(create(sdk, ask(tokens=4, reasoning=2, prompt=20, wait_s=0.06), stream=True))
    assert list(dict.fromkeys(event.type for event in events)) == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert [event.index for event in events if event.type == "content_block_start"] == [0, 1]
    assert events[0].message.usage.input_tokens == 20
    assert events[-2].usage.output_tokens == 4
    assert events[-2].delta.stop_reason == "end_turn"


@table.works("messages.stream", "beta.messages.stream")
def the_helper_that_collects_a_stream_gives_the_whole_message(sdk: Sdk) -> None:
    for messages in (sdk.client.messages, sdk.client.beta.messages):
        with messages.stream(model="glm", max_tokens=64, messages=ask(tokens=4, reasoning=1)) as stream:
            assert "".join(stream.text_stream) == "w1 w2 w3 "
            final = stream.get_final_message()
        assert [block.type for block in final.content] == ["thinking", "text"]
        assert final.usage.output_tokens == 4


@table.works(CREATE, "messages.stream")
def a_loop_of_tools_gives_its_thinking_back(sdk: Sdk) -> None:
    first = create(sdk, ask(**CALLING), tools=[WEATHER], thinking={"type": "adaptive"})
    assert (first.stop_reason, first.content[-1].input) == ("tool_use", {"city": "Wuhan"})
    with sdk.client.messages.stream(
        model="glm", max_tokens=64, messages=ask(**CALLING), tools=[WEATHER]
    ) as stream:
        streamed = stream.get_final_message().content
    assert [block.to_dict() for block in streamed] == [block.to_dict() for block in first.content]
    result = {"type": "tool_result", "tool_use_id": "call_1", "content": "rain", "is_error": False}
    turns = [
        *ask("go"),
        {"role": "assistant", "content": first.content},
        {"role": "user", "content": [result, {"type": "text", "text": json.dumps({"echo": True})}]},
    ]
    told = echoed(
        sdk, turns, tools=[WEATHER], tool_choice={"type": "auto", "disable_parallel_tool_use": True}
    )
    assert told["messages"][1]["reasoning_content"] == "hm"
    assert told["messages"][2] == {"role": "tool", "content": "rain", "tool_call_id": "call_1"}
    assert told["parallel_tool_calls"] is False


@table.works("messages.parse", "beta.messages.parse")
def an_answer_is_parsed_into_a_model_and_its_schema_is_sent(sdk: Sdk) -> None:
    for messages in (sdk.client.messages, sdk.client.beta.messages):
        parsed = messages.parse(
            model="glm", max_tokens=64, messages=ask(words=['{"height": 3}']), output_format=Tide
        )
        assert parsed.parsed_output == Tide(height=3)
    form = {"format": {"type": "json_schema", "schema": {"type": "object"}}}
    assert echoed(sdk, output_config=form)["response_format"]["type"] == "json_schema"


@table.works("beta.messages.create")
def what_agents_send_is_understood(sdk: Sdk) -> None:
    made = sdk.client.beta.messages.create(
        model="glm",
        max_tokens=64,
        messages=ask(echo=True),
        system=[{"type": "text", "text": "be brief", "cache_control": {"type": "ephemeral"}}],
        thinking={"type": "adaptive"},
        output_config={"effort": "high"},
        context_management={"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        betas=["context-management-2025-06-27"],
        metadata={"user_id": "someone"},
        stop_sequences=["END"],
        extra_body={"temperature": 0.5, "top_k": 5, "top_p": 0.9},
    )
    told = json.loads(made.content[-1].text)
    assert told["messages"][0] == {"role": "system", "content": "be brief"}
    assert told["chat_template_kwargs"] == {"reasoning_effort": "high", "clear_thinking": False}
    named = {name: told[name] for name in ("stop", "temperature", "top_k", "top_p", "max_tokens")}
    assert named == {"stop": ["END"], "temperature": 0.5, "top_k": 5, "top_p": 0.9, "max_tokens": 64}


@table.works(CREATE)
def images_at_addresses_and_as_data_reach_the_model(sdk: Sdk) -> None:
    pixel = PICTURE_URL.partition(",")[2]
    blocks = [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": pixel}},
        {"type": "image", "source": {"type": "url", "url": sdk.world.picture}},
        {"type": "text", "text": json.dumps({"echo": True})},
    ]
    told = echoed(sdk, [{"role": "user", "content": blocks}])["messages"][0]["content"]
    assert [part["image_url"]["url"] for part in told[:2]] == [PICTURE_URL, PICTURE_URL]


@table.works("beta.messages.tool_runner")
def the_runner_of_tools_ends_with_an_answer(sdk: Sdk) -> None:
    seen = []

    @beta_tool
    def weather(city: str) -> str:
        """The weather of a city."""
        seen.append(city)
        return json.dumps({"tokens": 2})

    runner = sdk.client.beta.messages.tool_runner(
        model="glm", max_tokens=64, messages=ask(**CALLING), tools=[weather]
    )
    assert next(iter(runner)).stop_reason == "tool_use"
    assert runner.generate_tool_call_response() is not None
    assert seen == ["Wuhan"]


@table.works("beta.messages.thread")
def a_thread_that_the_server_will_not_keep_goes_on_with_all_that_was_said(sdk: Sdk) -> None:
    thread = sdk.client.beta.messages.thread(
        model="glm", max_tokens=64, unsupported_request_behavior="continue_unthreaded"
    )
    assert thread.send(*ask(tokens=1)).content[0].text == "w0 "
    told = json.loads(thread.send(*ask(echo=True)).content[0].text)["messages"]
    assert [turn["role"] for turn in told] == ["user", "assistant", "user"]


@table.works("messages.count_tokens", "beta.messages.count_tokens")
def tokens_are_counted_exactly(sdk: Sdk) -> None:
    for messages in (sdk.client.messages, sdk.client.beta.messages):
        counted = messages.count_tokens(model="glm", messages=ask("one two three"), system="be brief")
        assert counted.input_tokens >= 4


@table.works("models.list", "models.retrieve", "beta.models.list", "beta.models.retrieve")
def models_are_listed_and_found(sdk: Sdk) -> None:
    for models in (sdk.client.models, sdk.client.beta.models):
        assert [model.id for model in models.list(limit=1)] == ["glm"]
        assert models.retrieve("glm").display_name == "glm"


@table.works(CREATE, "models.list")
def raw_and_streamed_responses_can_be_had(sdk: Sdk) -> None:
    raw = sdk.client.messages.with_raw_response.create(model="glm", max_tokens=9, messages=ask(tokens=1))
    assert raw.headers["request-id"].startswith("req_")
    assert raw.parse().content[0].text == "w0 "
    with tempfile.TemporaryDirectory() as folder:
        gate = Path(folder) / "second-word"  # which is written when a ping has come before it
        slow = ask(tokens=2, gates={"1": str(gate)})
        with sdk.client.messages.with_streaming_response.create(
            model="glm", max_tokens=9, messages=slow, stream=True
        ) as streamed:
            lines = []
            for line in streamed.iter_lines():
                lines.append(line)
                if line == "event: ping":
                    gate.touch()
    assert "event: message_stop" in lines
    assert "[DONE]" not in "".join(lines)
    assert sdk.client.models.with_raw_response.list().parse().data[0].id == "glm"


@table.works(CREATE, "messages.stream", "messages.count_tokens", "models.list")
def the_asynchronous_client_does_the_same(sdk: Sdk) -> None:
    async def work(client: anthropic.AsyncAnthropic) -> None:
        made = await client.messages.create(model="glm", max_tokens=9, messages=ask(tokens=2))
        assert made.content[0].text == "w0 w1 "
        events = await client.messages.create(model="glm", max_tokens=9, messages=ask(tokens=2), stream=True)
        assert [event.type async for event in events][-1] == "message_stop"
        async with client.messages.stream(model="glm", max_tokens=9, messages=ask(tokens=2)) as stream:
            assert "".join([text async for text in stream.text_stream]) == "w0 w1 "
        assert (await client.messages.count_tokens(model="glm", messages=ask("one two"))).input_tokens == 2
        assert [model.id async for model in client.models.list()] == ["glm"]

    sdk.run(work)


@table.works(CREATE)
def a_key_may_come_as_a_bearer_token_and_the_address_without_a_path(sdk: Sdk) -> None:
    bearer = sdk.open(api_key=None, auth_token=sdk.world.key)
    assert bearer.messages.create(model="glm", max_tokens=9, messages=ask(tokens=1)).content[0].text == "w0 "
    bare = sdk.open(base_url=sdk.world.url)
    assert bare.messages.create(model="glm", max_tokens=9, messages=ask(tokens=1)).content[0].text == "w0 "
    assert [model.id for model in bare.models.list()] == ["glm"]


@table.works(CREATE)
def a_coding_plan_pays_where_there_is_one(sdk: Sdk) -> None:
    planned = sdk.open(sdk.world.plan_key)
    assert planned.messages.create(model="glm", max_tokens=9, messages=ask(tokens=1)).content[0].text == "w0 "
