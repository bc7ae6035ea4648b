"""Every answer is billed once and to the token, whoever leaves, fails or comes twice."""

from __future__ import annotations

import asyncio
import json
import random
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import openai
import pytest

from openglm.maas.limits import Rule
from openglm.maas.platform import Platform
from openglm.maas.settings import Settings
from openglm.maas.upstreams import Channel
from tests.maas.gateway.conftest import PICO_CACHED, PICO_IN, PICO_OUT, YUAN, House, housed, most


def chat(stream: bool = False, max_tokens: int = 64, **script) -> dict:
    return {
        "model": "glm",
        "messages": [{"role": "user", "content": json.dumps(script)}],
        "max_tokens": max_tokens,
        "stream": stream,
    }


def price(prompt: int, cached: int, output: int) -> int:
    return ((prompt - cached) * PICO_IN + cached * PICO_CACHED + output * PICO_OUT) // 1000


def test_an_answer_costs_what_its_tokens_cost_streamed_or_whole(house: House, wait_until):
    for stream in (False, True):
        answer = house.post("/v1/chat/completions", chat(stream, tokens=7, prompt=20, cached=8))
        assert answer.status_code == 200, answer.text
        assert "w6 " in answer.text
    house.settled(wait_until)
    rows = house.usage()
    assert [row["cost_nano"] for row in rows] == [price(20, 8, 7)] * 2
    assert house.balance() == 10 * YUAN - 2 * price(20, 8, 7)


def test_the_official_client_streams_completes_embeds_and_lists(house: House, wait_until):
    client = openai.OpenAI(base_url=f"{house.url}/v1", api_key=house.key, max_retries=0)
    message = {"role": "user", "content": '{"tokens": 4, "reasoning": 1}'}
    whole = client.chat.completions.create(model="glm", messages=[message])
    assert whole.choices[0].message.content == "w1 w2 w3 "
    assert whole.usage.completion_tokens_details.reasoning_tokens == 1
    chunks = list(
        client.chat.completions.create(
            model="glm", messages=[message], stream=True, stream_options={"include_usage": True}
        )
    )
    assert chunks[-1].usage.total_tokens == 9
    assert client.completions.create(model="glm", prompt='{"tokens": 2}').choices[0].text == "w0 w1 "
    assert len(client.embeddings.create(model="glm", input=["a", "b"]).data) == 2
    assert [model.id for model in client.models.list()] == ["glm"]
    house.settled(wait_until)
    assert [row["kind"] for row in house.usage()] == ["chat", "chat", "completion", "embedding"]


def test_clients_that_drop_at_any_moment_are_billed_what_the_model_wrote(house: House, wait_until):
    """R1 at a reduced count."""
    chance = random.Random(1)

    def drop(number: int) -> None:
        after = chance.randrange(60)
        body = chat(True, max_tokens=500, tokens=200, pace_s=0.001)
        headers = {"authorization": f"Bearer {house.key}"}
        with (
            httpx.Client(timeout=60) as client,
            client.stream("POST", f"{house.url}/v1/chat/completions", json=body, headers=headers) as answer,
        ):
            assert answer.status_code == 200
            lines = answer.iter_lines()
            for _ in range(after):
                next(lines, None)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(drop, range(60)))
    house.settled(wait_until)
    rows = house.usage()
    assert len(rows) == 60
    billed = {row["request_id"]: row["output_text"] + row["output_reasoning"] for row in rows}
    for request_id, counted in house.upstream.billed.items():
        assert billed[request_id] == counted["completion"], request_id
    assert house.balance() == 10 * YUAN - sum(row["cost_nano"] for row in rows)
    assert house.upstream.open == 0


def test_clients_that_drop_while_a_whole_answer_is_made_are_billed_too(house: House, wait_until):
    for number in range(1, 6):
        with house.left("/v1/chat/completions", chat(tokens=100_000, max_tokens=100_000, pace_s=0.002)):
            wait_until(lambda count=number: len(house.upstream.billed) == count)
    wait_until(lambda: len(house.usage()) == 5)
    rows = house.usage()
    assert {row["status"] for row in rows} == {"partial"}
    billed = {row["request_id"]: row["output_text"] for row in rows}
    assert billed == {name: counted["completion"] for name, counted in house.upstream.billed.items()}


