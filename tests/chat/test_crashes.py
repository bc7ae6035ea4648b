"""A server that is killed in the middle of an answer, and two that share a database."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from openglm.maas.platform import Platform
from openglm.maas.settings import Settings
from tests.chat.conftest import Page, listening, script
from tests.maas.reliability.conftest import SERVER


@contextmanager
def serving(data, database_url: str, upstream) -> Iterator[tuple[Page, subprocess.Popen]]:
    command = [sys.executable, str(SERVER), str(data), database_url, upstream.url]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        url = process.stdout.readline().strip()
        assert url, "the server did not start"
        yield Page(url), process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture
def rows(database_url, tmp_path):
    """Reads the database behind the servers, in which the model is free."""
    platform = Platform(Settings(data=tmp_path, database_url=database_url), serves=False)
    asyncio.run(platform.prices.set_if_none("glm"))
    yield lambda sql, **given: [dict(row) for row in platform.database.read_now(sql, **given)]
    asyncio.run(platform.close())


@pytest.mark.slow
def test_a_killed_server_leaves_the_last_checkpoint_interrupted_and_billed_once(
    database_url, tmp_path, upstream, rows, wait_until
):
    with serving(tmp_path, database_url, upstream) as (page, process):
        page.get("me")  # a household settles in
        conversation = page.begin()
        answer = page.say(conversation, script(tokens=1_000_000, pace_s=0.003, reasoning=30))["answers"][0]
        wait_until(lambda: len(rows("SELECT 1 FROM chat_piece")) >= 3)
        process.send_signal(signal.SIGKILL)
        process.wait()
    saved = "".join(
        row["text"] for row in rows("SELECT text FROM chat_piece WHERE kind = 'text' ORDER BY number")
    )
    assert saved.startswith("w30 w31 ")
    with serving(tmp_path, database_url, upstream) as (page, _):
        kept = page.ended(conversation, answer["id"], wait_until)
        assert kept["state"] == "interrupted"
        assert kept["text"] == saved
        assert kept["reasoning"].startswith("w0 w1 ")
        usage = rows("SELECT * FROM usage_event")
        assert len(usage) == 1
        assert kept["usage"]["output_text"] == usage[0]["output_text"] > 0
        assert kept["cost"]["arithmetic"]
        assert rows("SELECT 1 FROM chat_piece") == []
        path = f"messages/{answer['id']}/answers"
        (again,) = page.post(path, json={"client_id": "again"}).json()["answers"]
        assert page.post(f"messages/{again['id']}/stop").json()["state"] == "stopped"
    assert len(rows("SELECT 1 FROM usage_event")) <= 2


@pytest.mark.slow
@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
def test_an_answer_is_heard_and_stopped_through_another_node(
    database_url, tmp_path, upstream, rows, wait_until
):
    with (
        serving(tmp_path, database_url, upstream) as (here, _),
        serving(tmp_path, database_url, upstream) as (there, _),
    ):
        conversation = here.begin()
        with listening(there, f"conversations/{conversation}/events") as heard:
            answer = here.say(conversation, script(tokens=1_000_000, pace_s=0.003))["answers"][0]
            wait_until(lambda: heard.messages.get(answer["id"], {}).get("text", "").count("w") > 300)
            assert there.message(conversation, answer["id"])["text"]
            stopped = there.post(f"messages/{answer['id']}/stop").json()
            wait_until(lambda: heard.messages[answer["id"]]["state"] == "stopped")
        assert heard.messages[answer["id"]] == stopped
        assert [name for _, name, _ in heard.events].count("delta") > 0
        assert (
            stopped["usage"]["output_text"] == rows("SELECT output_text FROM usage_event")[0]["output_text"]
        )
