"""R1 and R10: clients that leave, clients that hardly read, and very large pieces."""

from __future__ import annotations

import asyncio
import json
import random
import socket
from urllib.parse import urlsplit

import httpx
import pytest

from tests.maas.money.conftest import audited
from tests.maas.reliability.conftest import script
from tests.maas.reliability.counts import count

DIALECTS = {
    "/v1/chat/completions": lambda text: {"messages": [{"role": "user", "content": text}], "max_tokens": 500},
    "/v1/completions": lambda text: {"prompt": text, "max_tokens": 500},
    "/v1/responses": lambda text: {"input": text, "max_output_tokens": 500},
    "/v1/messages": lambda text: {"messages": [{"role": "user", "content": text}], "max_tokens": 500},
    "/api/paas/v4/chat/completions": lambda text: {"messages": [{"role": "user", "content": text}]},
    "/api/coding/paas/v4/chat/completions": lambda text: {"messages": [{"role": "user", "content": text}]},
}
TEXT = script(prompt=7, cached=3, reasoning=10, tokens=120, pace_s=0.001)


@pytest.mark.slow
def test_whoever_leaves_whenever_in_whatever_dialect_pays_what_the_model_wrote(house, wait_until):
    """R1."""
    chance = random.Random(3)
    clients = count(120, 1_000)
    plans = house.platform.plans
    asyncio.run(plans.subscribe(house.org_id, "lite", idempotency_key="x"))

    async def leave(client: httpx.AsyncClient, path: str, stream: bool, after: int) -> None:
        body = {"model": "glm", "stream": stream, **DIALECTS[path](TEXT)}
        headers = {"authorization": f"Bearer {house.key}"}
        try:
            if not stream:
                await client.post(house.url + path, json=body, headers=headers, timeout=after / 500)
                return
            async with client.stream("POST", house.url + path, json=body, headers=headers) as answer:
                assert answer.status_code == 200, path
                lines = answer.aiter_lines()
                for _ in range(after):
                    await anext(lines, None)
        except httpx.TimeoutException:
            pass

    async def all_of_them() -> None:
        places = asyncio.Semaphore(20)
        async with httpx.AsyncClient(timeout=60, limits=httpx.Limits(max_keepalive_connections=0)) as client:

            async def one(path: str, stream: bool, after: int) -> None:
                async with places:
                    await leave(client, path, stream, after)

            paths = list(DIALECTS)
            await asyncio.gather(
                *(
                    one(paths[number % len(paths)], chance.random() < 0.7, chance.randrange(1, 300))
                    for number in range(clients)
                )
            )

    asyncio.run(all_of_them())
    wait_until(lambda: house.upstream.open == 0)
    house.settled(wait_until)
    rows = {row["request_id"]: row for row in house.usage()}
    assert len(house.usage()) == len(rows)  # nobody twice
    for request_id, wrote in house.upstream.billed.items():
        row = rows.pop(request_id)  # nobody for free
        paid = row["output_text"] + row["output_reasoning"]
        assert (row["input_uncached"] + row["cache_read"], paid) == (wrote["prompt"], wrote["completion"])
    assert not [row for row in rows.values() if row["cost_nano"] or row["credits"]]
    spent = sum(row["cost_nano"] for row in house.usage())
    assert house.balance() == 10 * 10**9 - spent
    assert len(house.upstream.billed) > clients * 0.9
    audited(house.platform.database)


def test_a_client_that_does_not_read_holds_nothing_up_and_pays_what_was_written(house, wait_until):
    """R10: the model is read no faster than its reader reads."""
    body = {
        "model": "glm",
        "stream": True,
        "max_tokens": 300_000,
        "messages": [{"role": "user", "content": script(tokens=300_000)}],
    }
    sent = json.dumps(body).encode()
    address = urlsplit(house.url)
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: {address.netloc}\r\n"
        f"authorization: Bearer {house.key}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(sent)}\r\n\r\n"
    )
    with socket.create_connection((address.hostname, address.port)) as reader:
        reader.sendall(head.encode() + sent)
        assert reader.recv(12) == b"HTTP/1.1 200"
        written = -1

        def stands_still() -> bool:
            nonlocal written
            before = written
            # Others are served meanwhile, and their time is the clock of this test.
            for _ in range(20):
                other = {"model": "glm", "messages": [{"role": "user", "content": script(tokens=2)}]}
                assert house.post("/v1/chat/completions", other).status_code == 200
            written = max(count["completion"] for count in house.upstream.billed.values())
            return written == before

        wait_until(stands_still)
        assert 0 < written < 150_000
    house.settled(wait_until)
    billed = {row["request_id"]: row["output_text"] for row in house.usage()}
    assert billed == {name: counted["completion"] for name, counted in house.upstream.billed.items()}


def test_a_line_of_five_megabytes_arrives_byte_for_byte(house, wait_until):
    """R10: split anywhere, in Chinese, beside a prompt of the same size."""
    word = "智谱清言" * (5 * 2**20 // 12)
    body = {
        "model": "glm",
        "messages": [{"role": "user", "content": script(words=[word], piece=65_521)}],
    }
    answer = house.post("/v1/chat/completions", body)
    assert answer.json()["choices"][0]["message"]["content"] == word
    streamed = house.post("/v1/chat/completions", {**body, "stream": True})
    assert streamed.text.count("智谱清言") == len(word) // 4
    house.settled(wait_until)


def test_a_prompt_of_ten_megabytes_reaches_the_model_whole(house, wait_until):
    """R10: its bytes bound more tokens than the wallet holds, so they are counted exactly."""
    text = "字" * (10 * 2**20 // 3)
    body = {"model": "glm", "messages": [{"role": "user", "content": text}]}
    assert house.post("/v1/chat/completions", body).status_code == 200
    assert house.upstream.bodies[-1]["messages"][-1]["content"] == text
    house.settled(wait_until)
