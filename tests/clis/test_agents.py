"""Agents read, edit, run and answer through the platform, and pay exactly what the model's server counted."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Callable

import pytest

from tests.clis.agents import AGENTS, Agent
from tests.clis.conftest import PLAN, Desk, House
from tests.clis.model import Play, Turn
from tests.maas.gateway.conftest import YUAN
from tests.maas.gateway.test_anthropic import subscribe
from tests.maas.gateway.test_bills import price

pytestmark = pytest.mark.clis

every_agent = pytest.mark.parametrize("agent", AGENTS, ids=str)


def meters(house: House) -> dict[str, int]:
    """What the meters of the plan show, as the official script reads them."""
    answer = house.get("/api/monitor/usage/quota/limit").json()
    return {limit["unit"]: limit["currentValue"] for limit in answer["data"]["limits"]}


def check_bills(house: House, agent: Agent) -> None:
    """Each request is one usage row with the upstream's own counts; wallet or meters moved by their sum."""
    billed, rows = house.upstream.billed, house.usage()
    assert {row["request_id"]: (row["cache_read"], _prompt(row), _output(row)) for row in rows} == {
        name: (count["cached"], count["prompt"], count["completion"]) for name, count in billed.items()
    }
    assert {row["dialect"] for row in rows} == {agent.dialect}
    assert {row["status"] for row in rows} == {"ok"}
    counts = billed.values()
    if rows[0]["is_plan"]:
        credits = sum(4 * (c["prompt"] - c["cached"]) + c["cached"] + 12 * c["completion"] for c in counts)
        assert set(meters(house).values()) == {credits}
        assert house.balance() == 10 * YUAN
    else:
        spent = sum(price(c["prompt"], c["cached"], c["completion"]) for c in counts)
        assert house.balance() == 10 * YUAN - spent


def _prompt(row: dict) -> int:
    return row["input_uncached"] + row["cache_read"] + row["cache_write"]


def _output(row: dict) -> int:
    return row["output_text"] + row["output_reasoning"]


def conversation(house: House) -> list[dict]:
    """The messages of the last request that had tools."""
    return next(body for body in reversed(house.upstream.bodies) if body.get("tools"))["messages"]


def results(messages: list[dict]) -> str:
    return json.dumps([message["content"] for message in messages if message["role"] == "tool"])


@every_agent
def test_an_agent_reads_edits_runs_and_answers(agent: Agent, house: House, desk: Desk, wait_until: Callable):
    if agent.dialect != "openai":
        subscribe(house, PLAN)
    desk.settle(agent, house)
    job = agent.job(desk.folder)
    house.upstream.plays = Play(job)
    status, output = desk.run(agent.asked("Put pears in the place of apples in notes.txt"))
    assert status == 0, output
    assert "All is done." in output
    assert desk.text("notes.txt") == "pears\nplums\n"
    assert desk.text("count.txt").strip() == "2"
    messages = conversation(house)
    assert "apples" in results(messages)  # read
    assert "counted" in results(messages)  # ran
    assert "data:image/png;base64," in json.dumps(messages)  # seen
    answers = [message for message in messages if message["role"] == "assistant"]
    assert [answer["reasoning_content"] for answer in answers] == [turn.thought for turn in job[:-1]]
    calls = [call["function"]["name"] for answer in answers for call in answer["tool_calls"]]
    assert calls == [name for turn in job for name, _ in turn.calls]
    house.settled(wait_until)
    check_bills(house, agent)


@every_agent
def test_a_conversation_goes_on_with_the_reasoning_of_before(
    agent: Agent, house: House, desk: Desk, wait_until: Callable
):
    desk.settle(agent, house)
    if agent.dialect == "coding":
        subscribe(house, PLAN)
    house.upstream.plays = Play([Turn("Hm.", "I see.")])
    for ask in (agent.asked("remember the pears"), agent.asked_further("and now?")):
        status, output = desk.run(ask)
        assert status == 0, output
    messages = conversation(house)
    assert "remember the pears" in json.dumps(messages)
    (answer,) = [message for message in messages if message["role"] == "assistant"]
    assert answer["content"].strip() == "I see."
    assert answer["reasoning_content"] == "Hm."
    house.settled(wait_until)
    check_bills(house, agent)


