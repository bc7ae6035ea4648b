"""R11: many old rows go, and nobody notices. What live requests feel is measured by benches/retention.py."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from openglm.maas.database import Database, Transaction
from openglm.maas.money.usage_table import COLUMNS
from openglm.maas.operate.retention import DAY_MS
from tests.maas.reliability.counts import SOAK, count

RETIRE = Path(__file__).with_name("retire.py")
NOW = 1_800_000_000_000
TEXTS = "request_id org_id project_id key_id model kind dialect endpoint status tariff arithmetic"


def columns_of() -> dict[str, object]:
    """A row of usage, long ago."""
    return {
        **dict.fromkeys((*COLUMNS, "balance_nano"), 0),
        **dict.fromkeys(TEXTS.split(), "x"),
        "user_id": None,
    } | {"created_at": NOW - 400 * DAY_MS}


@pytest.mark.slow
@pytest.mark.timeout(3 * 3600 if SOAK else 300)
def test_old_rows_go_in_small_pieces_and_writers_get_their_turn(database: Database, database_url: str):
    rows, at_once = count(20_000, 10_000_000), 10_000
    template = columns_of()
    names = ", ".join(template)
    values = ", ".join(f":{name}" for name in template)
    for start in range(0, rows, at_once):
        batch = [{**template, "request_id": f"req_{number:012}"} for number in range(start, start + at_once)]

        def fill(tx: Transaction, batch=batch) -> None:
            tx.many(f"INSERT INTO usage_event ({names}) VALUES ({values})", batch)

        asyncio.run(database.write(fill))
    written = 0
    command = [sys.executable, str(RETIRE), database_url, str(NOW)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            database.write_now(
                lambda tx: tx.run("UPDATE usage_event SET status = 'y' WHERE request_id = 'none'")
            )
            written += 1
        assert process.stdout is not None
        said = json.loads(process.stdout.read())
    assert said["deleted"] == rows
    assert database.read_now("SELECT count(*) AS left_over FROM usage_event")[0]["left_over"] == 0
    assert written >= rows / 2_000  # between the pieces, not after them
    assert said["after"] - said["before"] < 8_000  # KiB, whatever there was to delete
