"""A bench for batches: files in memory of a test, a runner that counts what it ran, a clock that stands."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from openglm.maas.batches import Batch, Batches
from openglm.maas.blobs import open_blobs
from openglm.maas.database import Database
from openglm.maas.files import Files
from openglm.maas.identity.caller import Caller

ENDPOINT = "/v1/chat/completions"


class Bench:
    """`ran` counts the answers given for each request id."""

    def __init__(self, database: Database, folder: Path):
        self.database = database
        self.now = 1_800_000_000_000
        self.files = Files(database, open_blobs(folder), clock=self.clock)
        self.anne = Caller(org_id="org_a", project_id="proj_a", key_id="key_a", user_id=None)
        self.bob = Caller(org_id="org_b", project_id="proj_b", key_id="key_b", user_id=None)
        self.ran: Counter[str] = Counter()
        self.waited: list[float] = []

    def clock(self) -> int:
        self.now += 1
        return self.now

    def batches(self, run_row=None, node: str = "node_1", **options) -> Batches:
        return Batches(
            self.database,
            self.files,
            run_row or self.echo,
            node_id=node,
            clock=self.clock,
            sleep=self.sleep,
            **options,
        )

    async def alive(self, *nodes: str) -> None:
        insert = "INSERT INTO money_node (id, lease_until) VALUES (:id, 0)"
        await self.database.write(lambda tx: tx.many(insert, [{"id": node} for node in nodes]))

    async def sleep(self, seconds: float) -> None:
        self.waited.append(seconds)

    async def echo(
        self, caller: Caller, endpoint: str, body: bytes, request_id: str, keep
    ) -> tuple[int, bytes]:
        self.ran[request_id] += 1
        return 200, b'{"echo":' + body + b"}"

    def lines(self, count: int, **changes) -> bytes:
        return b"".join(self.line(f"row-{n:05}", {"n": n, "text": "你好"}, **changes) for n in range(count))

    def line(self, custom_id: str, body: object, **changes) -> bytes:
        line = {"custom_id": custom_id, "method": "POST", "url": ENDPOINT, "body": body, **changes}
        return json.dumps(line, ensure_ascii=False).encode() + b"\n"

    async def upload(self, content: bytes, owner: Caller | None = None) -> str:
        async def chunks() -> AsyncIterator[bytes]:
            for at in range(0, len(content), 1000):
                yield content[at : at + 1000]

        return (await self.files.upload(owner or self.anne, "in.jsonl", "batch", chunks())).id

    async def create(self, batches: Batches, content: bytes, owner: Caller | None = None, **options) -> Batch:
        owner = owner or self.anne
        options = {"endpoint": ENDPOINT, **options}
        return await batches.create(owner, input_file_id=await self.upload(content, owner), **options)

    async def result(self, file_id: str | None) -> list[dict]:
        if file_id is None:
            return []
        _, stream = await self.files.content(self.anne, file_id)
        content = b"".join([chunk async for chunk in stream])
        return [json.loads(line) for line in content.splitlines()]


@pytest.fixture
def bench(database: Database, tmp_path: Path) -> Bench:
    return Bench(database, tmp_path / "blobs")
