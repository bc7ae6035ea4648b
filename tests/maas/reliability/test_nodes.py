"""R15: nodes that look dead to others, and are not: nothing that they deliver goes unpaid."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from openglm.maas.gateway.exchange import HELD_OUTPUT
from openglm.maas.money.nodes import LEASE_S
from tests.maas.reliability.conftest import Child, Home, read_until_it_breaks, script

PACE_S = 0.005


def chat(**words) -> dict:
    return {
        "model": "glm",
        "stream": True,
        "max_tokens": 4_000,
        "messages": [{"role": "user", "content": script(**words)}],
    }


def begun(home: Home) -> Callable[[], bool]:
    return lambda: any(one["completion"] > 20 for one in home.upstream.billed.values())


@pytest.mark.slow
def test_a_node_whose_loop_stands_still_is_not_taken_for_dead(home: Home, wait_until):
    """For longer than a lease lasts, while another node looks for the dead."""
    with home.serving() as one, home.serving(), ThreadPoolExecutor(1) as pool:
        stream = pool.submit(read_until_it_breaks, one.url, home.headers, chat(tokens=600, pace_s=PACE_S))
        wait_until(begun(home))
        httpx.post(f"{one.url}/stall", params={"s": LEASE_S + 4}, timeout=60)
        assert stream.result()
        wait_until(lambda: not home.rows("SELECT 1 FROM hold WHERE state = 'open'"))
    (row,) = home.usage().values()
    assert (row["status"], row["output_text"]) == ("ok", 600)
    assert [row["state"] for row in home.rows("SELECT state FROM hold")] == ["settled"]
    home.check_books()


@pytest.mark.slow
@pytest.mark.parametrize("tokens", [600, HELD_OUTPUT + 500])
def test_a_node_that_was_taken_for_dead_charges_what_it_delivers_all_the_same(home: Home, wait_until, tokens):
    """What fits the hold that there was goes on to its end; a longer one breaks off, for nothing is held."""
    with home.serving() as child, ThreadPoolExecutor(1) as pool:
        stream = pool.submit(
            read_until_it_breaks, child.url, home.headers, chat(tokens=tokens, pace_s=PACE_S)
        )
        wait_until(begun(home))
        (hold,) = home.rows("SELECT node_id FROM hold")
        assert asyncio.run(home.platform.billing.recover(hold["node_id"])) == 1
        stream.result()
        wait_until(lambda: home.rows("SELECT state FROM hold") == [{"state": "settled"}])
        wait_until(lambda: home.upstream.open == 0)
    (row,) = home.usage().values()
    (wrote,) = home.upstream.billed.values()
    assert row["output_text"] == wrote["completion"]
    assert row["status"] == ("ok" if tokens < HELD_OUTPUT else "partial")
    home.check_books()


def in_the_background(home: Home, child: Child) -> str:
    """A long response that has begun there."""
    body = {"model": "glm", "input": script(tokens=4_000, pace_s=PACE_S), "background": True}
    made = httpx.post(f"{child.url}/v1/responses", json=body, headers=home.headers, timeout=60)
    assert made.status_code == 200, made.text
    return made.json()["id"]


@pytest.mark.slow
def test_a_response_in_the_background_of_a_node_that_died_is_said_to_have_failed(home: Home, wait_until):
    with home.serving() as one, home.serving() as two:
        path = f"{two.url}/v1/responses/{in_the_background(home, one)}"
        wait_until(begun(home))
        one.kill()
        with httpx.Client(headers=home.headers, timeout=60) as client:
            assert client.get(path).json()["status"] == "in_progress"
            wait_until(lambda: client.get(path).json()["status"] == "failed")
        wait_until(lambda: not home.rows("SELECT 1 FROM hold WHERE state = 'open'"))
    home.check_books()


@pytest.mark.slow
@pytest.mark.parametrize("way", ["cancel", "delete"])
def test_a_response_in_the_background_is_stopped_from_any_node(home: Home, wait_until, way):
    with home.serving() as one, home.serving() as two:
        path = f"{two.url}/v1/responses/{in_the_background(home, one)}"
        wait_until(begun(home))
        with httpx.Client(headers=home.headers, timeout=60) as client:
            answer = client.post(f"{path}/cancel") if way == "cancel" else client.delete(path)
            assert answer.status_code == 200
            wait_until(lambda: home.upstream.open == 0)
            wait_until(lambda: not home.rows("SELECT 1 FROM hold WHERE state = 'open'"))
            assert client.get(path).status_code == (200 if way == "cancel" else 404)
    (row,) = home.usage().values()
    (wrote,) = home.upstream.billed.values()
    assert row["output_text"] == wrote["completion"] < 4_000
    assert row["status"] == "partial"
    home.check_books()
