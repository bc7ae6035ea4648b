"""A database that fails under live requests: what was delivered is billed, and nothing else is delivered."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from openglm.maas.database import connection
from tests.maas.gateway.conftest import House
from tests.maas.gateway.test_bills import chat
from tests.maas.money.conftest import audited
from tests.maas.outages import CUT, outage, server_of


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "BUSY_TIMEOUT_MS", 20)


@contextmanager
def cut_again_and_again(url: str) -> Iterator[None]:
    """Every connection to the database is closed by the server seven times a second."""
    over = threading.Event()

    def work() -> None:
        with server_of(url) as (server, name):
            while not over.wait(0.15):
                server.execute(CUT.format(name=name))

    cutting = threading.Thread(target=work)
    cutting.start()
    try:
        yield
    finally:
        over.set()
        cutting.join()


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
def test_connections_that_are_cut_all_the_time_lose_no_bill_and_no_hold(house: House, wait_until):
    statuses = []
    with cut_again_and_again(house.platform.settings.database):
        for _ in range(25):
            answer = house.post("/v1/chat/completions", chat(tokens=20, pace_s=0.01))
            statuses.append(answer.status_code)
            assert answer.status_code in (200, 503), answer.text
            assert "connection" not in answer.text
    house.settled(wait_until)
    rows = {row["request_id"]: row for row in house.usage()}
    for request_id, wrote in house.upstream.billed.items():
        assert rows[request_id]["output_text"] == wrote["completion"], rows[request_id]
    assert statuses.count(200) == len([row for row in rows.values() if row["status"] == "ok"]) > 0
    audited(house.platform.database)


def test_an_answer_whose_bill_the_database_does_not_take_at_once_is_billed_when_it_does(
    house: House, wait_until, caplog
):
    house.upstream.always = {"tokens": 40, "pace_s": 0.01}
    url, headers = f"{house.url}/v1/chat/completions", {"authorization": f"Bearer {house.key}"}
    with httpx.stream("POST", url, json=chat(True), headers=headers, timeout=60) as answer:
        lines = answer.iter_lines()
        next(lines)
        with outage(house.platform.settings.database):
            assert "data: [DONE]" in list(lines)  # the answer itself needs no database
            wait_until(lambda: "is not settled yet" in caplog.text)
    house.settled(wait_until)
    (row,) = house.usage()
    assert (row["status"], row["output_text"]) == ("ok", 40)


def test_a_response_in_the_background_that_ends_in_an_outage_is_kept_and_told(
    house: House, wait_until, caplog
):
    house.upstream.always = {"tokens": 40, "pace_s": 0.01}
    body = {"model": "glm", "input": "hello", "background": True, "stream": True}
    headers = {"authorization": f"Bearer {house.key}"}
    with httpx.stream("POST", f"{house.url}/v1/responses", json=body, headers=headers, timeout=60) as answer:
        lines = answer.iter_lines()
        next(lines)
        with outage(house.platform.settings.database):
            wait_until(lambda: "is not settled yet" in caplog.text)
        wait_until(lambda: house.rows("SELECT status FROM response") == [{"status": "completed"}])
        told = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
    assert told[-1]["type"] == "response.completed"
    assert house.get(f"/v1/responses/{told[-1]['response']['id']}").json()["output"]
    house.settled(wait_until)
    assert [(row["status"], row["output_text"]) for row in house.usage()] == [("ok", 40)]


def test_a_task_is_delivered_with_its_bill_or_not_at_all(house: House, wait_until, caplog):
    house.upstream.always = {"tokens": 30, "pace_s": 0.01}
    message = {"role": "user", "content": "hello"}
    begun = house.post("/api/paas/v4/async/chat/completions", {"model": "glm", "messages": [message]}).json()
    wait_until(lambda: bool(house.upstream.billed))
    with outage(house.platform.settings.database):
        wait_until(lambda: "is not settled yet" in caplog.text)
    found: dict = {}

    def ended() -> bool:
        url = f"{house.url}/api/paas/v4/async-result/{begun['id']}"
        found.update(httpx.get(url, headers={"authorization": f"Bearer {house.key}"}).json())
        return found.get("task_status", "PROCESSING") != "PROCESSING"

    wait_until(ended)
    assert found["task_status"] == "SUCCESS", found
    house.settled(wait_until)
    paid = [row for row in house.usage() if row["cost_nano"]]
    assert [row["output_text"] for row in paid] == [30]
