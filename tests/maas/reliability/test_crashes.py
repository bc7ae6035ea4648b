"""R2, R9, R12: a real process that is killed, stopped, and worked for long."""

from __future__ import annotations

import asyncio
import json
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import psutil
import pytest

from openglm.maas.gateway.exchange import HELD_OUTPUT
from openglm.maas.money.billing import CHECKPOINT_TOKENS
from tests.maas.reliability.conftest import Home, read_until_it_breaks, script
from tests.maas.reliability.counts import SOAK, count

PACE_S = 0.003
# Tokens between two checkpoints, and those of the time that a busy machine may take to write one.
ONE_CHECKPOINT = CHECKPOINT_TOKENS + int(0.75 / PACE_S)
KILLED_AFTER = 2 * ONE_CHECKPOINT + 100  # tokens: without checkpoints, or with late ones, more would be lost
RESOLVED_S = 10.0  # after the restart


def chat(**words) -> dict:
    return {
        "model": "glm",
        "stream": True,
        "max_tokens": 100_000,
        "messages": [{"role": "user", "content": script(**words)}],
    }


@pytest.mark.slow
@pytest.mark.timeout(3600 if SOAK else 300)
def test_a_killed_server_loses_at_most_one_checkpoint_and_no_hold(home: Home, wait_until):
    """R2."""
    for _ in range(count(2, 100)):
        home.upstream.billed.clear()
        with home.serving() as child, ThreadPoolExecutor(6) as pool:
            streams = [
                pool.submit(
                    read_until_it_breaks, child.url, home.headers, chat(tokens=100_000, pace_s=PACE_S)
                )
                for _ in range(6)
            ]
            billed = home.upstream.billed
            wait_until(
                lambda billed=billed: (
                    len(billed) == 6 and min(one["completion"] for one in billed.values()) > KILLED_AFTER
                )
            )
            child.kill()
            assert not any(stream.result() for stream in streams)
        wait_until(lambda: home.upstream.open == 0)
        with home.serving():
            restarted = time.monotonic()
            wait_until(lambda: not home.rows("SELECT 1 FROM hold WHERE state = 'open'"))
            assert time.monotonic() - restarted <= RESOLVED_S
        rows = home.usage()
        for request_id, wrote in home.upstream.billed.items():
            paid = rows[request_id]["output_text"]
            assert wrote["completion"] - ONE_CHECKPOINT <= paid <= wrote["completion"]
        home.check_books()


@pytest.mark.slow
def test_what_nobody_waits_for_is_answered_and_paid_once_though_its_server_is_killed(home: Home, wait_until):
    """R2, of a batch's row and an asynchronous chat that are longer than what was held for them at first."""
    tokens = HELD_OUTPUT + 500
    message = {"role": "user", "content": script(tokens=tokens, pace_s=PACE_S)}
    body = {"model": "glm", "messages": [message], "max_tokens": 2 * tokens}
    row = {"custom_id": "row-1", "method": "POST", "url": "/v1/chat/completions", "body": body}

    def post(url: str, **words) -> dict:
        answer = httpx.post(url, headers=home.headers, timeout=60, **words)
        assert answer.status_code == 200, answer.text
        return answer.json()

    with home.serving() as child:
        file = post(
            f"{child.url}/v1/files",
            files={"file": ("in.jsonl", json.dumps(row).encode())},
            data={"purpose": "batch"},
        )
        wanted = {"input_file_id": file["id"], "endpoint": row["url"], "completion_window": "24h"}
        post(f"{child.url}/v1/batches", json=wanted)
        post(f"{child.url}/api/paas/v4/async/chat/completions", json=body)
        billed = home.upstream.billed
        wait_until(
            lambda: len(billed) == 2 and min(one["completion"] for one in billed.values()) > HELD_OUTPUT
        )
        child.kill()
    home.upstream.always = {"pace_s": 0}
    with home.serving():
        wait_until(lambda: not home.rows("SELECT 1 FROM hold WHERE state = 'open'"))
        wait_until(lambda: home.rows("SELECT state FROM async_task") == [{"state": "SUCCESS"}])
        wait_until(lambda: home.rows("SELECT completed FROM batch") == [{"completed": 1}])
    paid = [row for row in home.usage().values() if row["cost_nano"]]
    assert [(row["status"], row["output_text"]) for row in paid] == [("ok", tokens)] * 2
    home.check_books()


@pytest.mark.slow
def test_a_stopped_server_lets_streams_end_and_leaves_nothing_open(home: Home, wait_until):
    """R12: the model's answer goes on to its end, a bill is written, and the process ends well."""
    with home.serving() as child, ThreadPoolExecutor(4) as pool:
        streams = [
            pool.submit(read_until_it_breaks, child.url, home.headers, chat(tokens=300, pace_s=PACE_S))
            for _ in range(4)
        ]
        wait_until(lambda: len(home.upstream.billed) == 4)
        child.terminate()
        assert all(stream.result() for stream in streams)
        assert child.process.wait(30) == 0
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{child.url}/health", timeout=5)
    assert not home.rows("SELECT 1 FROM hold WHERE state = 'open'")
    assert [row["output_text"] for row in home.usage().values()] == [300] * 4
    assert {row["status"] for row in home.usage().values()} == {"ok"}
    home.check_books()


@pytest.mark.slow
@pytest.mark.timeout(4 * 3600 if SOAK else 300)
def test_long_work_leaks_neither_memory_nor_files_nor_threads_nor_tasks(home: Home, wait_until):
    """R9: after a warm-up, as many again of everything change nothing."""
    whole, streams = count(1_500, 500_000), count(150, 50_000)
    at_once = 16

    async def work(url: str) -> None:
        places = asyncio.Semaphore(at_once)
        async with httpx.AsyncClient(timeout=60, headers=home.headers) as client:

            async def one(number: int) -> None:
                async with places:
                    body = chat(tokens=5 if number < whole else 40)
                    body["stream"] = number >= whole
                    answer = await client.post(f"{url}/v1/chat/completions", json=body)
                    assert answer.status_code == 200
                home.upstream.bodies.clear()
                home.upstream.headers.clear()

            for start in range(0, whole + streams, 1_000):
                await asyncio.gather(*map(one, range(start, min(start + 1_000, whole + streams))))

    def state(url: str, process: psutil.Process) -> tuple[int, int, int, int]:
        tasks = int(httpx.get(f"{url}/tasks").text)
        return process.memory_info().rss, process.num_fds(), process.num_threads(), tasks

    with home.serving() as child:
        process = psutil.Process(child.process.pid)
        asyncio.run(work(child.url))
        wait_until(lambda: not home.rows("SELECT 1 FROM hold WHERE state = 'open'"))
        memory, files, threads, tasks = state(child.url, process)
        asyncio.run(work(child.url))
        wait_until(lambda: not home.rows("SELECT 1 FROM hold WHERE state = 'open'"))
        # Clients' connections are just closing, and the upstream's idle ones, at most `at_once`, come and go.
        wait_until(lambda: state(child.url, process)[1] <= files + at_once)
        wait_until(lambda: state(child.url, process)[3] <= tasks + 2)
        later = state(child.url, process)
    assert later[0] < memory * 1.05 + 4e6
    assert later[2] <= threads + 2
    assert len(home.usage()) == 2 * (whole + streams)
    home.check_books()
