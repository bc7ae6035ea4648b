"""Chat, at once and later, tools, thinking, images, and the coding routes, through Zhipu's SDKs."""

from __future__ import annotations

import json
from typing import Any

from tests.sdk.patience import patient
from tests.sdk.table import PICTURE_URL, until
from tests.sdk.zhipu import CODING, Sdk, ask, both, zai

CHAT = "chat.completions.create"
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
CALLING = {
    "tokens": 1,
    "calls": [{"id": "call_1", "name": "weather", "arguments": '{"city": "Wuhan"}'}],
    "finish": "tool_calls",
}


def echoed(sdk: Sdk, **body: Any) -> dict[str, Any]:
    """What our gateway asks the model's server with."""
    messages = body.pop("messages", None) or ask(echo=True)
    answer = sdk.client.chat.completions.create(model="glm", messages=messages, **body)
    return json.loads(answer.choices[0].message.content)


@both.works(CHAT)
def a_whole_answer_has_text_reasoning_and_usage(sdk: Sdk) -> None:
    answer = sdk.client.chat.completions.create(
        model="glm", messages=ask(tokens=4, reasoning=1, prompt=20, cached=8), request_id="whole-answer-1"
    )
    (choice,) = answer.choices
    assert (choice.message.reasoning_content, choice.message.content) == ("w0 ", "w1 w2 w3 ")
    assert (choice.message.role, choice.finish_reason) == ("assistant", "stop")
    assert (answer.model, answer.request_id) == ("glm", "whole-answer-1")
    assert answer.id
    assert answer.created
    usage = answer.usage.model_dump()
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (20, 4, 24)
    assert usage["prompt_tokens_details"] == {"cached_tokens": 8}


