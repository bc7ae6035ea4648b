"""Chat, completions, embeddings and moderation through the official OpenAI client."""

from __future__ import annotations

import base64
import json
from typing import Any

import openai
from openai.types.chat import ChatCompletionChunk
from pydantic import BaseModel

from tests.sdk.openai_sdk import CALLING, WEATHER, Sdk, ask, table
from tests.sdk.table import PICTURE_URL

CREATE = "chat.completions.create"


class Tide(BaseModel):
    height: int


def echoed(sdk: Sdk, **body: Any) -> dict[str, Any]:
    """What our gateway asks the model's server with."""
    messages = body.pop("messages", None) or ask(echo=True)
    answer = sdk.client.chat.completions.create(model="glm", messages=messages, **body)
    return json.loads(answer.choices[0].message.content or "")


@table.works(CREATE)
def a_whole_answer_has_text_reasoning_and_usage(sdk: Sdk) -> None:
    answer = sdk.client.chat.completions.create(
        model="glm", messages=ask(tokens=4, reasoning=1, prompt=20, cached=8)
    )
    (choice,) = answer.choices
    assert (choice.message.content, choice.finish_reason) == ("w1 w2 w3 ", "stop")
    assert choice.message.model_dump()["reasoning_content"] == "w0 "
    usage = answer.usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (20, 4, 24)
    assert usage.prompt_tokens_details.cached_tokens == 8
    assert usage.completion_tokens_details.reasoning_tokens == 1
    assert answer._request_id.startswith("req_")


@table.works(CREATE)
def a_stream_opens_with_the_role_and_ends_with_usage_if_asked(sdk: Sdk) -> None:
    def chunks(**more: Any) -> list[ChatCompletionChunk]:
        asked = ask(tokens=3, reasoning=1, wait_s=0.06, prompt=20)
        return list(sdk.client.chat.completions.create(model="glm", messages=asked, stream=True, **more))

    plain = chunks()
    assert plain[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in plain) == "w1 w2 "
    assert plain[-1].choices[0].finish_reason == "stop"
    assert all(chunk.usage is None for chunk in plain)
    counted = chunks(stream_options={"include_usage": True})
    assert counted[-1].choices == []
    assert (counted[-1].usage.prompt_tokens, counted[-1].usage.completion_tokens) == (20, 3)
    assert len({chunk.id for chunk in counted}) == 1


@table.works("chat.completions.stream")
def the_helper_that_collects_a_stream_tells_of_each_thing_in_order(sdk: Sdk) -> None:
    with sdk.client.chat.completions.stream(
        model="glm", messages=ask(words=['{"heig', 'ht": 4}']), response_format=Tide
    ) as stream:
        kinds = list(dict.fromkeys(event.type for event in stream))
        final = stream.get_final_completion()
    assert kinds == ["chunk", "content.delta", "content.done"]
    assert final.choices[0].message.parsed == Tide(height=4)
    tool = openai.pydantic_function_tool(Tide, name="tide")
    call = [{"id": "call_1", "name": "tide", "arguments": '{"height": 5}'}]
    with sdk.client.chat.completions.stream(
        model="glm", messages=ask(tokens=1, calls=call, finish="tool_calls"), tools=[tool]
    ) as stream:
        kinds = [event.type for event in stream]
        (made,) = stream.get_final_completion().choices[0].message.tool_calls
    assert "tool_calls.function.arguments.delta" in kinds
    assert kinds.count("tool_calls.function.arguments.done") == 1
    assert made.function.parsed_arguments == Tide(height=5)


@table.works("chat.completions.parse")
def an_answer_is_parsed_into_a_model_and_its_schema_is_sent(sdk: Sdk) -> None:
    parsed = sdk.client.chat.completions.parse(
        model="glm", messages=ask(words=['{"height": 3}']), response_format=Tide
    )
    assert parsed.choices[0].message.parsed == Tide(height=3)
    asked = echoed(sdk, response_format={"type": "json_schema", "json_schema": {"name": "t", "schema": {}}})
    assert asked["response_format"]["type"] == "json_schema"
    try:
        sdk.client.chat.completions.parse(
            model="glm", messages=ask(words=["{"], finish="length"), response_format=Tide
        )
    except openai.LengthFinishReasonError as error:
        assert error.completion.choices[0].message.content == "{"  # noqa: PT017
    else:
        raise AssertionError("an answer that was cut was parsed")