@every_agent
def test_ctrl_c_stops_the_model_and_pays_for_what_it_wrote(
    agent: Agent, house: House, desk: Desk, wait_until: Callable
):
    desk.settle(agent, house)
    if agent.dialect == "coding":
        subscribe(house, PLAN)
    endless = Turn("Hm.", "word " * 2_000, more={"pace_s": 0.01})
    house.upstream.plays = Play([endless])
    with desk.start(agent.asked("tell a long story")) as process:
        try:
            wait_until(lambda: any(count["completion"] > 20 for count in house.upstream.billed.values()))
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=60)
        finally:
            process.kill()
    wait_until(lambda: house.upstream.open == 0)
    house.settled(wait_until)
    rows = {row["request_id"]: row for row in house.usage()}
    assert {name: _output(row) for name, row in rows.items()} == {
        name: count["completion"] for name, count in house.upstream.billed.items()
    }
    assert "partial" in {row["status"] for row in rows.values()}


@pytest.mark.parametrize("agent", [AGENTS[0], AGENTS[3], AGENTS[4]], ids=str)
def test_an_empty_wallet_is_told_at_once(agent: Agent, house: House, desk: Desk, wait_until: Callable):
    asyncio.run(house.platform.wallet.adjust(house.org_id, -10 * YUAN, idempotency_key="poor", reason="test"))
    desk.settle(agent, house)
    status, output = desk.run(agent.asked("hello"))
    assert status != 0
    assert "wallet" in output or "Quota exceeded" in output, output
    wait_until(lambda: len(refusals(house)) == 1)
    assert not house.upstream.bodies


def test_claude_code_tells_when_a_used_up_plan_goes_on(house: House, desk: Desk, wait_until: Callable):
    (agent,) = (agent for agent in AGENTS if agent.dialect == "anthropic")
    subscribe(house, PLAN.replace("10_000_000", "10"))
    desk.settle(agent, house)
    status, output = desk.run(agent.asked("hello"))
    assert status != 0
    assert "resets at" in output, output
    wait_until(lambda: len(refusals(house)) == 1)
    assert not house.upstream.bodies


def test_opencode_waits_for_a_used_up_plan_without_asking_again(
    house: House, desk: Desk, wait_until: Callable
):
    (agent,) = (agent for agent in AGENTS if agent.dialect == "coding")
    subscribe(house, PLAN.replace("10_000_000", "10"))
    desk.settle(agent, house)
    with desk.start(agent.asked("hello")) as process:
        try:
            wait_until(lambda: len(refusals(house)) >= 2)  # the title and the answer
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=60)
        finally:
            process.kill()
    assert len(refusals(house)) == 2
    assert not house.upstream.bodies


def refusals(house: House) -> list[dict]:
    return house.rows("SELECT * FROM request_log WHERE status IN (402, 429)")


@every_agent
def test_an_answer_that_breaks_off_is_asked_for_again(
    agent: Agent, house: House, desk: Desk, wait_until: Callable
):
    desk.settle(agent, house)
    if agent.dialect == "coding":
        subscribe(house, PLAN)
    play = Play([Turn("Hm.", "All is done.")])
    broken: list[dict] = []

    def breaks_once(body: dict) -> dict:
        if body.get("tools") and not broken:
            broken.append(body)
            return {**play(body), "dies": 2}
        return play(body)

    house.upstream.plays = breaks_once
    status, output = desk.run(agent.asked("hello"))
    assert status == 0, output
    assert "All is done." in output
    house.settled(wait_until)
    rows = {row["request_id"]: row for row in house.usage()}
    assert [row["status"] for row in rows.values()].count("partial") == 1
    assert {name: _output(row) for name, row in rows.items()} == {
        name: count["completion"] for name, count in house.upstream.billed.items()
    }


def test_claude_code_goes_on_though_the_model_is_blind_and_its_window_small(house: House, desk: Desk):
    """It asks for 32,000 tokens, reads a picture and a PDF; each refusal tells it what to do."""
    (agent,) = (agent for agent in AGENTS if agent.dialect == "anthropic")
    desk.settle(agent, house)
    (desk.folder / "paper.pdf").write_bytes(b"%PDF-1.4\n%%EOF\n")
    files = [{"file_path": str(desk.folder / name)} for name in ("dot.png", "paper.pdf")]
    play = Play(
        [Turn("Look.", "Reading.", tuple(("Read", file) for file in files)), Turn("", "All is done.")]
    )

    def limited(body: dict) -> dict:
        if body["max_tokens"] > 20_000:
            fits = "the prompt has 4000 tokens and max_tokens is 32000; together at most 24000 fit"
            return {"status": 400, "message": f"maximum context length: {fits}"}
        if "image_url" in json.dumps(body["messages"]):
            return {"status": 400, "message": "glm is not a multimodal model"}
        return play(body)

    house.upstream.plays = limited
    status, output = desk.run(agent.asked("look at both"))
    assert (status, "All is done." in output) == (0, True), output
    assert "Image removed" in results(conversation(house))
    assert "Document removed" in results(conversation(house))