@both.works(CHAT)
def a_stream_has_reasoning_before_text_and_one_usage_at_its_end(sdk: Sdk) -> None:
    chunks = list(
        sdk.lenient.chat.completions.create(
            model="glm", messages=ask(tokens=5, reasoning=2, prompt=20), stream=True
        )
    )
    deltas = [chunk.choices[0].delta for chunk in chunks]
    kinds = ["reasoning" if delta.reasoning_content else "text" for delta in deltas if text_of(delta)]
    assert kinds == sorted(kinds)  # reasoning first
    assert "".join(map(text_of, deltas)) == "w0 w1 w2 w3 w4 "
    assert {delta.role for delta in deltas} == {"assistant"}
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices[0].finish_reason] == ["stop"]
    assert [bool(chunk.usage) for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert (chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens) == (20, 5)
    assert len({chunk.id for chunk in chunks}) == 1


@both.works(CHAT)
def keep_alives_of_a_slow_stream_are_passed_over(sdk: Sdk) -> None:
    with patient(b": keep-alive\n\n", words=(0, 1)) as (hearing, gates):
        client = sdk.open(http_client=hearing, _strict_response_validation=False)
        slow = ask(tokens=3, gates=gates)
        stream = client.chat.completions.create(model="glm", messages=slow, stream=True)
        assert "".join(text_of(chunk.choices[0].delta) for chunk in stream) == "w0 w1 w2 "


@both.works(CHAT)
def a_tool_is_called_answered_and_called_no_more(sdk: Sdk) -> None:
    first = sdk.client.chat.completions.create(
        model="glm", messages=ask(**CALLING), tools=[WEATHER], tool_choice="auto"
    )
    assert first.choices[0].finish_reason == "tool_calls"
    (call,) = first.choices[0].message.tool_calls
    assert (call.id, call.type, call.function.name) == ("call_1", "function", "weather")
    assert json.loads(call.function.arguments) == {"city": "Wuhan"}
    messages = [
        *ask("go"),
        first.choices[0].message.model_dump(),
        {"role": "tool", "tool_call_id": call.id, "content": "rain"},
        *ask(echo=True),
    ]
    asked = echoed(sdk, messages=messages, tools=[WEATHER])["messages"]
    assert asked[1]["tool_calls"][0]["function"]["name"] == "weather"
    assert asked[2] == {"role": "tool", "content": "rain", "tool_call_id": "call_1"}


@both.works(CHAT)
def a_streamed_call_comes_whole_unless_it_is_asked_for_in_pieces(sdk: Sdk) -> None:
    def calls(**more: Any) -> list[str]:
        stream = sdk.lenient.chat.completions.create(
            model="glm", messages=ask(**CALLING), tools=[WEATHER], stream=True, **more
        )
        found = [call for chunk in stream for call in chunk.choices[0].delta.tool_calls or ()]
        assert {call.index for call in found} == {0}
        assert next(call.function.name for call in found if call.function.name) == "weather"
        return [call.function.arguments for call in found]

    assert calls() == ['{"city": "Wuhan"}']
    pieces = calls(extra_body={"tool_stream": True})
    assert len(pieces) > 3
    assert "".join(pieces) == '{"city": "Wuhan"}'


@both.works(CHAT)
def thinking_and_its_reasoning_reach_the_model(sdk: Sdk) -> None:
    assert "chat_template_kwargs" not in echoed(sdk)
    asked = echoed(sdk, thinking={"type": "disabled"})
    assert asked["chat_template_kwargs"] == {"enable_thinking": False}
    messages = [
        *ask("hi"),
        {"role": "assistant", "content": "hello", "reasoning_content": "greet"},
        *ask(echo=True),
    ]
    asked = echoed(sdk, messages=messages, thinking={"type": "enabled", "clear_thinking": False})
    assert asked["chat_template_kwargs"] == {"enable_thinking": True, "clear_thinking": False}
    assert asked["messages"][1]["reasoning_content"] == "greet"


@both.works(CHAT)
def the_form_of_an_answer_is_passed_on(sdk: Sdk) -> None:
    assert "response_format" not in echoed(sdk, response_format={"type": "text"})
    assert echoed(sdk, response_format={"type": "json_object"})["response_format"] == {"type": "json_object"}
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    assert echoed(sdk, response_format=form)["response_format"]["json_schema"]["schema"] == schema


@both.works(CHAT)
def what_the_sdk_makes_of_temperatures_is_understood(sdk: Sdk) -> None:
    asked = echoed(sdk, temperature=0.3, top_p=0.8, max_tokens=77, seed=5, stop=["END"])
    named = {name: asked[name] for name in ("temperature", "top_p", "max_tokens", "seed", "stop")}
    assert named == {"temperature": 0.3, "top_p": 0.8, "max_tokens": 77, "seed": 5, "stop": ["END"]}
    assert echoed(sdk, temperature=0)["temperature"] == 0  # the SDK says do_sample=false and 0.01
    assert echoed(sdk, temperature=1)["temperature"] == 0.99


@both.works(CHAT)
def an_image_may_be_an_address_a_data_url_or_bare(sdk: Sdk) -> None:
    def seen(url: str) -> str:
        parts = [
            {"type": "image_url", "image_url": {"url": url}},
            {"type": "text", "text": json.dumps({"echo": True})},
        ]
        asked = echoed(sdk, messages=[{"role": "user", "content": parts}])
        return asked["messages"][0]["content"][0]["image_url"]["url"]

    assert seen(sdk.world.picture) == PICTURE_URL
    assert seen(PICTURE_URL) == PICTURE_URL  # the SDK strips the head, the gateway puts it back
    assert seen(PICTURE_URL.partition(",")[2]) == PICTURE_URL


@both.works(CHAT)
def a_search_of_the_platforms_comes_back_with_the_answer(sdk: Sdk) -> None:
    tool = {"type": "web_search", "web_search": {"enable": True, "search_result": True}}
    answer = sdk.client.chat.completions.create(model="glm", messages=ask("what makes tides"), tools=[tool])
    found = answer.model_dump()["web_search"]
    assert [hit["link"] for hit in found] == ["https://a.example/tides"]


@both.works(CHAT)
def fields_of_the_service_that_mean_nothing_here_do_no_harm(sdk: Sdk) -> None:
    answer = sdk.client.chat.completions.create(
        model="glm",
        messages=ask(tokens=1),
        user_id="user-123456",
        do_sample=True,
        sensitive_word_check={"type": "ALL", "status": "ENABLE"},
        meta={"user_info": "a"},
        extra={"target": {"path": "a.py", "language": "python", "code_prefix": "", "code_suffix": ""}},
    )
    assert answer.choices[0].message.content == "w0 "


@both.works("chat.asyncCompletions.create", "chat.asyncCompletions.retrieve_completion_result")
def an_answer_may_be_fetched_later(sdk: Sdk) -> None:
    later = sdk.client.chat.asyncCompletions
    begun = later.create(model="glm", messages=ask(tokens=3, reasoning=1), request_id="later-1")
    assert (begun.task_status, begun.request_id, begun.model) == ("PROCESSING", "later-1", "glm")

    def ended() -> Any:
        result = later.retrieve_completion_result(begun.id)
        return result if result.task_status != "PROCESSING" else None

    result = until(ended)
    assert (result.task_status, result.request_id) == ("SUCCESS", "later-1")
    assert type(result).__name__ == "AsyncCompletion"
    assert result.choices[0].message.content == "w1 w2 "
    assert result.choices[0].message.reasoning_content == "w0 "
    assert result.usage.completion_tokens == 3
    with sdk.raises("APIRequestFailedError", "1233"):
        later.retrieve_completion_result("task_nobody")


@both.works("chat.asyncCompletions.create")
def a_later_answer_that_fails_says_why(sdk: Sdk) -> None:
    later = sdk.client.chat.asyncCompletions
    begun = later.create(model="glm", messages=ask("hi"), temperature=0.5, stop=[""])

    def ended() -> Any:
        result = later.retrieve_completion_result(begun.id)
        return result if result.task_status != "PROCESSING" else None

    failed = until(ended)
    assert failed.task_status == "FAIL"
    assert failed.model_dump()["error"]["code"] == "1214"


@both.works(CHAT)
def the_coding_routes_spend_the_plan(sdk: Sdk) -> None:
    planned = sdk.open(sdk.world.plan_key, CODING)
    answer = planned.chat.completions.create(model="glm", messages=ask(tokens=2))
    assert answer.choices[0].message.content == "w0 w1 "
    models = planned.get("/models", cast_type=object)
    assert [model["id"] for model in models["data"]] == ["glm"]
    with sdk.raises("APIReachLimitError", "1113"):
        sdk.open(base=CODING).chat.completions.create(model="glm", messages=ask(tokens=2))


@both.works(CHAT)
def a_signed_token_is_as_good_as_the_key(sdk: Sdk) -> None:
    signed = sdk.open(disable_token_cache=False)
    assert signed.auth_headers["Authorization"].count(".") == 2
    assert signed.chat.completions.create(model="glm", messages=ask(tokens=1)).usage.completion_tokens == 1
    assert signed.files.list().data is not None


@zai.works(CHAT)
def how_hard_to_think_and_how_to_stream_calls_have_words_of_their_own(sdk: Sdk) -> None:
    asked = echoed(sdk, reasoning_effort="high", tool_stream=True, watermark_enabled=False)
    assert asked["chat_template_kwargs"]["reasoning_effort"] == "high"


@zai.works(CHAT)
def the_other_client_of_the_package_works_too(sdk: Sdk) -> None:
    client = sdk.package.ZhipuAiClient(api_key=sdk.world.key, base_url=f"{sdk.world.url}/api/paas/v4/")
    assert client.chat.completions.create(model="glm", messages=ask(tokens=1)).usage.completion_tokens == 1


def text_of(delta: Any) -> str:
    return (delta.reasoning_content or "") + (delta.content or "")
