"""What live requests feel while old rows are deleted: hold and settle, with and without a retention run.

Requests come at a fixed pace, each a hold and a settle on the data folder's database, as the gateway makes
them. First nothing else runs, then `glm admin retention` deletes the old usage rows beside them. The goal is
a 99th percentile that is less than doubled, and memory that stays flat (10 million rows: --rows 10000000).

    .venv/bin/python benches/retention.py [--rows 500000] [--pace 100] [--json] [--database-url URL]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from openglm.maas.database import Database, Transaction, open_database
from openglm.maas.ids import new_id, wall_clock
from openglm.maas.money import Ask, Billing, Invoices, Plans, Prices, Wallet
from openglm.maas.operate.retention import DAY_MS, delete_older
from openglm.messages import Usage

ALONE_S = 20.0
PIECE = 5_000  # rows of one write while the table is filled
ROW = (
    "INSERT INTO usage_event (request_id, org_id, project_id, key_id, model, kind, is_plan, is_batch, units,"
    " input_uncached, cache_read, cache_write, output_text, output_reasoning, cost_nano, debt_nano, credits,"
    " tariff, arithmetic, status, estimated, created_at) VALUES (:id, 'org', 'p', 'k', 'glm', 'chat', 0, 0,"
    " 1, 100, 0, 0, 50, 0, 150, 0, 0, 'glm#1', '', 'ok', 0, :at)"
)


@dataclass(frozen=True, slots=True)
class Felt:
    """Milliseconds from before the hold to after the settle."""

    requests: int
    p50: float
    p99: float
    longest: float


async def pace(billing: Billing, per_second: float, until: asyncio.Event) -> Felt:
    """Requests at their times, however long each one takes."""
    took: list[float] = []

    async def one() -> None:
        began = time.perf_counter()
        ask = Ask(new_id("req"), "org", "p", "k", None, "glm", "chat", prompt_tokens=100, output_tokens=50)
        hold = await billing.hold(ask)
        await billing.settle(hold, Usage(input_uncached=100, output_text=50), status="ok")
        took.append((time.perf_counter() - began) * 1000)

    begun = time.perf_counter()
    running: list[asyncio.Task[None]] = []
    while not until.is_set():
        running.append(asyncio.create_task(one()))
        await asyncio.sleep(max(0.0, begun + len(running) / per_second - time.perf_counter()))
    await asyncio.gather(*running)
    took.sort()
    share = [round(took[int(len(took) * at)], 2) for at in (0.5, 0.99)]
    return Felt(len(took), *share, round(took[-1], 2))


async def fill(database: Database, rows: int) -> None:
    """Rows of the years before last, in the order of their ids as requests make them."""
    now = wall_clock()
    for start in range(0, rows, PIECE):
        times = [now - 800 * DAY_MS + number * 365 * DAY_MS // rows for number in range(start, start + PIECE)]
        piece = [{"id": new_id("req", at), "at": at} for at in times]

        def insert(tx: Transaction, piece: list[dict[str, object]] = piece) -> None:
            tx.many(ROW, piece)

        await database.write(insert)


async def measure(folder: Path, url: str, rows: int, per_second: float) -> dict[str, object]:
    database = open_database(url)
    prices, plans = Prices(database), Plans(database, folder / "plans.toml")
    await plans.load()
    billing, invoices = Billing(database, prices, plans), Invoices(database)
    await prices.set_per_million("glm", uncached="1", output="1")
    await Wallet(database).top_up("org", 10**15, idempotency_key="start")
    await fill(database, rows)
    await billing.start()
    until = asyncio.Event()
    asyncio.get_running_loop().call_later(ALONE_S, until.set)
    alone = await pace(billing, per_second, until)
    before, began, until = psutil.Process().memory_info().rss, time.perf_counter(), asyncio.Event()
    beside = asyncio.create_task(pace(billing, per_second, until))
    deleted = await delete_older(database, invoices, 100)
    until.set()
    felt, seconds = await beside, time.perf_counter() - began
    grown = psutil.Process().memory_info().rss - before
    await billing.stop()
    database.close()
    return {
        "alone": asdict(alone),
        "beside": asdict(felt),
        "p99 ratio": round(felt.p99 / alone.p99, 2),
        "deleted": deleted["usage_event"],
        "rows a second": round(deleted["usage_event"] / seconds),
        "memory grown MB": round(grown / 1e6, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--pace", type=float, default=100.0, help="requests a second")
    parser.add_argument("--database-url", help="an empty PostgreSQL; default: SQLite in a temporary folder")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="openglm-bench-") as folder:
        url = given.database_url or f"sqlite:///{folder}/openglm.db"
        found = asyncio.run(measure(Path(folder), url, given.rows, given.pace))
    if given.json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        print(f"{name:16} {value}")


if __name__ == "__main__":
    main()
