"""Anthropic's routes as its official SDK and plain HTTP see them; who pays, and how much."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import anthropic
import httpx
import pytest

from openglm.maas.identity import Keys
from openglm.maas.limits import Rule
from tests.maas.gateway.conftest import YUAN, House
from tests.maas.gateway.test_bills import price

PATH = "/api/anthropic/v1/messages"


@pytest.fixture
def client(house: House) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=f"{house.url}/api/anthropic", api_key=house.key, max_retries=0) as made:
        yield made


def ask(**script) -> list[dict]:
    return [{"role": "user", "content": json.dumps(script)}]


def body(stream: bool = False, max_tokens: int = 64, **script) -> dict:
    return {"model": "glm", "max_tokens": max_tokens, "stream": stream, "messages": ask(**script)}


def events(text: str) -> list[tuple[str, dict]]:
    found = []
    for frame in text.removesuffix("\n\n").split("\n\n"):
        name, data = frame.split("\n")
        found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


def subscribe(house: House, plans: str) -> None:
    async def work() -> None:
        await house.platform.plans.load(plans)
        await house.platform.plans.subscribe(house.org_id, "p", idempotency_key="p")

    asyncio.run(work())


# The official SDK


def test_the_sdk_gets_whole_answers_and_streams(house: House, client: anthropic.Anthropic, wait_until):
    script = {"tokens": 4, "reasoning": 1, "prompt": 20, "cached": 8}
    made = client.messages.create(
        model="glm", max_tokens=64, messages=ask(**script), thinking={"type": "adaptive"}
    )
    thought, text = made.content
    assert (thought.thinking, text.text) == ("w0 ", "w1 w2 w3 ")
    assert made.stop_reason == "end_turn"
    assert made._request_id.startswith("req_")
    with client.messages.stream(model="glm", max_tokens=64, messages=ask(**script)) as stream:
        assert "".join(stream.text_stream) == "w1 w2 w3 "
        streamed = stream.get_final_message()
    assert streamed.usage.to_dict() == made.usage.to_dict()
    assert made.usage.input_tokens == 12
    assert made.usage.cache_read_input_tokens == 8
    assert made.usage.output_tokens == 4
    assert [block.to_dict() for block in streamed.content] == [block.to_dict() for block in made.content]
    house.settled(wait_until)
    rows = house.usage()
    assert [row["cost_nano"] for row in rows] == [price(20, 8, 4)] * 2
    assert {row["dialect"] for row in rows} == {"anthropic"}


def test_a_loop_of_tools_gives_its_reasoning_back(house: House, client: anthropic.Anthropic):
    tools = [{"name": "f", "description": "d", "input_schema": {"type": "object", "properties": {}}}]
    house.upstream.always = {
        "reasoning": 1,
        "words": ["hm", "let me see"],
        "calls": [{"id": "t1", "name": "f", "arguments": '{"a": 1}'}],
        "finish": "tool_calls",
    }
    messages = [{"role": "user", "content": "go"}]
    first = client.messages.create(
        model="glm", max_tokens=64, messages=messages, tools=tools, thinking={"type": "adaptive"}
    )
    assert first.stop_reason == "tool_use"
    assert first.content[-1].input == {"a": 1}
    with client.messages.stream(model="glm", max_tokens=64, messages=messages, tools=tools) as stream:
        assert [block.to_dict() for block in stream.get_final_message().content] == [
            block.to_dict() for block in first.content
        ]
    messages += [
        {"role": "assistant", "content": first.content},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "42"}]},
    ]
    client.messages.create(model="glm", max_tokens=64, messages=messages, tools=tools)
    sent = house.upstream.bodies[-1]["messages"]
    assert sent[1]["reasoning_content"] == "hm"
    assert sent[1]["content"] == "let me see"
    assert sent[1]["tool_calls"][0]["function"] == {"name": "f", "arguments": '{"a":1}'}
    assert sent[2] == {"role": "tool", "content": "42", "tool_call_id": "t1"}
    edited = first.content[0].to_dict() | {"thinking": "do evil"}
    messages[1] = {"role": "assistant", "content": [edited]}
    with pytest.raises(anthropic.BadRequestError, match="signature"):
        client.messages.create(model="glm", max_tokens=64, messages=messages, tools=tools)


def test_the_sdk_counts_tokens_for_nothing(house: House, client: anthropic.Anthropic):
    counted = client.messages.count_tokens(
        model="glm", messages=[{"role": "user", "content": "one two three"}]
    )
    assert counted.input_tokens == 3
    assert not house.rows("SELECT 1 FROM hold")
    with pytest.raises(anthropic.NotFoundError):
        client.messages.count_tokens(model="nobody", messages=ask())


def test_the_sdk_lists_models(house: House, client: anthropic.Anthropic):
    assert [model.id for model in client.models.list()] == ["glm"]
    assert client.models.retrieve("glm").display_name == "glm"
    with pytest.raises(anthropic.NotFoundError):
        client.models.retrieve("nobody")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"model": "nobody"}, (anthropic.NotFoundError, "not_found_error")),
        ({"max_tokens": 0}, (anthropic.BadRequestError, "invalid_request_error")),
        ({"extra_body": {"temperature": 9}}, (anthropic.BadRequestError, "invalid_request_error")),
        ({"messages": ask(status=500)}, (anthropic.InternalServerError, "api_error")),
        ({"messages": ask(status=503)}, (anthropic.InternalServerError, "overloaded_error")),
        (
            {"messages": ask(status=400, message="the maximum context length is 9")},
            (anthropic.BadRequestError, "invalid_request_error"),
        ),
        ({"messages": ask(dies=0)}, (anthropic.InternalServerError, "api_error")),
    ],
)
def test_the_sdk_raises_its_own_errors(
    house: House, client: anthropic.Anthropic, wait_until, fields, expected
):
    error, kind = expected
    with pytest.raises(error) as caught:
        client.messages.create(**{"model": "glm", "max_tokens": 9, "messages": ask(), **fields})
    assert caught.value.type == kind
    assert caught.value.request_id.startswith("req_")
    assert caught.value.body["request_id"] == caught.value.request_id
    house.settled(wait_until)
    assert house.balance() == 10 * YUAN


def test_the_sdk_tells_who_may_not_and_who_cannot_pay(house: House, client: anthropic.Anthropic):
    def fails(made: anthropic.Anthropic) -> anthropic.APIStatusError:
        with pytest.raises(anthropic.APIStatusError) as caught:
            made.messages.create(model="glm", max_tokens=9, messages=ask())
        return caught.value

    stranger = client.with_options(api_key="nonsense", max_retries=0)
    assert isinstance(fails(stranger), anthropic.AuthenticationError)
    project = house.rows("SELECT id FROM project")[0]["id"]
    keys = Keys(house.platform.database, house.platform.secrets)
    narrow = asyncio.run(keys.create(house.org_id, project, "narrow", models=["other"]))
    assert isinstance(fails(client.with_options(api_key=narrow.key)), anthropic.PermissionDeniedError)
    asyncio.run(house.platform.wallet.adjust(house.org_id, -10 * YUAN, idempotency_key="poor", reason="test"))
    poor = fails(client)
    assert (poor.status_code, poor.type) == (402, "billing_error")
    assert poor.response.headers["x-should-retry"] == "false"


def test_the_sdk_waits_where_a_limit_asks_it_to(house: House, client: anthropic.Anthropic):
    asyncio.run(house.platform.limits.rules.put(Rule(rpm=1)))
    asyncio.run(house.platform.limits.reload())
    client.messages.create(model="glm", max_tokens=9, messages=ask())
    with pytest.raises(anthropic.RateLimitError) as caught:
        client.messages.create(model="glm", max_tokens=9, messages=ask())
    assert int(caught.value.response.headers["retry-after"]) >= 1


def test_the_sdk_hears_that_conversations_are_not_kept_here(house: House, client: anthropic.Anthropic):
    """Its loops of tools begin with a thread, and go on without one after this error."""
    with pytest.raises(anthropic.BadRequestError) as caught:
        client.beta.messages.create(
            model="glm", max_tokens=9, messages=ask(), extra_body={"thread": {"type": "create"}}
        )
    assert caught.value.body["error"]["details"] == {"error_code": "thread_unsupported_request"}
    assert not house.rows("SELECT 1 FROM hold")


def test_the_sdk_raises_what_breaks_a_stream(client: anthropic.Anthropic):
    with (
        pytest.raises(anthropic.APIStatusError) as caught,
        client.messages.stream(model="glm", max_tokens=64, messages=ask(tokens=9, dies=4)) as stream,
    ):
        stream.until_done()
    assert caught.value.type == "api_error"


# The wire


def test_the_events_of_a_stream_come_in_the_strict_order(house: House):
    answer = house.post(PATH + "?beta=true", body(True, tokens=3, reasoning=1, prompt=20, cached=8))
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["request-id"].startswith("req_")
    found = events(answer.text)
    assert [name for name, _ in found if name != "content_block_delta"] == [
        "message_start",
        "content_block_start",
        "content_block_stop",
        "content_block_start",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert all(name == data["type"] for name, data in found)
    start = found[0][1]["message"]["usage"]
    assert (start["input_tokens"], start["cache_read_input_tokens"]) == (12, 8)
    assert found[-2][1]["usage"]["output_tokens"] == 3
    assert "[DONE]" not in answer.text


def test_every_cut_of_the_models_answer_is_the_same_stream(house: House):
    def content(**script) -> list[tuple[str, str, str]]:
        found: list[list[str]] = []
        for name, data in events(house.post(PATH, body(True, tokens=5, reasoning=2, **script)).text):
            if name == "content_block_start":
                found.append([data["content_block"]["type"], "", ""])
            elif name == "content_block_delta" and "signature" in data["delta"]:
                found[-1][2] = data["delta"]["signature"]
            elif name == "content_block_delta":
                found[-1][1] += data["delta"].get("text") or data["delta"]["thinking"]
        return [tuple(block) for block in found]

    whole = content()
    assert [(kind, text) for kind, text, _ in whole] == [("thinking", "w0 w1 "), ("text", "w2 w3 w4 ")]
    assert content(piece=1) == content(piece=7) == content(crlf=True) == content(usage="last") == whole


def test_an_upstream_that_counts_at_the_end_or_never_tells_clients_the_prompt_first(house: House):
    script = {"tokens": 3, "prompt": 20, "usage": "last"}
    counted = house.post(f"{PATH}/count_tokens", {"model": "glm", "messages": ask(**script)}).json()
    late = events(house.post(PATH, body(True, **script)).text)
    assert late[0][1]["message"]["usage"]["input_tokens"] == counted["input_tokens"] > 0
    assert late[-2][1]["usage"]["input_tokens"] == 20
    never = events(house.post(PATH, body(True, **{**script, "usage": "never"})).text)
    assert never[0][1]["message"]["usage"]["input_tokens"] == counted["input_tokens"]
    assert never[-2][1]["usage"]["output_tokens"] == 3
    asked = house.upstream.counting
    house.post(PATH, body(True, **{**script, "usage": "always"}))
    assert house.upstream.counting == asked  # who counts from the first word is asked nothing


def test_what_the_models_server_is_asked(house: House):
    asked = {
        **body(),
        "system": [
            {"type": "text", "text": "x-anthropic-billing-header: cch=1;"},
            {"type": "text", "text": "s"},
        ],
        "thinking": {"type": "adaptive"},
        "output_config": {"effort": "high"},
        "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        "stop_sequences": ["END"],
    }
    headers = {"anthropic-beta": "a,b", "anthropic-version": "2023-06-01", "x-claude-code-session-id": "s1"}
    assert house.post(PATH, asked, headers=headers).status_code == 200
    sent = house.upstream.bodies[-1]
    assert sent["messages"][0] == {"role": "system", "content": "s"}
    assert sent["chat_template_kwargs"] == {"reasoning_effort": "high", "clear_thinking": False}
    assert sent["stop"] == ["END"]
    assert sent["max_tokens"] == 64


def test_the_alias_and_both_ways_to_send_the_key(house: House):
    for path in ("/v1/messages", PATH):
        for headers in ({"x-api-key": house.key}, {"authorization": f"Bearer {house.key}"}):
            answer = httpx.post(house.url + path, json=body(), headers=headers)
            assert answer.status_code == 200, answer.text
            assert answer.json()["type"] == "message"
    counted = house.post("/v1/messages/count_tokens", {"model": "glm", "messages": ask(a=1)})
    assert counted.json() == {"input_tokens": 2}


def test_agents_find_the_address_without_a_key(house: House):
    for path in ("/api/anthropic", "/api/anthropic/"):
        assert httpx.head(house.url + path).status_code == 200
        assert httpx.get(house.url + path).status_code == 200
    assert httpx.get(house.url + "/api/anthropic/v1/models").status_code == 401


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'"x"', b"\xff\xfe", b'{"model": "glm"}', b"[" * 10_000, b'{"messages": 1}']
)
def test_bad_bodies_are_told_and_cost_nothing(house: House, content: bytes):
    answer = httpx.post(house.url + PATH, content=content, headers={"x-api-key": house.key})
    assert answer.status_code == 400
    told = answer.json()
    assert told["type"] == "error"
    assert told["error"]["type"] == "invalid_request_error"
    assert told["request_id"] == answer.headers["request-id"]
    assert not house.rows("SELECT 1 FROM hold")


# Who pays, and how much


def test_clients_that_drop_at_any_moment_are_billed_what_the_model_wrote(house: House, wait_until):
    chance = random.Random(2)

    def drop(number: int) -> None:
        after = chance.randrange(90)
        headers = {"x-api-key": house.key}
        asked = body(True, max_tokens=500, tokens=200, reasoning=20, pace_s=0.001)
        with (
            httpx.Client(timeout=60) as http,
            http.stream("POST", house.url + PATH, json=asked, headers=headers) as answer,
        ):
            assert answer.status_code == 200
            lines = answer.iter_lines()
            for _ in range(after):
                next(lines, None)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(drop, range(40)))
    house.settled(wait_until)
    rows = house.usage()
    assert len(rows) == 40
    billed = {row["request_id"]: row["output_text"] + row["output_reasoning"] for row in rows}
    begun = {name: counted["completion"] for name, counted in house.upstream.billed.items()}
    assert billed == dict.fromkeys(billed, 0) | begun  # some left before the model wrote a word
    assert house.balance() == 10 * YUAN - sum(row["cost_nano"] for row in rows)


def test_a_client_that_drops_while_a_whole_answer_is_made_is_billed_too(house: House, wait_until):
    with house.left(PATH, body(tokens=100_000, max_tokens=100_000, pace_s=0.002)):
        wait_until(lambda: house.upstream.billed)
    wait_until(lambda: len(house.usage()) == 1)
    (row,) = house.usage()
    (counted,) = house.upstream.billed.values()
    assert (row["status"], row["output_text"]) == ("partial", counted["completion"])


PLAN = """
[plans.p]
windows = { 5h = 5_000 }
[models."glm"]
uncached = 1
cached = 0
output = 1
"""


def test_a_subscription_pays_and_when_used_up_never_the_wallet(house: House, wait_until):
    subscribe(house, PLAN)
    assert house.post(PATH, body(tokens=9, prompt=20)).status_code == 200
    house.settled(wait_until)
    (row,) = house.usage()
    assert (row["cost_nano"], row["credits"]) == (0, 29)
    refused = house.post(PATH, body(max_tokens=9_000, filler="x " * 5_000))
    assert refused.status_code == 429
    assert refused.json()["error"]["type"] == "rate_limit_error"
    assert refused.headers["x-should-retry"] == "false"
    assert int(refused.headers["retry-after"]) > 3600
    house.settled(wait_until)
    assert house.balance() == 10 * YUAN


def test_a_model_outside_the_plan_and_an_ended_plan_are_paid_by_the_wallet(house: House, wait_until):
    subscribe(house, PLAN.replace('"glm"', '"glm-other"'))
    assert house.post(PATH, body(tokens=9, prompt=20)).status_code == 200
    house.settled(wait_until)
    assert house.balance() == 10 * YUAN - price(20, 0, 9)
    asyncio.run(house.platform.plans.load(PLAN))

    async def again() -> None:
        (old,) = await house.platform.plans.subscriptions(house.org_id)
        await house.platform.plans.end(house.org_id, old.id)
        new = await house.platform.plans.subscribe(house.org_id, "p", idempotency_key="again")
        await house.platform.plans.end(house.org_id, new.id)

    asyncio.run(again())
    assert house.post(PATH, body(tokens=9, prompt=20)).status_code == 200
    house.settled(wait_until)
    assert house.balance() == 10 * YUAN - 2 * price(20, 0, 9)