def test_two_hundred_at_once_with_money_for_ten_are_ten(house: House, wait_until):
    """R4: what ten requests hold, and none ends before all have asked."""
    body = chat(tokens=64)
    left = 10 * most(body) + PICO_OUT // 1000  # the rest covers no answer, however the prompt is counted
    adjusting = house.platform.wallet.adjust(
        house.org_id, left - house.balance(), idempotency_key="race", reason="test"
    )
    asyncio.run(adjusting)
    house.upstream.gate = threading.Event()
    refused: list[int] = []

    def ask(_: int) -> int:
        status = house.post("/v1/chat/completions", body).status_code
        if status != 200:
            refused.append(status)
        return status

    with ThreadPoolExecutor(200) as pool:
        asked = [pool.submit(ask, number) for number in range(200)]
        try:
            wait_until(lambda: len(refused) == 190)
        finally:
            house.upstream.gate.set()
        statuses = [one.result() for one in asked]
    house.settled(wait_until)
    assert (statuses.count(200), statuses.count(429)) == (10, 190)
    assert house.balance() == left - 10 * price(5, 0, 64)


def test_an_answer_longer_than_its_hold_goes_on_holding_and_stops_when_nothing_is_left(house, wait_until):
    long = house.post("/v1/chat/completions", chat(tokens=3000, max_tokens=4000))
    assert long.status_code == 200
    house.settled(wait_until)
    assert house.usage()[-1]["output_text"] == 3000


@pytest.mark.parametrize("script", [{"dies": 0}, {"status": 500}, {"status": 503}])
def test_an_upstream_that_says_nothing_costs_nothing(house: House, wait_until, script):
    answer = house.post("/v1/chat/completions", chat(**script))
    assert answer.status_code in (502, 503)
    assert answer.json()["error"]["message"]
    house.settled(wait_until)
    assert sum(row["cost_nano"] for row in house.usage()) == 0
    assert house.balance() == 10 * YUAN


@pytest.mark.parametrize("stream", [False, True])
def test_an_upstream_that_dies_in_the_middle_is_billed_for_what_it_said(house: House, wait_until, stream):
    answer = house.post("/v1/chat/completions", chat(stream, tokens=9, dies=4))
    if stream:
        assert '"error"' in answer.text
    else:
        assert answer.status_code == 502
    house.settled(wait_until)
    (row,) = house.usage()
    assert row["status"] == "partial"
    assert row["output_text"] <= 4


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/api/paas/v4/chat/completions", "/v1/messages"])
def test_an_upstream_without_usage_is_counted_with_its_own_tokenizer_and_the_client_reads_the_bill(
    house: House, wait_until, path: str, stream: bool
):
    body = chat(stream, tokens=6, usage="never")
    if stream and path.startswith("/v1/chat"):
        body["stream_options"] = {"include_usage": True}
    answer = house.post(path, body)
    assert answer.status_code == 200
    data = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]
    said = ([one for one in data if one.get("usage")][-1] if stream else answer.json())["usage"]
    house.settled(wait_until)
    (row,) = house.usage()
    assert (row["output_text"], row["estimated"]) == (6, 1)
    assert said.get("prompt_tokens", said.get("input_tokens")) == row["input_uncached"] > 0
    assert said.get("completion_tokens", said.get("output_tokens")) == 6


def test_a_request_sent_twice_under_one_idempotency_key_is_refused_while_and_after_it_runs(house, wait_until):
    headers = {"idempotency-key": "order-66"}
    assert house.post("/v1/chat/completions", chat(), headers=headers).status_code == 200
    house.settled(wait_until)
    again = house.post("/v1/chat/completions", chat(), headers=headers)
    assert again.status_code == 409
    assert again.headers["x-should-retry"] == "false"
    assert len(house.usage()) == 1


