"""R1: clients that leave, at any moment and in every dialect."""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import threading

import httpx
import pytest

from openglm.maas.outbound import GuardedSession
from openglm.maas.upstreams import Channel
from tests.maas.fake_mcp import FakeMcp
from tests.maas.gateway.conftest import House
from tests.maas.money.conftest import audited
from tests.maas.reliability.conftest import script
from tests.maas.reliability.counts import SOAK, count

DIALECTS = {
    "/v1/chat/completions": lambda text: {"messages": [{"role": "user", "content": text}], "max_tokens": 500},
    "/v1/completions": lambda text: {"prompt": text, "max_tokens": 500},
    "/v1/responses": lambda text: {"input": text, "max_output_tokens": 500},
    "/v1/messages": lambda text: {"messages": [{"role": "user", "content": text}], "max_tokens": 500},
    "/api/paas/v4/chat/completions": lambda text: {"messages": [{"role": "user", "content": text}]},
    "/api/coding/paas/v4/chat/completions": lambda text: {"messages": [{"role": "user", "content": text}]},
    "/v1/embeddings": lambda text: {"input": text},
    "/api/paas/v4/embeddings": lambda text: {"input": text},
}
TEXT = script(prompt=7, cached=3, reasoning=10, tokens=120, pace_s=0.001)


WORD = re.compile(r"w\d+ ")


Seen = tuple[str, int]  # the request's id, if it came, and the words


async def leave(
    client: httpx.AsyncClient, house: House, path: str, after: int | None, timeout: float
) -> Seen:
    """Ask, and leave after so many lines of the stream, or at the timeout of a whole answer."""
    body, headers = {"model": "glm", **DIALECTS[path](TEXT)}, {"authorization": f"Bearer {house.key}"}
    words: set[str] = set()
    if after is None:
        with contextlib.suppress(httpx.TimeoutException):
            await client.post(house.url + path, json=body, headers=headers, timeout=timeout)
        return "", 0
    body["stream"] = True
    async with client.stream("POST", house.url + path, json=body, headers=headers) as answer:
        assert answer.status_code == 200, path
        lines = answer.aiter_lines()
        for _ in range(after):
            words |= set(WORD.findall(await anext(lines, "")))
        return answer.headers["x-request-id"], len(words)


async def crowd(house: House, clients: int) -> dict[str, int]:
    """So many clients, twenty at a time, each leaving when it likes, and the words that each saw."""
    chance, places = random.Random(3), asyncio.Semaphore(20)
    async with httpx.AsyncClient(timeout=60, limits=httpx.Limits(max_keepalive_connections=0)) as client:

        async def one(path: str, stream: bool, after: int) -> Seen:
            stream = stream and "embeddings" not in path
            async with places:
                return await leave(client, house, path, after if stream else None, after / 500)

        paths = list(DIALECTS)
        seen = await asyncio.gather(
            *(
                one(paths[number % len(paths)], chance.random() < 0.7, chance.randrange(1, 300))
                for number in range(clients)
            )
        )
    return dict(seen)


@pytest.mark.slow
@pytest.mark.timeout(1200 if SOAK else 300)
@pytest.mark.parametrize("leaving", ["cancel", "abort", "drain"])
def test_whoever_leaves_whenever_in_whatever_dialect_pays_what_the_model_wrote(house, wait_until, leaving):
    """R1. Where answers are ended in order or drained, the model's own count is the bill. Who hangs up may
    leave what nobody read: the bill is never more than was written, nor less than was seen."""
    channel = Channel("fake", house.upstream.url, {"glm": "wire"}, leaving=leaving, drain_tokens=10_000)
    house.platform.router.add(channel)
    house.upstream.always = {"wait_s": 0.05}
    clients = count(120, 1_000)
    asyncio.run(house.platform.plans.subscribe(house.org_id, "lite", idempotency_key="x"))
    seen = asyncio.run(crowd(house, clients))
    wait_until(lambda: house.upstream.open == 0)
    house.settled(wait_until)
    rows = {row["request_id"]: row for row in house.usage()}
    assert len(house.usage()) == len(rows)  # nobody twice
    for request_id, wrote in house.upstream.billed.items():
        row = rows.pop(request_id)  # nobody unknown
        paid = row["output_text"] + row["output_reasoning"]
        assert paid >= seen.get(request_id, 0)
        if row["kind"] != "embedding" and not wrote["completion"]:
            assert row["status"] == "void"  # an answer that was left before its first token is free
        elif leaving == "abort":
            assert paid <= wrote["completion"]
            assert row["input_uncached"] + row["cache_read"] in (0, wrote["prompt"])
        else:
            prompt = row["input_uncached"] + row["cache_read"]
            assert (prompt, paid) == (wrote["prompt"], wrote["completion"]), row
    assert not [row for row in rows.values() if row["cost_nano"] or row["credits"]]
    spent = sum(row["cost_nano"] for row in house.usage())
    assert house.balance() == 10 * 10**9 - spent
    assert len(house.upstream.billed) > clients * (0.5 if leaving == "abort" else 0.9)
    audited(house.platform.database)


@pytest.mark.parametrize("path", ["/v1/responses", "/api/paas/v4/chat/completions"])
def test_who_leaves_while_a_turn_with_tools_is_counted_pays_for_it(house: House, wait_until, path):
    """The model's server told no usage; the turn's words are counted, and its client leaves meanwhile."""
    # Where tests' servers are
    house.platform.mcp.strangers_web = GuardedSession(allow_private=True, connections=None)
    house.upstream.count_gate = threading.Event()
    calls = [{"id": "call_1", "name": "echo", "arguments": "{}"}]
    turn = {"calls": calls, "finish": "tool_calls", "tokens": 200, "usage": "never"}
    with FakeMcp() as server:
        if path == "/v1/responses":
            tool = {"type": "mcp", "server_label": "test", "server_url": server.url}
            tool["require_approval"] = "never"
        else:
            transport = {"transport_type": "streamable-http"}
            tool = {"type": "mcp", "mcp": {"server_label": "test", "server_url": server.url, **transport}}
        body = {"model": "glm", **DIALECTS[path](script(turns=[turn, {}])), "tools": [tool], "stream": True}
        headers = {"authorization": f"Bearer {house.key}"}
        with (
            httpx.Client(timeout=60) as client,
            client.stream("POST", house.url + path, json=body, headers=headers) as answer,
        ):
            assert answer.status_code == 200
            wait_until(lambda: house.upstream.counting)
        wait_until(lambda: not server.sessions)  # the answer has been let go of
        house.upstream.count_gate.set()
        house.settled(wait_until)
    (row,) = house.usage()
    assert row["output_text"] >= 200
    assert (row["status"], row["estimated"]) == ("ok", 1)
    assert row["cost_nano"] > 0
    audited(house.platform.database)
