"""Bills at the edges: the last money, servers that count oddly or not at all, names without end, junk."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime

import httpx
import psutil
import pytest

from openglm.dialects import openai
from openglm.maas.gateway.prompts import prompt_bound, prompt_guess, text_guess
from openglm.maas.limits import Rule
from openglm.maas.money import usage_by_model, usage_sums
from openglm.maas.upstreams import Channel
from tests.maas.gateway.conftest import PICO_OUT, YUAN, House, most
from tests.maas.gateway.test_bills import chat, price

# The database has no part in these.
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def leave_in_wallet(house: House, amount: int) -> None:
    wallet = house.platform.wallet
    asyncio.run(
        wallet.adjust(house.org_id, amount - house.balance(), idempotency_key=f"to {amount}", reason="test")
    )


def test_an_answer_whose_most_the_wallet_covers_is_never_broken_off(house: House, wait_until):
    for max_tokens in (1, 64, 127, 128, 1024, 1100, 1500):
        body = chat(True, tokens=max_tokens, max_tokens=max_tokens, prompt=5)
        leave_in_wallet(house, most(body))
        answer = house.post("/v1/chat/completions", body)
        assert '"error"' not in answer.text, answer.text[-300:]
        house.settled(wait_until)
        row = house.usage()[-1]
        assert (row["status"], row["output_text"]) == ("ok", max_tokens)
        holds = house.rows("SELECT amount FROM hold ORDER BY created_at DESC, id DESC")
        assert holds[0]["amount"] <= most(body)


def test_a_server_that_writes_more_than_was_asked_for_goes_on_holding(house: House, wait_until):
    body = chat(True, tokens=3_000, max_tokens=10, prompt=5)
    leave_in_wallet(house, most(body) + 100)
    assert "insufficient_quota" in house.post("/v1/chat/completions", body).text
    house.settled(wait_until)
    assert house.usage()[0]["status"] == "partial"
    assert house.balance() >= 0


def test_a_try_of_an_errand_that_dies_in_the_middle_costs_nothing_and_is_made_again(house: House, wait_until):
    house.upstream.always = {"dies": 4, "tokens": 9}
    headers = {"authorization": f"Bearer {house.key}"}
    message = {"role": "user", "content": "hello"}
    begun = house.post("/api/paas/v4/async/chat/completions", {"model": "glm", "messages": [message]}).json()
    wait_until(lambda: bool(house.usage()))
    assert {row["status"] for row in house.usage()} == {"void"}
    house.upstream.always = {"tokens": 9}
    found: dict = {}

    def ended() -> bool:
        url = f"{house.url}/api/paas/v4/async-result/{begun['id']}"
        found.update(httpx.get(url, headers=headers).json())
        return found["task_status"] != "PROCESSING"

    wait_until(ended)
    assert found["task_status"] == "SUCCESS", found
    house.settled(wait_until)
    assert [row["output_text"] for row in house.usage() if row["cost_nano"]] == [9]


@on_sqlite
def test_a_server_without_a_tokenizer_and_without_counts_is_billed_by_length_and_marked(house, wait_until):
    house.upstream.counts = False
    body = chat(tokens=6, usage="never")
    assert house.post("/v1/chat/completions", body).status_code == 200
    house.settled(wait_until)
    (row,) = house.usage()
    request = openai.decode_chat(json.dumps(body).encode())
    assert row["input_uncached"] == prompt_guess(request) < prompt_bound(request)
    assert row["output_text"] == text_guess("w0 w1 w2 w3 w4 w5 ")
    assert row["estimated"] == 1


@on_sqlite
def test_without_a_tokenizer_an_empty_wallet_is_said_to_be_empty(house: House):
    house.upstream.counts = False
    leave_in_wallet(house, 10)
    answer = house.post("/v1/chat/completions", chat(tokens=6))
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "insufficient_quota")
    assert answer.headers["x-should-retry"] == "false"
    counting = house.post("/api/paas/v4/tokenizer", {"model": "glm", "messages": chat()["messages"]})
    assert counting.json()["error"]["code"] == "1222"  # not offered; the model is there


def test_budgets_plans_and_token_limits_count_exactly_before_they_refuse(house: House, wait_until):
    """Eleven words in 4,000 bytes fit into 100 tokens."""
    platform, text = house.platform, " ".join(["字" * 120] * 11)
    body = {"model": "glm", "messages": [{"role": "user", "content": text}], "max_tokens": 20}

    def posts(path: str, **more) -> httpx.Response:
        answer = house.post(path, {**body, **more})
        house.settled(wait_until)
        return answer

    budget = asyncio.run(
        platform.budgets.set(house.org_id, "org", house.org_id, "total", 100 * PICO_OUT // 1000)
    )
    assert posts("/v1/chat/completions").status_code == 200
    assert posts("/v1/chat/completions", max_tokens=2_000).json()["error"]["code"] == "budget_exhausted"
    asyncio.run(platform.budgets.remove(house.org_id, budget.id))

    asyncio.run(platform.limits.rules.put(Rule(tpm=200)))
    asyncio.run(platform.limits.reload())
    assert posts("/v1/chat/completions").status_code == 200
    assert posts("/v1/chat/completions").status_code == 200
    assert posts("/v1/chat/completions", max_tokens=300).json()["error"]["code"] == "rate_limit_exceeded"
    for rule in asyncio.run(platform.limits.rules.list()):
        asyncio.run(platform.limits.rules.remove(rule.id))
    asyncio.run(platform.limits.reload())

    plan = '[plans.p]\nwindows = { 5h = 100 }\n[models."glm"]\nuncached = 1\noutput = 1'
    asyncio.run(platform.plans.load(plan))
    asyncio.run(platform.plans.subscribe(house.org_id, "p", idempotency_key="s"))
    assert posts("/api/coding/paas/v4/chat/completions").status_code == 200
    refused = posts("/api/coding/paas/v4/chat/completions", max_tokens=300).json()
    assert refused["error"]["code"] == "1308"


@on_sqlite
@pytest.mark.parametrize("stream", [False, True])
def test_counts_and_choices_that_cannot_be_are_the_servers_failure_and_leave_nothing_open(
    house: House, wait_until, stream
):
    for script in ({"prompt": 2**41}, {"prompt": -3}, {"prompt": 2**63}, {"place": 1}, {"place": -1}):
        answer = house.post("/v1/chat/completions", chat(stream, tokens=2, **script))
        assert answer.status_code == 502, script
        house.platform.router._ways["fake"].failures = 0  # or the channel would rest
    house.settled(wait_until)
    assert house.balance() == 10 * YUAN


@on_sqlite
@pytest.mark.parametrize(
    ("path", "body", "prompts"),
    [
        ("/v1/chat/completions", chat(True, tokens=40, pace_s=0.002), 1),
        ("/v1/completions", {"model": "glm", "prompt": [json.dumps({"tokens": 40, "pace_s": 0.002})] * 3}, 3),
    ],
)
def test_several_answers_that_break_off_are_all_billed(house: House, wait_until, path, body, prompts):
    """The server counts each for itself while it streams, and is hung up on."""
    house.platform.router.add(Channel("fake", house.upstream.url, {"glm": "wire"}, leaving="abort"))
    body = {**body, "n": 3, "stream": True, "max_tokens": 64}
    headers = {"authorization": f"Bearer {house.key}"}
    seen = 0
    with httpx.stream("POST", house.url + path, json=body, headers=headers, timeout=60) as answer:
        for line in answer.iter_lines():
            seen += line.startswith("data:") and '"finish_reason":null' in line
            if seen == 60:
                break
    house.settled(wait_until)
    (row,) = house.usage()
    (wrote,) = house.upstream.billed.values()
    assert 60 <= row["output_text"] <= wrote["completion"]
    assert row["input_uncached"] == 5 * prompts


@on_sqlite
def test_several_whole_answers_are_billed_as_their_server_counted_them(house: House, wait_until):
    answer = house.post("/v1/chat/completions", {**chat(tokens=5), "n": 4})
    assert [len(choice["message"]["content"].split()) for choice in answer.json()["choices"]] == [5] * 4
    house.settled(wait_until)
    assert house.usage()[0]["cost_nano"] == price(5, 0, 20)


@on_sqlite
def test_names_without_end_are_refused_and_kept_nowhere(house: House):
    asyncio.run(house.platform.prices.set_per_million("*", uncached="1", output="1"))
    process, body = psutil.Process(), chat()
    for path in ("/v1/chat/completions", "/v1/messages", "/api/paas/v4/chat/completions", "/v1/responses"):
        answer = house.post(path, {**body, "input": "x", "model": "x" * 129})
        assert answer.status_code in (400, 404)
        assert len(answer.content) < 500
    before = 0
    for number in range(50):
        if number == 15:  # what such requests take while they are there, in any thread, is there
            before = process.memory_info().rss
        answer = house.post("/v1/chat/completions", {**body, "model": f"{number}" + "x" * 4_000_000})
        assert answer.status_code == 404
        assert len(answer.content) < 500
    assert process.memory_info().rss - before < 80e6  # of the 140 that came
    assert house.usage() == []


def test_an_idempotency_key_that_is_too_long_or_odd_is_refused_to_its_sender_alone(house: House, wait_until):
    for key in ("x" * 129, "x" * 12_000, "字", "a\tb"):
        refused = house.post("/v1/chat/completions", chat(), headers={"idempotency-key": key.encode()})
        assert refused.status_code == 400
        assert "idempotency-key" in refused.json()["error"]["message"]
    house.post("/v1/chat/completions", chat(), headers={"idempotency-key": "x" * 128})
    house.settled(wait_until)
    assert [row["status"] for row in house.usage()] == ["ok"]


def test_what_is_void_is_no_request_in_sums_and_invoices(house: House, wait_until):
    asyncio.run(house.platform.prices.set_per_million("*", uncached="1", output="1"))
    for number in range(3):
        assert house.post("/v1/chat/completions", {**chat(), "model": f"junk{number}"}).status_code == 404
    assert house.post("/v1/chat/completions", chat(status=500)).status_code == 502
    assert house.post("/v1/chat/completions", chat(tokens=3)).status_code == 200
    house.settled(wait_until)
    database = house.platform.database
    (one,) = asyncio.run(usage_by_model(database, house.org_id))
    assert (one.model, one.requests, one.output) == ("glm", 1, 3)
    ((group, sums),) = asyncio.run(usage_sums(database, house.org_id, ("model",)))
    assert (group, sums["requests"]) == ({"model": "glm"}, 1)
    invoice = asyncio.run(house.platform.invoices.month(house.org_id, f"{datetime.now(UTC):%Y-%m}"))
    assert [line.requests for line in invoice.lines] == [1]


@on_sqlite
@pytest.mark.parametrize(
    "path",
    [
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/embeddings",
        "/v1/responses",
        "/v1/messages",
        "/api/paas/v4/chat/completions",
        "/api/paas/v4/async/chat/completions",
        "/api/paas/v4/rerank",
        "/api/v1/agents",
    ],
)
def test_a_body_of_millions_of_values_is_refused_in_every_dialect_and_costs_nothing(house: House, path):
    body = json.dumps({"model": "glm", "messages": [{"role": "user", "content": "x"}], "max_tokens": 1})
    bomb = body[:-1].encode() + b', "unknown": [' + b"[]," * 1_000_000 + b"[]]}"
    headers = {"authorization": f"Bearer {house.key}", "content-type": "application/json"}
    answer = httpx.post(house.url + path, content=bomb, headers=headers, timeout=60)
    assert answer.status_code == 400
    assert "JSON values" in answer.json()["error"]["message"]
    assert house.rows("SELECT 1 FROM hold") == []