@pytest.mark.parametrize("key", ["nonsense", "key_1.wrong", "a.b.c"])
def test_a_stranger_gets_nothing(house: House, key):
    answer = httpx.post(
        f"{house.url}/v1/chat/completions", json=chat(), headers={"authorization": f"Bearer {key}"}
    )
    assert answer.status_code == 401
    assert answer.headers["x-request-id"].startswith("req_")
    assert not house.upstream.bodies


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"model": "glm"}, 400),
        ({"model": "unknown", "messages": [{"role": "user", "content": "x"}]}, 404),
        ({"model": "glm", "messages": [{"role": "user", "content": "x"}], "temperature": 9}, 400),
    ],
)
def test_bad_input_is_told_and_costs_nothing(house: House, wait_until, body, status):
    answer = house.post("/v1/chat/completions", body)
    assert answer.status_code == status
    assert answer.json()["error"]["message"]
    house.settled(wait_until)
    assert house.balance() == 10 * YUAN


def test_tenants_never_share_a_cached_prefix(house: House):
    house.post("/v1/chat/completions", {**chat(), "cache_salt": "mine"})
    assert house.upstream.bodies[-1]["cache_salt"] == f"{house.org_id}/mine"


def test_a_limit_of_answers_in_flight_frees_its_place_whoever_leaves(house: House, wait_until):
    asyncio.run(house.platform.limits.rules.put(Rule(concurrency=1)))
    asyncio.run(house.platform.limits.reload())
    headers = {"authorization": f"Bearer {house.key}"}
    slow = chat(True, tokens=5000, max_tokens=5000, pace_s=0.002)
    with httpx.Client(timeout=60) as client:
        for _ in range(3):
            with client.stream("POST", f"{house.url}/v1/chat/completions", json=slow, headers=headers) as one:
                assert one.status_code == 200
                lines = one.iter_lines()  # kept: dropping it would hang up
                next(lines)
                refused = house.post("/v1/chat/completions", chat())
                assert refused.status_code == 429
                assert refused.headers["retry-after"] == "1"
            house.settled(wait_until)
            wait_until(lambda: not house.platform.limits._in_flight)
    assert house.post("/v1/chat/completions", chat()).status_code == 200


def test_a_stream_longer_than_the_grace_of_a_stop_ends_with_an_error_and_is_billed(
    database_url: str, tmp_path, wait_until
):
    """R12."""
    with housed(database_url, tmp_path, grace_s=0.2) as (house, stop):
        headers = {"authorization": f"Bearer {house.key}"}
        slow = chat(True, tokens=5000, max_tokens=5000, pace_s=0.01)
        with (
            httpx.Client(timeout=60) as client,
            client.stream("POST", f"{house.url}/v1/chat/completions", json=slow, headers=headers) as answer,
        ):
            lines = answer.iter_lines()
            next(lines)
            stopping = threading.Thread(target=stop)
            stopping.start()
            rest = [line for line in lines if line]
            stopping.join()
        assert rest[-1] == "data: [DONE]"
        assert json.loads(rest[-2].removeprefix("data: "))["error"]["message"] == "the platform is stopping"
    again = Platform(Settings(data=tmp_path, database_url=database_url), serves=False)
    (row,) = again.database.read_now("SELECT * FROM usage_event")
    (wrote,) = house.upstream.billed.values()
    assert (row["status"], row["output_text"]) == ("partial", wrote["completion"])
    asyncio.run(again.close())


def test_a_model_that_is_not_there_and_one_without_a_price_say_what_is_wrong(house: House):
    house.platform.router.add(Channel("new", house.upstream.url, {"glm-new": "wire"}))
    for name, told in (("glm-none", "there is no model"), ("glm-new", "glm admin price set glm-new")):
        for path in ("/v1/chat/completions", "/v1/completions", "/api/paas/v4/chat/completions"):
            answer = house.post(path, {**chat(), "model": name, "prompt": "x"})
            assert answer.status_code in (400, 404)
            assert told in answer.text, answer.text
    assert house.usage() == []
