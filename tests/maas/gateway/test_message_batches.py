"""Batches of messages over HTTP, as Anthropic's clients send them: whose they are, what they say and cost."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import httpx
import pytest

from openglm.maas.identity import Keys
from openglm.maas.quotas.quotas import Limit
from tests.maas.gateway.conftest import PICO_IN, PICO_OUT, YUAN, House

BASES = ("/api/anthropic/v1/messages/batches", "/v1/messages/batches")
BASE = BASES[0]


def wanted(custom_id: str, model: str = "glm", **script: Any) -> dict:
    message = {"role": "user", "content": json.dumps({"tokens": 2, "prompt": 10, **script})}
    return {"custom_id": custom_id, "params": {"model": model, "max_tokens": 64, "messages": [message]}}


def ask(house: House, method: str, path: str, key: str | None = None, **more: Any) -> httpx.Response:
    headers = {"x-api-key": key or house.key, "anthropic-version": "2023-06-01"}
    return httpx.request(method, f"{house.url}{path}", headers=headers, timeout=60, **more)


def make(house: House, *requests: dict, base: str = BASE) -> dict:
    answer = ask(house, "POST", base, json={"requests": requests})
    assert answer.status_code == 200, answer.text
    return answer.json()


def ended(house: House, wait_until, batch: dict, base: str = BASE) -> dict:
    def shown() -> dict:
        return ask(house, "GET", f"{base}/{batch['id']}").json()

    wait_until(lambda: shown()["processing_status"] == "ended")
    return shown()


def lines(answer: httpx.Response) -> list[dict]:
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


@pytest.mark.parametrize("base", BASES)
def test_answers_cost_half_from_the_wallet_though_a_plan_covers_the_model(
    house: House, wait_until, base: str
):
    asyncio.run(house.platform.plans.subscribe(house.org_id, "pro", idempotency_key="one"))
    made = make(house, wanted("a", tokens=3), wanted("b", model="none"), wanted("c", tokens=4), base=base)
    assert (made["type"], made["results_url"], made["ended_at"]) == ("message_batch", None, None)
    done = ended(house, wait_until, made, base)
    counts = {"processing": 0, "succeeded": 2, "errored": 1, "canceled": 0, "expired": 0}
    assert done["request_counts"] == counts
    assert done["results_url"] == f"{house.url}{base}/{made['id']}/results"
    a, c, b = lines(ask(house, "GET", f"{base}/{made['id']}/results"))
    assert [row["custom_id"] for row in (a, c, b)] == ["a", "c", "b"]
    assert (a["result"]["type"], a["result"]["message"]["type"]) == ("succeeded", "message")
    assert a["result"]["message"]["content"] == [{"type": "text", "text": "w0 w1 w2 "}]
    assert (b["result"]["type"], b["result"]["error"]["type"]) == ("errored", "error")
    assert b["result"]["error"]["error"]["type"] == "not_found_error"
    house.settled(wait_until)
    usage = house.usage()
    assert sorted(row["cost_nano"] for row in usage) == [
        (10 * PICO_IN + tokens * PICO_OUT) // 2000 for tokens in (3, 4)
    ]
    assert house.balance() == 10 * YUAN - sum(row["cost_nano"] for row in usage)
    assert {(row["is_batch"], row["is_plan"]) for row in usage} == {(1, 0)}


def test_a_running_batch_has_no_results_is_not_deleted_and_stops_when_it_is_cancelled(
    house: House, wait_until
):
    house.upstream.gate = threading.Event()
    made = make(house, *(wanted(f"row-{number}") for number in range(100)))
    wait_until(lambda: house.upstream.bodies)
    for method, path in (("GET", f"{BASE}/{made['id']}/results"), ("DELETE", f"{BASE}/{made['id']}")):
        refused = ask(house, method, path)
        assert (refused.status_code, refused.json()["type"]) == (409, "error")
        assert refused.json()["error"]["type"] == "invalid_request_error"
        assert refused.headers["x-should-retry"] == "false"
    cancelled = ask(house, "POST", f"{BASE}/{made['id']}/cancel").json()
    assert cancelled["processing_status"] == "canceling"
    assert cancelled["cancel_initiated_at"] > cancelled["created_at"]
    house.upstream.gate.set()
    done = ended(house, wait_until, made)
    counts = done["request_counts"]
    assert (counts["succeeded"] + counts["canceled"], counts["processing"]) == (100, 0)
    assert counts["canceled"] >= 68  # 32 rows run at once
    fates = [row["result"] for row in lines(ask(house, "GET", f"{BASE}/{made['id']}/results"))]
    assert fates.count({"type": "canceled"}) == counts["canceled"]
    house.settled(wait_until)
    assert len(house.usage()) == counts["succeeded"]
    kept = {file["filename"] for file in house.get("/v1/files").json()["data"]}
    assert kept <= {f"{made['id']}_output.jsonl", f"{made['id']}_error.jsonl"}  # the requests are gone
    gone = ask(house, "DELETE", f"{BASE}/{made['id']}").json()
    assert gone == {"id": made["id"], "type": "message_batch_deleted"}
    assert house.get("/v1/files").json()["data"] == []
    assert ask(house, "GET", f"{BASE}/{made['id']}").status_code == 404


def test_another_organisation_and_another_dialects_place_do_not_know_the_batch(house: House, wait_until):
    async def stranger() -> str:
        person = await house.platform.accounts.add("bob@example.com", "a long and odd passphrase", "Bob")
        keys = Keys(house.platform.database, house.platform.secrets)
        return (await keys.create(person.org_id, person.project_id, "tests")).key

    other = asyncio.run(stranger())
    made = make(house, wanted("a"))
    ended(house, wait_until, made)
    for method, tail in (("GET", ""), ("GET", "/results"), ("POST", "/cancel"), ("DELETE", "")):
        refused = ask(house, method, f"{BASE}/{made['id']}{tail}", other)
        assert (refused.status_code, refused.json()["error"]["type"]) == (404, "not_found_error")
    assert ask(house, "GET", BASE, other).json()["data"] == []
    assert house.get(f"/v1/batches/{made['id']}").status_code == 404
    assert house.post(f"/v1/batches/{made['id']}/cancel", {}).status_code == 404
    upload = {"file": ("in.jsonl", b"x"), "purpose": (None, "batch")}
    file = ask(house, "POST", "/v1/files", files=upload).json()
    body = {"input_file_id": file["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    theirs = house.post("/v1/batches", body).json()
    assert ask(house, "GET", f"{BASE}/{theirs['id']}").status_code == 404
    assert ask(house, "DELETE", f"{BASE}/{theirs['id']}").status_code == 404
    assert [batch["id"] for batch in ask(house, "GET", BASE).json()["data"]] == [made["id"]]


def test_pages_lead_forward_from_the_newest_and_back(house: House, wait_until):
    ids = []
    for number in range(5):
        made = make(house, wanted(f"row-{number}"))
        ended(house, wait_until, made)
        ids.insert(0, made["id"])

    def page(**query: Any) -> tuple[list[str], bool]:
        answer = ask(house, "GET", BASE, params=query).json()
        found = [batch["id"] for batch in answer["data"]]
        assert (answer["first_id"], answer["last_id"]) == ((found[0], found[-1]) if found else (None, None))
        return found, answer["has_more"]

    assert page() == (ids, False)
    assert page(limit=2) == (ids[:2], True)
    assert page(limit=2, after_id=ids[1]) == (ids[2:4], True)
    assert page(limit=2, after_id=ids[3]) == (ids[4:], False)
    assert page(limit=2, before_id=ids[4]) == (ids[2:4], True)
    assert page(limit=2, before_id=ids[2]) == (ids[:2], False)
    assert page(before_id=ids[0]) == ([], False)
    assert page(limit=1000) == (ids, False)
    for wrong in (
        {"limit": 1001},
        {"limit": 0},
        {"limit": "x"},
        {"after_id": "x"},
        {"before_id": ids[0], "after_id": ids[1]},
    ):
        refused = ask(house, "GET", BASE, params=wrong)
        assert (refused.status_code, refused.json()["error"]["type"]) == (400, "invalid_request_error")
    for name in ("before_id", "after_id"):
        refused = ask(house, "GET", BASE, params={name: "x"})
        assert refused.json()["error"]["message"].startswith(f"{name} must be the id of a batch")


@pytest.mark.parametrize(
    ("requests", "field"),
    [
        ([], "requests"),
        ("rows", "requests"),
        ([wanted("a"), 3], "requests[1]"),
        ([wanted("a"), wanted("b"), wanted("a")], "requests[2].custom_id"),
        ([wanted("")], "requests[0].custom_id"),
        ([wanted("x" * 65)], "requests[0].custom_id"),
        ([{"custom_id": "a"}], "requests[0].params"),
        ([{"custom_id": "a", "params": {"stream": True}}], "requests[0].params.stream"),
    ],
)
def test_a_batch_with_a_bad_request_is_refused_whole(house: House, requests: Any, field: str):
    refused = ask(house, "POST", BASE, json={"requests": requests})
    assert (refused.status_code, refused.json()["type"]) == (400, "error")
    assert refused.json()["error"]["type"] == "invalid_request_error"
    assert refused.json()["error"]["message"].startswith(f"{field} must be ")
    assert ask(house, "GET", BASE).json()["data"] == []
    assert house.get("/v1/files").json()["data"] == []


def test_results_whose_file_was_deleted_are_not_found(house: House, wait_until):
    made = make(house, wanted("a"))
    ended(house, wait_until, made)
    (file,) = house.get("/v1/files").json()["data"]
    ask(house, "DELETE", f"/v1/files/{file['id']}")
    refused = ask(house, "GET", f"{BASE}/{made['id']}/results")
    assert (refused.status_code, refused.json()["error"]["type"]) == (404, "not_found_error")
    assert ask(house, "DELETE", f"{BASE}/{made['id']}").status_code == 200


def test_a_batch_that_has_no_room_leaves_no_file(house: House):
    asyncio.run(house.platform.quotas.set(Limit("*", "open_batches", 0)))
    for body in (json.dumps({"requests": [wanted("a")]}), "what is not even read"):
        answer = ask(house, "POST", BASE, content=body)
        assert answer.status_code == 400
        assert "batches that have not ended" in answer.json()["error"]["message"]
    assert house.rows("SELECT 1 FROM file") == []


def test_a_batch_that_could_not_be_written_leaves_no_file_either(house: House, wait_until):
    ended(house, wait_until, make(house, wanted("a")))
    asyncio.run(
        house.platform.database.write(
            lambda tx: tx.run("CREATE UNIQUE INDEX only_one ON batch (endpoint)")  # as a database that fails
        )
    )
    wait_until(lambda: not house.rows("SELECT 1 FROM file WHERE purpose = 'batch'"))
    answer = ask(house, "POST", BASE, json={"requests": [wanted("a")]})
    assert answer.status_code >= 500
    assert house.rows("SELECT 1 FROM file WHERE purpose = 'batch'") == []
