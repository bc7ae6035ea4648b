"""R3: a model server that fails, over HTTP in every dialect: its error, its bill, who answers instead."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import httpx
import pytest

from openglm.maas.upstreams import Channel
from tests.maas.fake_upstream import FakeUpstream
from tests.maas.gateway.conftest import House
from tests.maas.money.conftest import audited
from tests.maas.reliability.conftest import script
from tests.maas.reliability.test_disconnects import DIALECTS

PATHS = [path for path in DIALECTS if "embeddings" not in path]


@pytest.fixture
def house(house: House) -> House:
    """On the coding routes a plan pays."""
    plan = '[plans.p]\nwindows = { 5h = 1_000_000 }\n[models."*"]\nuncached = 1\ncached = 1\noutput = 1'
    asyncio.run(house.platform.plans.load(plan))
    asyncio.run(house.platform.plans.subscribe(house.org_id, "p", idempotency_key="s"))
    return house


def ask(house: House, path: str, stream: bool, **words) -> httpx.Response:
    body = {"model": "glm", **DIALECTS[path](script(**words)), **({"stream": True} if stream else {})}
    return house.post(path, body)


def events(answer: httpx.Response) -> list[dict]:
    """The JSON of a stream's events."""
    lines = [line[5:].strip() for line in answer.text.splitlines() if line.startswith("data:")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


def is_error(path: str, body: dict) -> bool:
    """Whether it says in the dialect's own shape that the model's server failed."""
    if "/messages" in path:
        error = body.get("error", {})
        return body.get("type") == "error" and error.get("type") in ("api_error", "overloaded_error")
    if path.startswith("/api/"):
        return body.get("error", {}).get("code") in ("1234", "500", "1305")
    if "responses" in path and body.get("type") == "response.failed":
        return body["response"]["status"] == "failed" and bool(body["response"]["error"]["message"])
    return {"message", "type", "param", "code"} == body.get("error", {}).keys()


def failed(path: str, answer: httpx.Response, stream: bool) -> bool:
    """After the first token a stream has said 200, and its error is an event; else the status tells."""
    if stream and answer.status_code == 200:
        found = events(answer)
        return any(is_error(path, event) for event in found) and "w0 " in answer.text
    return answer.status_code >= 500 and is_error(path, answer.json())


def cases() -> Iterator[tuple[str, bool]]:
    return ((path, stream) for path in PATHS for stream in (False, True))


def well_again(house: House) -> None:
    """Failures of one case are not to make the channel rest in the next."""
    for way in house.platform.router._ways.values():
        way.failures = way.resting_until = 0


def test_a_server_that_dies_before_its_first_token_is_an_error_of_the_dialect_and_free(house, wait_until):
    for path, stream in cases():
        answer = ask(house, path, stream, dies=0)
        assert answer.status_code >= 500, (path, stream, answer.text)
        assert is_error(path, answer.json()), (path, stream, answer.text)
        well_again(house)
    house.settled(wait_until)
    assert {row["status"] for row in house.usage()} == {"void"}
    assert house.balance() == 10 * 10**9


@pytest.mark.parametrize("words", [{"dies": 4}, {"garbage": 3}], ids=["dies", "malformed JSON"])
def test_an_answer_that_breaks_off_is_an_error_of_the_dialect_and_a_partial_bill(house, wait_until, words):
    for path, stream in cases():
        answer = ask(house, path, stream, tokens=9, pace_s=0.005, **words)
        assert failed(path, answer, stream), (path, stream, answer.status_code, answer.text[-500:])
        well_again(house)
    house.settled(wait_until)
    rows = house.usage()
    assert len(rows) == len(list(cases()))
    assert {(row["status"], row["estimated"]) for row in rows} == {("partial", 0)}
    # What the network had not brought when the connection broke was said to nobody.
    for row in rows:
        assert 1 <= row["output_text"] <= house.upstream.billed[row["request_id"]]["completion"]
    audited(house.platform.database)


def test_missing_usage_is_counted_and_a_missing_done_is_no_failure(house, wait_until):
    for path, stream in cases():
        for words in ({"usage": "never"}, {"no_done": True}):
            answer = ask(house, path, stream, tokens=6, **words)
            assert answer.status_code == 200, (path, stream, words, answer.text)
            assert "w5 " in answer.text
            assert "error" not in answer.text.replace('"error":null', ""), (path, stream, words)
    house.settled(wait_until)
    rows = house.usage()
    assert {(row["status"], row["output_text"]) for row in rows} == {("ok", 6)}
    assert sorted(row["estimated"] for row in rows) == [0] * len(rows[::2]) + [1] * len(rows[::2])


def test_another_server_answers_only_where_nothing_was_said_yet(house, wait_until):
    router = house.platform.router
    with FakeUpstream() as other:
        router.add(Channel("fake", house.upstream.url, {"glm": "wire"}, leaving="cancel", priority=0))
        router.add(Channel("other", other.url, {"glm": "wire"}, leaving="cancel", priority=1))
        for path, stream in cases():
            for words, falls_back in (({"dies": 0}, True), ({"status": 500}, True), ({"dies": 2}, False)):
                house.upstream.always = {"tokens": 5, "pace_s": 0.005, **words}
                other.bodies.clear()
                answer = ask(house, path, stream, tokens=5)
                assert len(other.bodies) == falls_back, (path, stream, words)
                assert failed(path, answer, stream) != falls_back, (path, stream, words, answer.text)
                if falls_back:
                    assert "w4 " in answer.text
                well_again(house)
        house.settled(wait_until)
        router.remove("other")
    # One bill each, whoever answered.
    rows = house.usage()
    assert len(rows) == 3 * len(list(cases()))
    assert sorted({row["status"] for row in rows}) == ["ok", "partial"]
    assert {row["output_text"] for row in rows if row["status"] == "ok"} == {5}
