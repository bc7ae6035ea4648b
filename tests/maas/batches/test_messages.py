"""What Anthropic's place says of batches that ran out of time, or lost an answer."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime, timedelta

import msgspec
import pytest

from openglm.errors import DuplicateRequest, InvalidRequest
from openglm.maas.batches import Batch, Batches
from openglm.maas.batches.lines import MAX_LINE
from openglm.maas.batches.messages import ENDPOINT, OURS, _opened, lines_of, result_lines, wire

PLACE = "https://glm.example/api/anthropic/v1/messages/batches"


def sent(count: int, **params) -> bytes:
    return json.dumps(
        {"requests": [{"custom_id": f"row-{n}", "params": {"n": n, **params}} for n in range(count)]}
    ).encode()


async def take_in(bench, batches: Batches, count: int) -> Batch:
    return await batches.create_with(
        bench.anne, lines_of(sent(count)), name="in", endpoint=ENDPOINT, dialect="anthropic"
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


def test_line_ends_between_values_end_no_line_of_the_file() -> None:
    body = json.dumps({"requests": [{"custom_id": "a", "params": {"x": ["y\n", 1]}}]}, indent=2).replace(
        "\n", "\r\n"
    )
    (line,) = lines_of(body.encode()).splitlines()
    assert msgspec.json.decode(line)["body"] == {"x": ["y\n", 1]}


def test_params_may_hold_any_number_of_values() -> None:
    params = b'{"x":[' + b",".join([b"[]"] * 100_000) + b"]}"
    rows = [b'{"custom_id":"a%d","params":%s}' % (number, params) for number in range(10)]
    body = b'{"requests":[' + b",".join(rows) + b"]}"
    content = lines_of(body)
    assert content.count(b"[]") == 1_000_000


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b'{"requests": [{"custom_id": "a", "params": {]}]}',
        b'{"requests": [{"custom_id": null, "params": {}}]}',
        b'{"requests": [{"custom_id": "a", "params": {"stream": 1}}]}',
        b'{"requests": [{"custom_id": "\xff", "params": {}}]}',
        b'{"requests": ' + b"[" * 100_000,
        b'{"requests": [{"custom_id": "a", "params": ' + b'{"a":' * 100_000,
    ],
)
def test_what_is_no_list_of_requests_is_refused_in_words(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        lines_of(body)


def test_more_requests_than_a_batch_may_have_are_not_read_to_their_end(monkeypatch) -> None:
    monkeypatch.setattr("openglm.maas.batches.messages.MAX_ROWS", 2)
    with pytest.raises(InvalidRequest, match="requests must be a list of 1 to"):
        lines_of(sent(3)[:-2] + b"what follows is not even read")


def test_a_request_that_is_no_batch_row_but_an_upload_is_refused() -> None:
    with pytest.raises(InvalidRequest, match=r"requests\[1\].params must be an object of at most"):
        lines_of(
            json.dumps(
                {
                    "requests": [
                        {"custom_id": "a", "params": {}},
                        {"custom_id": "b", "params": {"x": "x" * MAX_LINE}},
                    ]
                }
            ).encode()
        )
