"""Tenants take turns at the readers: who has a thousand slow documents waits for their own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from openglm.maas.blobs import open_blobs
from openglm.maas.database import Database
from openglm.maas.identity.caller import Caller
from openglm.maas.knowledge import Knowledge
from openglm.maas.knowledge.ingest import AT_ONCE
from openglm.maas.knowledge.knowledge import Base, Manners
from openglm.maas.leases import Leases
from openglm.maas.outbound import Fetched

ANNE = Caller(org_id="org_a", project_id="proj_a", key_id="key_a", user_id=None)
BOB = Caller(org_id="org_b", project_id="proj_b", key_id="key_b", user_id=None)


async def text() -> AsyncIterator[bytes]:
    yield b"The pump makes 42 litres a minute."


class Slow:
    """A site that answers nobody until it is told to."""

    def __init__(self) -> None:
        self.asked = 0
        self.answers = asyncio.Event()

    async def fetch(self, url: str, *, max_bytes: int, timeout_s: float) -> Fetched:
        self.asked += 1
        await self.answers.wait()
        return Fetched(url, 200, {"content-type": "text/plain"}, b"slow")


async def until(condition) -> None:
    async with asyncio.timeout(60):
        while not await condition():
            await asyncio.sleep(0.01)


def test_one_place_is_always_left_for_another_tenant(database: Database, tmp_path: Path):
    async def go() -> None:
        site = Slow()
        knowledge = Knowledge(
            database,
            open_blobs(tmp_path / "blobs"),
            embed=None,  # type: ignore[arg-type]  # no embedding model is offered
            fetch=site.fetch,
            offers=lambda caller, model: False,
            node_id="node_1",
        )
        bases = {caller: await knowledge.create(caller, Base("b", 3)) for caller in (ANNE, BOB)}
        slow = [
            await knowledge.add_url(ANNE, bases[ANNE], f"https://a.example/{number}", Manners())
            for number in range(3 * AT_ONCE)
        ]
        await knowledge.start()
        try:

            async def full() -> bool:
                return site.asked == AT_ONCE - 1

            await until(full)
            quick = await knowledge.add(BOB, bases[BOB], "b.txt", text(), Manners())

            async def is_read() -> bool:
                return (await knowledge.document(BOB, quick))["state"] == 1

            await until(is_read)
            assert site.asked == AT_ONCE - 1
            site.answers.set()

            async def all_read() -> bool:
                return all([(await knowledge.document(ANNE, one))["state"] == 1 for one in slow])

            await until(all_read)
        finally:
            await knowledge.stop()

    asyncio.run(go())


def test_leases_of_one_tenant_stop_at_its_share_of_a_node(database: Database):
    async def go() -> None:
        insert = (
            "INSERT INTO knowledge_document (id, knowledge_id, org_id, caller, name, separators, bytes,"
            " created_at) VALUES (:id, 'kb', :org, '', 'n', '', 0, 0)"
        )
        rows = [{"id": f"doc_{at:02}", "org": "org_b" if at > 5 else "org_a"} for at in range(8)]
        await database.write(lambda tx: tx.many(insert, rows))
        nodes = [{"id": "one"}, {"id": "two"}]
        alive = "INSERT INTO money_node (id, lease_until) VALUES (:id, 0)"
        await database.write(lambda tx: tx.many(alive, nodes))
        now = 1_000_000

        def leases(node: str) -> Leases:
            return Leases(
                database, "knowledge_document", "state = 0", columns="id", node_id=node, clock=lambda: now
            )

        async def claimed(node: str, most: int) -> list[str]:
            return sorted(row["id"] for row in await leases(node).claim(most, each=2))

        assert await claimed("one", 3) == ["doc_00", "doc_01", "doc_06"]
        assert await claimed("one", 3) == ["doc_07"]
        assert await claimed("two", 9) == ["doc_02", "doc_03"]
        await leases("one").give_up()
        assert await claimed("one", 9) == ["doc_00", "doc_01", "doc_06", "doc_07"]

    asyncio.run(go())


def test_two_tenants_with_a_thousand_documents_each_do_not_keep_a_third_from_its_turn(database: Database):
    """Both hold a place at all times, and all that they have is older."""

    async def go() -> None:
        insert = (
            "INSERT INTO knowledge_document (id, knowledge_id, org_id, caller, name, separators, bytes,"
            " created_at) VALUES (:id, 'kb', :org, '', 'n', '', 0, 0)"
        )
        rows = [{"id": f"doc_{at:04}", "org": f"org_{'ab'[at % 2]}"} for at in range(2000)]
        rows += [{"id": f"doc_9{at:03}", "org": "org_c"} for at in range(2)]
        await database.write(lambda tx: tx.many(insert, rows))
        leases = Leases(
            database, "knowledge_document", "state = 0", columns="id", node_id="n", clock=lambda: 1
        )

        async def next_of(ended: str | None) -> str:
            await database.write(
                lambda tx: tx.run("UPDATE knowledge_document SET state = 1 WHERE id = :id", id=ended or "")
            )
            (row,) = await leases.claim(1, each=1)
            return row["id"]

        first, second = await next_of(None), await next_of(None)
        assert (first, second) == ("doc_0000", "doc_0001")
        third = await next_of(first)
        assert third == "doc_9000"
        assert await next_of(third) == "doc_0002"
        assert await next_of(second) == "doc_0003"
        assert await next_of("doc_0002") == "doc_9001"

    asyncio.run(go())
