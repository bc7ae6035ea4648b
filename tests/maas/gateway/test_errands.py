"""Batches and asynchronous chats over HTTP: half the price, each row once, in the caller's dialect."""

from __future__ import annotations

import asyncio
import json

import httpx
import openai
import pytest

from openglm.errors import Unauthorized
from openglm.maas import household
from openglm.maas.gateway.exchange import HELD_OUTPUT
from openglm.maas.gateway.rows import Vectors
from openglm.maas.identity import Caller
from openglm.maas.money import Billing
from tests.maas.gateway.conftest import PICO_IN, PICO_OUT, House


def rows(count: int, url: str = "/v1/chat/completions", **script) -> bytes:
    lines = []
    for number in range(count):
        message = {"role": "user", "content": json.dumps({"tokens": number, "prompt": 10, **script})}
        body = {"model": "glm", "messages": [message]}
        line = {"custom_id": f"row-{number:04}", "method": "POST", "url": url, "body": body}
        lines.append(json.dumps(line))
    return "\n".join(lines).encode()


def test_a_batch_of_the_official_client_runs_at_half_price(house: House, wait_until):
    client = openai.OpenAI(base_url=f"{house.url}/v1", api_key=house.key, max_retries=0)
    file = client.files.create(file=("in.jsonl", rows(6)), purpose="batch")
    batch = client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
    )
    wait_until(lambda: client.batches.retrieve(batch.id).status == "completed")
    done = client.batches.retrieve(batch.id)
    lines = [json.loads(line) for line in client.files.content(done.output_file_id).text.splitlines()]
    assert [line["custom_id"] for line in lines] == [f"row-{number:04}" for number in range(6)]
    assert lines[5]["response"]["body"]["choices"][0]["message"]["content"] == "w0 w1 w2 w3 w4 "
    house.settled(wait_until)
    costs = sorted(row["cost_nano"] for row in house.usage())
    assert costs == [(10 * PICO_IN + number * PICO_OUT) // 2000 for number in range(6)]
    assert all(row["is_batch"] for row in house.usage())


def test_a_row_that_fails_is_in_the_error_file_in_its_dialect_and_free(house: House, wait_until):
    headers = {"authorization": house.key}
    base = f"{house.url}/api/paas/v4"
    good, bad = rows(1, "/v4/chat/completions"), rows(1, "/v4/chat/completions").replace(b'"glm"', b'"none"')
    bad = bad.replace(b"row-0000", b"row-0001")
    file = httpx.post(
        f"{base}/files",
        headers=headers,
        files={"file": ("a.jsonl", good + b"\n" + bad)},
        data={"purpose": "batch"},
    ).json()
    body = {"input_file_id": file["id"], "endpoint": "/v4/chat/completions"}
    batch = httpx.post(f"{base}/batches", headers=headers, json=body).json()
    wait_until(
        lambda: httpx.get(f"{base}/batches/{batch['id']}", headers=headers).json()["status"] == "completed"
    )
    done = httpx.get(f"{base}/batches/{batch['id']}", headers=headers).json()
    errors = httpx.get(f"{base}/files/{done['error_file_id']}/content", headers=headers).text
    line = json.loads(errors)
    assert line["custom_id"] == "row-0001"
    assert line["response"]["body"]["error"]["code"] == "1211"
    house.settled(wait_until)
    assert len(house.usage()) == 1


def test_an_asynchronous_chat_is_fetched_later_and_billed_once(house: House, wait_until):
    headers = {"authorization": f"Bearer {house.key}"}
    message = {"role": "user", "content": '{"tokens": 4}'}
    body = {"model": "glm", "messages": [message], "request_id": "later-1"}
    begun = house.post("/api/paas/v4/async/chat/completions", body).json()
    assert begun["task_status"] == "PROCESSING"
    result = f"{house.url}/api/paas/v4/async-result/{begun['id']}"
    wait_until(lambda: httpx.get(result, headers=headers).json()["task_status"] == "SUCCESS")
    answer = httpx.get(result, headers=headers).json()
    assert answer["choices"][0]["message"]["content"] == "w0 w1 w2 w3 "
    assert answer["request_id"] == "later-1"
    house.settled(wait_until)
    assert len(house.usage()) == 1
    again = house.post("/api/paas/v4/async/chat/completions", body)
    assert again.json()["error"]["code"] == "1231"


def test_what_outgrows_its_first_hold_on_a_node_that_was_taken_for_dead_is_made_again(
    house: House, wait_until
):
    tokens = HELD_OUTPUT + 500
    client = openai.OpenAI(base_url=f"{house.url}/v1", api_key=house.key, max_retries=0)
    message = {"role": "user", "content": json.dumps({"tokens": tokens, "pace_s": 0.001})}
    body = {"model": "glm", "messages": [message], "max_tokens": 2 * tokens}
    row = {"custom_id": "row-1", "method": "POST", "url": "/v1/chat/completions", "body": body}
    file = client.files.create(file=("in.jsonl", json.dumps(row).encode()), purpose="batch")
    client.batches.create(input_file_id=file.id, endpoint=row["url"], completion_window="24h")
    house.post("/api/paas/v4/async/chat/completions", body)
    wait_until(lambda: len(house.upstream.billed) == 2)
    platform = house.platform
    other = Billing(platform.database, platform.prices, platform.plans, node_id="other")
    assert asyncio.run(other.recover(platform.billing.node_id)) == 2
    asyncio.run(platform.billing.beat())
    wait_until(lambda: house.rows("SELECT state FROM async_task") != [{"state": "PROCESSING"}])
    wait_until(lambda: house.rows("SELECT state FROM batch") == [{"state": "completed"}])
    assert house.rows("SELECT state FROM async_task") == [{"state": "SUCCESS"}]
    assert house.rows("SELECT completed FROM batch") == [{"completed": 1}]
    house.settled(wait_until)
    paid = [row for row in house.usage() if row["cost_nano"]]
    assert [(row["status"], row["output_text"]) for row in paid] == [("ok", tokens)] * 2


def test_a_batch_waits_out_an_upstream_that_is_down_and_bills_only_what_was_answered(
    house: House, wait_until
):
    house.upstream.always = {"status": 503}
    client = openai.OpenAI(base_url=f"{house.url}/v1", api_key=house.key, max_retries=0)
    file = client.files.create(file=("in.jsonl", rows(2)), purpose="batch")
    batch = client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
    )
    wait_until(lambda: len(house.upstream.bodies) >= 2)
    house.upstream.always = {}
    wait_until(lambda: client.batches.retrieve(batch.id).status == "completed")
    assert client.batches.retrieve(batch.id).request_counts.completed == 2
    house.settled(wait_until)
    assert sorted(row["status"] for row in house.usage() if row["cost_nano"]) == ["ok", "ok"]


