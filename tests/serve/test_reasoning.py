"""Answers that begin with reasoning: told apart, counted apart, and not bound by the answer's grammar."""

import json
from collections.abc import Callable, Iterator

import httpx
import pytest

from openglm.asgi import Running
from openglm.engine.request import EngineOutput
from openglm.messages import Finish, ReasoningDelta, TextDelta, ToolCallDelta
from openglm.serve import Service, create_app
from openglm.serve.readers import ChatReader

HELLO = [{"role": "user", "content": "hello"}]
THINK, END_THINK, STOP = 259, 260, 256
TOOL = {
    "type": "function",
    "function": {
        "name": "count",
        "parameters": {
            "type": "object",
            "properties": {"n": {"enum": [1, 2]}},
            "required": ["n"],
            "additionalProperties": False,
        },
    },
}


@pytest.fixture(scope="module", params=["glm-4.5", "glm-4.7"])
def thinking_service(request: pytest.FixtureRequest, open_service: Callable[..., Service]) -> Service:
    return open_service(form=request.param, max_context=4096, cache_tokens=8192)


@pytest.fixture(scope="module")
def client(thinking_service: Service) -> Iterator[httpx.Client]:
    with Running(create_app(thinking_service)) as url, httpx.Client(base_url=url, timeout=60) as client:
        yield client


def ask(client: httpx.Client, **fields) -> dict:
    # The bias makes a random model come to the end of its reasoning soon.
    body = {"messages": HELLO, "max_tokens": 600, "seed": 1, "logit_bias": {str(END_THINK): 8}, **fields}
    response = client.post("/v1/chat/completions", json=body)
    assert response.status_code == 200, response.text
    return response.json()


def test_a_constraint_binds_the_answer_and_not_the_reasoning(client):
    body = ask(client, guided_regex="[ab]{12}", thinking={"type": "enabled"})
    # A random model may close a reasoning that it never opened; the tag is text then.
    content = body["choices"][0]["message"]["content"].split("</think>")[-1]
    assert len(content) == 12
    assert set(content) <= {"a", "b"}


def test_tokens_before_and_after_the_closing_tag_add_up(client, thinking_service):
    if thinking_service.chat_format.name == "glm-4.5":
        pytest.skip("its prompt leaves it to the model to open the reasoning")
    body = ask(client, guided_regex="[ab]{12}", thinking={"type": "enabled"})
    thought = body["usage"]["completion_tokens_details"]["reasoning_tokens"]
    # One byte of the answer is one token, and a token that ends the answer may follow.
    assert body["usage"]["completion_tokens"] - thought in (12, 13)
    assert thought > 0


def test_without_thinking_the_constraint_binds_from_the_first_token(client):
    body = ask(client, guided_regex="[ab]{12}", thinking={"type": "disabled"})
    message = body["choices"][0]["message"]
    assert set(message["content"]) <= {"a", "b"}
    assert "reasoning_content" not in message
    assert body["usage"]["completion_tokens_details"]["reasoning_tokens"] == 0


def test_a_required_call_comes_whether_or_not_reasoning_comes_first(client):
    body = ask(client, tools=[TOOL], tool_choice="required", parallel_tool_calls=False)
    choice = body["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert json.loads(choice["message"]["tool_calls"][0]["function"]["arguments"])["n"] in (1, 2)


def output(*ids: int, **more) -> EngineOutput:
    return EngineOutput(token_ids=ids, **more)


def read(service: Service, outputs: list[EngineOutput], **options) -> tuple[list, ChatReader]:
    form = service.chat_format
    opened = options.pop("reasoning_open", False)
    parser = form.parser(reasoning_open=opened, **options)
    reader = ChatReader(
        parser,
        service.tokenizer,
        reasoning_open=opened,
        reasoning_end=form.reasoning_end_token,
        caller_stops=(122,),
    )
    return [event for out in outputs for event in reader.read(out)], reader


def test_tokens_are_counted_on_the_side_they_belong_to(thinking_service):
    ids = [THINK, *b"hm", END_THINK, *b"yes", STOP]
    for split in range(len(ids)):
        outputs = [output(*ids[:split]), output(*ids[split:], finish=Finish("stop", STOP))]
        events, reader = read(thinking_service, outputs)
        assert "".join(e.text for e in events if isinstance(e, ReasoningDelta)) == "hm"
        assert "".join(e.text for e in events if isinstance(e, TextDelta)) == "yes"
        assert reader.reasoning_tokens == 4
        assert events[-1] == Finish("stop")


def test_reasoning_that_is_cut_off_counts_whole(thinking_service):
    events, reader = read(thinking_service, [output(*b"so it", finish=Finish("length"))], reasoning_open=True)
    assert reader.reasoning_tokens == 5
    assert events[-1] == Finish("length")


def test_the_callers_own_stop_token_is_told_and_not_shown(thinking_service):
    events, _ = read(thinking_service, [output(*b"az", finish=Finish("stop", 122))])
    assert events == [TextDelta("a"), Finish("stop", 122)]


def test_a_stop_string_leaves_the_text_before_it(thinking_service):
    events, _ = read(thinking_service, [output(*b"a", finish=Finish("stop", "END"), tail="b")])
    assert "".join(e.text for e in events if isinstance(e, TextDelta)) == "ab"
    assert events[-1] == Finish("stop", "END")


def test_a_call_that_breaks_off_does_not_finish_as_a_call(thinking_service):
    from openglm.messages import ToolSpec

    ids = thinking_service.tokenizer.encode_template("<tool_call>count\n<arg_key>n</arg_key>oops")
    events, _ = read(thinking_service, [output(*ids, finish=Finish("stop"))], tools=[ToolSpec("count")])
    assert events[-1] == Finish("stop")
    assert not any(isinstance(e, ToolCallDelta) and e.arguments.endswith("}") for e in events)


def test_a_model_without_a_prompt_format_completes_and_refuses_to_chat(service: Service):
    base = Service(service.engine, service.tokenizer, None, "base")
    with Running(create_app(base)) as url:
        refused = httpx.post(url + "/v1/chat/completions", json={"messages": HELLO})
        assert refused.status_code == 400
        assert refused.json()["error"]["code"] == "no_chat_format"
        assert "/v1/completions" in refused.json()["error"]["message"]
        assert httpx.post(url + "/v1/completions", json={"prompt": "a", "suffix": "b"}).status_code == 400
        assert httpx.post(url + "/v1/completions", json={"prompt": "a", "max_tokens": 2}).status_code == 200
