"""SDKs on Node: a loop with two calls at once, typed streams, and a stream that its reader aborts."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.clis.conftest import PLAN, Desk, House
from tests.clis.model import Play, Turn
from tests.maas.gateway.conftest import YUAN
from tests.maas.gateway.test_anthropic import subscribe
from tests.maas.gateway.test_bills import price

pytestmark = pytest.mark.clis

SCRIPTS = Path(__file__).parent / "sdks"
ENDLESS = Turn("", "word " * 2_000, more={"pace_s": 0.01})
LOOP = [
    Turn("Add.", "Adding.", (("add", {"a": 1, "b": 2}), ("add", {"a": 3, "b": 4}))),
    Turn("Done.", "It is 3 and 7."),
]


def run(script: str, house: House, desk: Desk, programs: Path, base: str = "") -> dict[str, Any]:
    """What a script printed. It runs in a folder where Node finds the installed packages."""
    house.upstream.plays = Play(LOOP, aside=ENDLESS)
    (desk.folder / "node_modules").symlink_to(programs)
    shutil.copy(SCRIPTS / script, desk.folder)
    desk.environment |= {"URL": house.url, "KEY": house.key, "BASE": base}
    status, output = desk.run(["node", script])
    assert status == 0, output
    return json.loads(output.splitlines()[0])


def check_bills(house: House, wait_until: Callable) -> dict[str, dict]:
    """Every request is paid as the upstream counted it, also the one that was aborted; gives the rows."""
    wait_until(lambda: house.upstream.open == 0)
    house.settled(wait_until)
    rows = {row["request_id"]: row for row in house.usage()}
    billed = house.upstream.billed
    assert {name: row["output_text"] + row["output_reasoning"] for name, row in rows.items()} == {
        name: count["completion"] for name, count in billed.items()
    }
    spent = sum(price(count["prompt"], count["cached"], count["completion"]) for count in billed.values())
    paid = 0 if rows and all(row["is_plan"] for row in rows.values()) else spent
    assert house.balance() == 10 * YUAN - paid
    assert [row["status"] for row in rows.values()].count("partial") == 1
    return rows


def whole_tokens(rows: dict[str, dict]) -> int:
    names = ("input_uncached", "cache_read", "cache_write", "output_text", "output_reasoning")
    return sum(row[name] for row in rows.values() if row["status"] == "ok" for name in names)


def test_openai_runs_tools_over_chat_and_responses(
    house: House, desk: Desk, programs: Path, wait_until: Callable
):
    said = run("openai.mjs", house, desk, programs)
    assert said["chat"]["text"].strip() == said["response"].strip() == "It is 3 and 7."
    assert said["chat"]["reasoning"] == "Add.Done."
    rows = check_bills(house, wait_until)
    chats = {name: row for name, row in rows.items() if row["endpoint"] == "/v1/chat/completions"}
    assert said["chat"]["tokens"] == whole_tokens(chats)
    results = [m["content"] for m in house.upstream.bodies[-2]["messages"] if m["role"] == "tool"]
    assert results == ["3", "7"]
    assert house.upstream.bodies[-2]["messages"][1]["reasoning_content"] == "Add."


def test_anthropic_runs_tools_counts_and_aborts(
    house: House, desk: Desk, programs: Path, wait_until: Callable
):
    said = run("anthropic.mjs", house, desk, programs)
    assert said["loop"]["kinds"] == ["thinking", "text"]
    assert said["loop"]["text"].strip() == "It is 3 and 7."
    assert said["loop"]["stop"] == "end_turn"
    assert said["counted"] == 1
    assert said["aborted"]
    assert said["loop"]["tokens"] == whole_tokens(check_bills(house, wait_until))
    assert house.upstream.bodies[1]["messages"][1]["reasoning_content"] == "Add."


@pytest.mark.parametrize("base", ["/v1", "/api/coding/paas/v4", "/api/paas/v4"])
def test_ai_runs_tools_and_aborts(base: str, house: House, desk: Desk, programs: Path, wait_until: Callable):
    if "coding" in base:
        subscribe(house, PLAN)
    said = run("ai.mjs", house, desk, programs, base)
    assert said["text"].strip() == "It is 3 and 7."
    assert said["reasoning"].strip() == "Done."
    assert (said["finish"], said["steps"], said["errors"], said["aborted"]) == ("stop", 2, False, True)
    assert said["tokens"] == whole_tokens(check_bills(house, wait_until))
