"""What Anthropic's place says of batches that ran out of time, or lost an answer."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime, timedelta

import msgspec
import pytest

from openglm.dialects.fields import Fields
from openglm.errors import DuplicateRequest, InvalidRequest
from openglm.maas.batches import Batch, Batches
from openglm.maas.batches.lines import MAX_LINE
from openglm.maas.batches.messages import ENDPOINT, OURS, _opened, lines_of, result_lines, wire

PLACE = "https://glm.example/api/anthropic/v1/messages/batches"


def sent(count: int, **params) -> Fields:
    return Fields(
        {"requests": [{"custom_id": f"row-{n}", "params": {"n": n, **params}} for n in range(count)]}
    )


async def take_in(bench, batches: Batches, count: int) -> Batch:
    return await bench.create(
        batches, lines_of(sent(count)), endpoint=ENDPOINT, dialect="anthropic", total=count
    )


async def results(bench, batch: Batch) -> list[dict]:
    parts = await _opened(bench.files, batch)
    content = b"".join([piece async for piece in result_lines(parts)])
    return [json.loads(line) for line in content.splitlines()]


def test_a_day_after_it_was_made_what_has_not_run_expires(bench) -> None:
    async def go() -> None:
        async def slow(caller, endpoint, body, request_id, keep):
            assert endpoint == ENDPOINT
            bench.now += 5 * 3_600_000
            return await bench.echo(caller, endpoint, body, request_id, keep)

        batches = bench.batches(slow, rows_at_once=1)
        batch = await take_in(bench, batches, 20)
        shown = wire(batch, PLACE)
        assert shown["request_counts"]["processing"] == 20  # known before the lines are read again
        made, over = (datetime.fromisoformat(shown[name]) for name in ("created_at", "expires_at"))
        assert over - made == timedelta(hours=24)
        await batches.run_pending()
        batch = await batches.get(bench.anne, batch.id, OURS)
        shown = wire(batch, PLACE)
        assert (shown["processing_status"], shown["archived_at"]) == ("ended", None)
        assert shown["request_counts"] == {
            "processing": 0,
            "succeeded": 5,
            "errored": 0,
            "canceled": 0,
            "expired": 15,
        }
        assert shown["results_url"] == f"{PLACE}/{batch.id}/results"
        rows = await results(bench, batch)
        assert rows[4]["result"] == {"type": "succeeded", "message": {"echo": {"n": 4}}}
        assert rows[5:] == [{"custom_id": f"row-{n}", "result": {"type": "expired"}} for n in range(5, 20)]

    asyncio.run(go())


def test_an_answer_that_was_billed_and_lost_is_an_error_in_anthropics_shape(bench) -> None:
    async def go() -> None:
        async def lost(*_):
            raise DuplicateRequest("was answered already")

        batches = bench.batches(lost)
        batch = await take_in(bench, batches, 1)
        await batches.run_pending()
        (row,) = await results(bench, await batches.get(bench.anne, batch.id, OURS))
        assert (row["result"]["type"], row["result"]["error"]["type"]) == ("errored", "error")
        assert row["result"]["error"]["error"]["type"] == "api_error"
        assert "before the answer was kept" in row["result"]["error"]["error"]["message"]

    asyncio.run(go())


def test_a_request_is_carried_as_it_came() -> None:
    content = lines_of(sent(1, text="你好\n", big=10**30, small=0.1))
    line = msgspec.json.decode(content)
    assert line["body"] == {"n": 0, "text": "你好\n", "big": 10**30, "small": 0.1}
    assert content.count(b"\n") == 1


def test_a_request_that_is_no_batch_row_but_an_upload_is_refused() -> None:
    with pytest.raises(InvalidRequest, match=r"requests\[1\].params must be an object of at most"):
        lines_of(
            Fields(
                {
                    "requests": [
                        {"custom_id": "a", "params": {}},
                        {"custom_id": "b", "params": {"x": "x" * MAX_LINE}},
                    ]
                }
            )
        )
