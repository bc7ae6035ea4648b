"""A bench for fine-tuning: real files, money and database, and a trainer that keeps the contract of ours."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from openglm.errors import Unauthorized
from openglm.maas.blobs import open_blobs
from openglm.maas.database import Database
from openglm.maas.files import Files
from openglm.maas.finetuning import FineTuning, Job
from openglm.maas.finetuning.wanted import Wanted
from openglm.maas.identity import SYSTEM, Caller
from openglm.maas.models import Model, Models
from openglm.maas.money import Billing, Plans, Prices, Wallet
from openglm.maas.servers import Servers
from openglm.maas.upstreams import Client, Router
from tests.maas.finetuning.programs import TRAINER

YUAN = 10**9
EACH = 100  # tokens of a step


class Bench:
    """One organisation with money, one local model at 10 yuan for a million trained tokens."""

    def __init__(self, database: Database, folder: Path):
        self.database = database
        self.data = folder
        self.now = 1_800_000_000_000
        self.anne = Caller(org_id="org_a", project_id="proj_a", key_id="key_a", user_id=None)
        self.bob = Caller(org_id="org_b", project_id="proj_b", key_id="key_b", user_id=None)
        self.files = Files(database, open_blobs(folder / "blobs"), clock=self.clock)
        self.prices = Prices(database, clock=self.clock)
        self.plans = Plans(database, clock=self.clock)
        self.wallet = Wallet(database, clock=self.clock)
        self.models = Models(database, clock=self.clock)
        self.free = 1 << 40
        self.client = Client()
        self.router = Router(self.client, clock=self.clock)
        self.servers = Servers(
            self.models,
            self.router,
            self.client,
            data=folder,
            clock=self.clock,
            available=lambda: self.free,
        )
        self.gate = folder / "gate"
        self.ended_keys: set[str] = set()

    async def still(self, caller: Caller) -> Caller:
        if caller.key_id in self.ended_keys:
            raise Unauthorized("this API key was revoked")
        return caller

    def clock(self) -> int:
        self.now += 1
        return self.now

    async def furnish(self) -> None:
        await self.prices.set("tiny", uncached_pico=1_000_000, training_pico=10_000_000)
        await self.models.put(Model("tiny", source="/no/such/model", load="on_demand"))
        await self.wallet.top_up("org_a", 10 * YUAN, idempotency_key="start")

    def billing(self, node: str) -> Billing:
        return Billing(self.database, self.prices, self.plans, clock=self.clock, node_id=node)

    def tuning(self, *words: str, node: str = "node_1", billing: Billing | None = None, **more) -> FineTuning:
        """`words` are for the trainer."""
        return FineTuning(
            self.database,
            files=self.files,
            billing=billing or self.billing(node),
            prices=self.prices,
            models=self.models,
            servers=self.servers,
            still=self.still,
            data=self.data,
            node_id=node,
            clock=self.clock,
            trainer=(*TRAINER, *words),
            **more,
        )

    def gated(self, *words: str, **more) -> FineTuning:
        """Its trainer goes no further than `open_gate` says."""
        return self.tuning("--gate", str(self.gate), *words, **more)

    def open_gate(self, steps: int = 10**9) -> None:
        draft = self.gate.with_suffix(".partial")
        draft.write_text(str(steps))
        draft.rename(self.gate)

    def examples(self, count: int = 12, **changes: Any) -> bytes:
        return b"".join(self.example(f"question {n}", f"你好 {n}", **changes) for n in range(count))

    def example(self, question: str, answer: str, **changes: Any) -> bytes:
        messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        return json.dumps({"messages": messages, **changes}, ensure_ascii=False).encode() + b"\n"

    async def upload(self, content: bytes, purpose: str = "fine-tune") -> str:
        async def chunks():
            for at in range(0, len(content), 1000):
                yield content[at : at + 1000]

        return (await self.files.upload(self.anne, "train.jsonl", purpose, chunks())).id

    async def create(self, tuning: FineTuning, content: bytes | None = None, **more: Any) -> Job:
        file_id = await self.upload(content or self.examples())
        wanted = Wanted(**{"model": "tiny", "training_file": file_id, "seed": 3, **more})
        return await tuning.create(self.anne, wanted, actor=SYSTEM)

    async def job(self, tuning: FineTuning, job: Job) -> Job:
        return await tuning.get("org_a", job.id)

    async def told(self, tuning: FineTuning, job: Job) -> list[str]:
        found, _ = await tuning.event_page(job, limit=100)
        return [event.message for event in reversed(found) if not event.figures]

    async def spent(self) -> int:
        balance = await self.wallet.balance("org_a")
        assert balance.held_nano == 0, "nothing may stay held"
        return 10 * YUAN - balance.balance_nano

    def rows(self, sql: str, **values: Any) -> list[dict[str, Any]]:
        return [dict(row) for row in self.database.read_now(sql, **values)]

    async def until(self, condition: Callable[[], Any]) -> None:
        """Polls a condition, or what a coroutine says, until it holds, for at most a minute."""
        deadline = time.monotonic() + 60
        while True:
            found = condition()
            if asyncio.iscoroutine(found):
                found = await found
            if found:
                return
            assert time.monotonic() < deadline, "the condition never held"
            await asyncio.sleep(0.01)


def price_of(tokens: int) -> int:
    return tokens * 10_000  # 10 yuan for a million tokens: 10,000 nano each


@pytest.fixture
def bench(database: Database, tmp_path: Path) -> Bench:
    made = Bench(database, tmp_path)
    asyncio.run(made.furnish())
    return made