@pytest.mark.parametrize("end", ["key", "organisation", "project"])
def test_what_runs_on_stops_with_its_key_and_bills_nothing_more(house: House, wait_until, end):
    """A batch and an asynchronous chat wait for a model that is down, and their key ends meanwhile."""
    platform = house.platform
    house.upstream.always = {"status": 503}
    client = openai.OpenAI(base_url=f"{house.url}/v1", api_key=house.key, max_retries=0)
    file = client.files.create(file=("in.jsonl", rows(3)), purpose="batch")
    batch = client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
    )
    message = {"role": "user", "content": "{}"}
    house.post("/api/paas/v4/async/chat/completions", {"model": "glm", "messages": [message]})
    wait_until(lambda: len(house.upstream.bodies) >= 4)
    (key,) = house.rows("SELECT id, project_id FROM api_key")
    if end == "key":
        asyncio.run(platform.keys.revoke(house.org_id, key["id"]))
    elif end == "organisation":
        asyncio.run(platform.accounts.disable_org(house.org_id))
    else:
        asyncio.run(platform.projects.archive(house.org_id, key["project_id"]))
    house.upstream.always = {}
    wait_until(lambda: house.rows("SELECT state FROM async_task")[0]["state"] == "FAIL")
    wait_until(lambda: house.rows("SELECT state FROM batch")[0]["state"] == "completed")
    assert house.rows("SELECT failed, total FROM batch") == [{"failed": 3, "total": 3}]
    refusal = json.loads(house.rows("SELECT answer FROM async_task")[0]["answer"])
    assert "revoked" in refusal["error"]["message"]
    house.settled(wait_until)
    assert not [row for row in house.usage() if row["cost_nano"]]
    assert batch.id == house.rows("SELECT id FROM batch")[0]["id"]


def test_a_document_gets_no_vectors_in_the_name_of_a_key_that_has_ended(house: House):
    platform = house.platform
    caller = asyncio.run(platform.keys.authenticate(house.key, ip=None))
    asyncio.run(platform.keys.revoke(house.org_id, caller.key_id))
    with pytest.raises(Unauthorized):
        asyncio.run(Vectors(platform)(caller, "glm", ["a text"], "errand-1"))
    assert house.rows("SELECT 1 FROM hold") == []


def test_work_of_a_machine_without_accounts_ends_with_the_first_account(house: House):
    with pytest.raises(Unauthorized):
        asyncio.run(house.platform.still(Caller(household.ORG, household.PROJECT, household.KEY)))