@table.works(CREATE)
def a_tool_is_called_and_its_result_is_taken_back(sdk: Sdk) -> None:
    first = sdk.client.chat.completions.create(model="glm", messages=ask(**CALLING), tools=[WEATHER])
    message = first.choices[0].message
    assert first.choices[0].finish_reason == "tool_calls"
    (call,) = message.tool_calls
    assert (call.id, json.loads(call.function.arguments)) == ("call_1", {"city": "Wuhan"})
    turns = [
        *ask("go"),
        message,
        {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
        *ask(echo=True),
    ]
    asked = echoed(sdk, messages=turns, tools=[WEATHER], tool_choice="auto", parallel_tool_calls=False)
    assert asked["messages"][2] == {"role": "tool", "content": "rain", "tool_call_id": "call_1"}
    assert asked["parallel_tool_calls"] is False
    named = {"type": "function", "function": {"name": "weather"}}
    assert echoed(sdk, tools=[WEATHER], tool_choice=named)["tool_choice"] == named


@table.works(CREATE)
def images_at_addresses_and_as_data_reach_the_model(sdk: Sdk) -> None:
    for url in (sdk.world.picture, PICTURE_URL):
        parts = [
            {"type": "text", "text": json.dumps({"echo": True})},
            {"type": "image_url", "image_url": {"url": url, "detail": "low"}},
        ]
        asked = echoed(sdk, messages=[{"role": "user", "content": parts}])
        assert asked["messages"][0]["content"][1]["image_url"]["url"] == PICTURE_URL


@table.works(CREATE)
def fields_of_the_client_are_passed_on_or_do_no_harm(sdk: Sdk) -> None:
    asked = echoed(
        sdk,
        max_completion_tokens=77,
        temperature=1.5,
        top_p=0.9,
        presence_penalty=0.5,
        frequency_penalty=0.25,
        seed=5,
        stop=["END"],
        reasoning_effort="low",
        n=1,
        user="someone",
        store=False,
        metadata={"a": "b"},
        service_tier="auto",
        prompt_cache_key="k",
        safety_identifier="s",
        verbosity="low",
        logit_bias={"5": 1},
    )
    named = {name: asked[name] for name in ("max_tokens", "temperature", "top_p", "seed", "stop")}
    assert named == {"max_tokens": 77, "temperature": 1.5, "top_p": 0.9, "seed": 5, "stop": ["END"]}
    assert asked["chat_template_kwargs"]["reasoning_effort"] == "low"
    assert asked["logit_bias"] == {"5": 1.0}


@table.works(CREATE, "files.content", "models.list")
def raw_and_streamed_responses_can_be_had(sdk: Sdk) -> None:
    raw = sdk.client.chat.completions.with_raw_response.create(model="glm", messages=ask(tokens=1))
    assert raw.headers["x-request-id"].startswith("req_")
    assert raw.parse().choices[0].message.content == "w0 "
    with sdk.client.chat.completions.with_streaming_response.create(
        model="glm", messages=ask(tokens=1), stream=True
    ) as streamed:
        lines = [line for line in streamed.iter_lines() if line.startswith("data:")]
    assert lines[-1] == "data: [DONE]"
    assert sdk.client.models.with_raw_response.list().parse().data[0].id == "glm"
    file = sdk.client.files.create(file=("a.txt", b"tide"), purpose="user_data")
    with sdk.client.files.with_streaming_response.content(file.id) as content:
        assert content.read() == b"tide"


@table.works(CREATE, "chat.completions.stream", "models.list", "responses.create", "responses.stream")
def the_asynchronous_client_does_the_same(sdk: Sdk) -> None:
    async def work(client: openai.AsyncOpenAI) -> None:
        answer = await client.chat.completions.create(model="glm", messages=ask(tokens=2))
        assert answer.choices[0].message.content == "w0 w1 "
        stream = await client.chat.completions.create(model="glm", messages=ask(tokens=2), stream=True)
        assert "".join([chunk.choices[0].delta.content or "" async for chunk in stream]) == "w0 w1 "
        async with client.chat.completions.stream(model="glm", messages=ask(tokens=2)) as helped:
            assert (await helped.get_final_completion()).choices[0].message.content == "w0 w1 "
        parsed = await client.chat.completions.parse(
            model="glm", messages=ask(words=['{"height": 3}']), response_format=Tide
        )
        assert parsed.choices[0].message.parsed == Tide(height=3)
        assert [model.id async for model in client.models.list()] == ["glm"]
        response = await client.responses.create(model="glm", input='{"tokens": 2}')
        assert response.output_text == "w0 w1 "
        async with client.responses.stream(model="glm", input='{"tokens": 2}') as events:
            assert (await events.get_final_response()).output_text == "w0 w1 "
        vectors = await client.embeddings.create(model="glm", input=["a"], encoding_format="float")
        assert vectors.data[0].embedding == [1.0, 1.0]

    sdk.run(work)


@table.works("completions.create")
def a_raw_completion_is_whole_or_streamed(sdk: Sdk) -> None:
    whole = sdk.client.completions.create(model="glm", prompt='{"tokens": 3, "prompt": 9}', max_tokens=9)
    assert (whole.choices[0].text, whole.usage.prompt_tokens) == ("w0 w1 w2 ", 9)
    lenient = sdk.open(_strict_response_validation=False)  # which types finish_reason as if it came at once
    stream = lenient.completions.create(model="glm", prompt='{"tokens": 3}', stream=True)
    assert "".join(chunk.choices[0].text for chunk in stream if chunk.choices) == "w0 w1 w2 "


@table.works("embeddings.create")
def vectors_come_as_numbers_and_as_base64(sdk: Sdk) -> None:
    lenient = sdk.open(_strict_response_validation=False)  # the client asks for base64 and types numbers
    made = lenient.embeddings.create(model="glm", input=["a", "four"])
    assert [(entry.index, entry.embedding) for entry in made.data] == [(0, [1.0, 1.0]), (1, [4.0, 1.0])]
    assert (made.usage.prompt_tokens, made.model) == (14, "glm")
    plain = sdk.client.embeddings.create(model="glm", input="four", encoding_format="float")
    assert plain.data[0].embedding == [4.0, 1.0]


@table.works("moderations.create")
def a_text_is_judged_by_the_categories_that_are_known_here(sdk: Sdk) -> None:
    lenient = sdk.open(_strict_response_validation=False)  # OpenAI's own list of categories is typed
    parts = [{"type": "text", "text": "a kind word"}]
    for given, count in (("a kind word", 1), (["one", "two"], 2), (parts, 1)):
        judged = lenient.moderations.create(model="omni-moderation-latest", input=given)
        assert [result.flagged for result in judged.results] == [False] * count
        assert judged.id


@table.works("beta.chat.completions.create", "beta.chat.completions.parse", "beta.chat.completions.stream")
def the_older_place_of_the_helpers_is_the_same_one(sdk: Sdk) -> None:
    assert type(sdk.client.beta.chat.completions) is type(sdk.client.chat.completions)


@table.works("images.generate")
def an_image_is_drawn(sdk: Sdk) -> None:
    drawn = sdk.client.images.generate(model="glm", prompt="the sea", response_format="b64_json")
    assert base64.b64decode(drawn.data[0].b64_json).startswith(b"\x89PNG")


@table.works("models.list", "models.retrieve")
def models_are_listed_and_found(sdk: Sdk) -> None:
    assert [model.id for model in sdk.client.models.list()] == ["glm"]
    assert sdk.client.models.retrieve("glm").object == "model"
