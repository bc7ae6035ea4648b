"""Quotas hold to the last one, whoever races for it, on one node and on two; what was paid for finds room."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from openglm.chat.conversations import Conversations as ChatConversations
from openglm.chat.owner import Owner
from openglm.errors import InvalidRequest, NotFound
from openglm.maas.batches import Batches
from openglm.maas.blobs import open_blobs
from openglm.maas.database import Database, open_database
from openglm.maas.files import Files
from openglm.maas.identity import Accounts, Actor, Audit, Caller, Keys, Projects
from openglm.maas.identity.passwords import Passwords
from openglm.maas.images import Images
from openglm.maas.knowledge import Knowledge
from openglm.maas.knowledge.knowledge import Base, Manners
from openglm.maas.outbound import Fetched
from openglm.maas.quotas.quota import DAY_MS, QUOTAS, QuotaReached, Standing
from openglm.maas.quotas.quotas import Limit, Quotas
from openglm.maas.responses import Responses
from openglm.maas.secrets import Secrets

PASSWORD = "correct horse battery"
WEB = b"A page of the web."


async def once(content: bytes) -> AsyncIterator[bytes]:
    yield content


async def page(url: str, *, max_bytes: int, timeout_s: float) -> Fetched:
    return Fetched(url, 200, {"content-type": "text/plain"}, WEB)


class Node:
    """The parts of one node that add things, over a clock that a test turns."""

    def __init__(self, database: Database, folder: Path):
        self.now = 1_800_000_000_000
        clock = self.clock
        blobs, secrets = open_blobs(folder), Secrets(b"m" * 32)
        self.database = database
        self.quotas = Quotas(database, clock=clock)
        self.audit = Audit(database)
        self.accounts = Accounts(database, passwords=Passwords(memory_kib=64), clock=clock)
        self.keys = Keys(database, secrets, clock=clock)
        self.projects = Projects(database, clock=clock)
        self.files = Files(database, blobs, clock)
        self.images = Images(self.files, secrets, clock=clock)
        self.responses = Responses(database, node_id="node", clock=clock)
        self.knowledge = Knowledge(
            database,
            blobs,
            embed=None,  # type: ignore[arg-type]  # no embedding model is offered
            fetch=page,
            offers=lambda caller, model: False,
            node_id="node",
            clock=clock,
        )
        self.batches = Batches(database, self.files, self.echo, node_id="node", clock=clock)

    def clock(self) -> int:
        return self.now

    async def echo(
        self, caller: Caller, endpoint: str, body: bytes, request_id: str, keep: object
    ) -> tuple[int, bytes]:
        return 200, b'{"echo":' + body + b"}"

    async def anne(self) -> Caller:
        """The first account, with an organisation of its own."""
        made = await self.accounts.sign_up("anne@example.org", PASSWORD, "anne", is_founder=True)
        return Caller(made.org_id, made.project_id, "key", made.user.id)

    async def set(self, name: str, most: int | None, holder: str = "*") -> None:
        await self.quotas.set(Limit(holder, name, most))

    async def standing(self, org_id: str, name: str) -> tuple[int, int | None]:
        (found,) = [one for one in await self.quotas.of(org_id) if one.name == name]
        return found.used, found.limit


@pytest.fixture
def node(database: Database, tmp_path: Path) -> Node:
    return Node(database, tmp_path / "blobs")


@pytest.fixture
def other(database_url: str, tmp_path: Path) -> Iterator[Node]:
    """A second node over the same database and files."""
    opened = open_database(database_url)
    yield Node(opened, tmp_path / "blobs")
    opened.close()


Add = Callable[[Node, Caller, int], Awaitable[object]]


async def base_of(node: Node, caller: Caller) -> str:
    rows = await node.database.read("SELECT id FROM knowledge_base WHERE org_id = :org", org=caller.org_id)
    return rows[0]["id"]


async def add_file(node: Node, caller: Caller, number: int) -> object:
    return await node.files.upload(caller, f"{number}.txt", "user_data", once(b"0123456789"))


async def add_document(node: Node, caller: Caller, number: int) -> object:
    base = await base_of(node, caller)
    return await node.knowledge.add(caller, base, f"{number}.txt", once(b"0123456789"), Manners())


async def add_base(node: Node, caller: Caller, number: int) -> object:
    return await node.knowledge.create(caller, Base(f"b{number}", 3))


async def add_key(node: Node, caller: Caller, number: int) -> object:
    return await node.keys.create(caller.org_id, caller.project_id, f"k{number}")


async def add_conversation(node: Node, caller: Caller, number: int) -> object:
    owner = Owner(caller.org_id, f"user_{number}")
    return await ChatConversations(node.database, node.clock).create(owner, {})


async def add_project(node: Node, caller: Caller, number: int) -> object:
    return await node.projects.create(caller.org_id, f"p{number}")


async def add_org(node: Node, caller: Caller, number: int) -> object:
    assert caller.user_id
    return await node.accounts.create_org(f"o{number}", caller.user_id)


async def invite(node: Node, caller: Caller, number: int) -> object:
    return await node.accounts.invite(
        caller.org_id, f"u{number}@example.org", "viewer", by=Actor(caller.user_id)
    )


async def add_member(node: Node, caller: Caller, number: int) -> object:
    invited = await node.accounts.invite(caller.org_id, f"m{number}@example.org", "viewer", by=Actor())
    return await node.accounts.sign_up(
        f"m{number}@example.org", PASSWORD, "m", invitation=invited.token, ip=str(number)
    )


PLACES = 7


@pytest.mark.parametrize(
    ("name", "most", "add"),
    [
        ("files", 7, add_file),
        ("file_bytes", 75, add_file),
        ("documents", 7, add_document),
        ("document_bytes", 75, add_document),
        ("knowledge_bases", 1 + PLACES, add_base),
        ("keys", 7, add_key),
        ("project_keys", 7, add_key),
        ("conversations", 7, add_conversation),
        ("projects", 1 + PLACES, add_project),
        ("organisations", 1 + PLACES, add_org),
        ("invitations", 7, invite),
        ("members", 1 + PLACES, add_member),
    ],
)
def test_of_twenty_who_race_for_the_last_places_no_more_get_one_than_there_are(
    node: Node, other: Node, name: str, most: int, add: Add
) -> None:
    async def go() -> None:
        caller = await node.anne()
        await node.knowledge.create(caller, Base("b", 3))
        await node.set(name, most)
        outcomes = await asyncio.gather(
            *(add((node, other)[number % 2], caller, number) for number in range(20)), return_exceptions=True
        )
        refused = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        assert len(outcomes) - len(refused) == PLACES
        for failure in refused:
            assert isinstance(failure, QuotaReached), failure
            assert failure.name == name
            assert str(most) in failure.message
            assert f"glm admin quota set {name}" in (failure.hint or "")
        if name != "organisations":
            taken = 10 * PLACES if name.endswith("bytes") else most
            assert await node.standing(caller.org_id, name) == (taken, most)

    asyncio.run(go())


def test_what_is_refused_leaves_nothing_behind(node: Node, tmp_path: Path) -> None:
    async def go() -> None:
        caller = await node.anne()
        base = await node.knowledge.create(caller, Base("b", 3))
        await node.set("file_bytes", 5)
        await node.set("document_bytes", 5)
        with pytest.raises(QuotaReached, match="may have 5 bytes in files, got 0 and 10 more"):
            await add_file(node, caller, 1)
        with pytest.raises(QuotaReached):
            await node.knowledge.add(caller, base, "a.txt", once(b"0123456789"), Manners())

    asyncio.run(go())
    assert [path for path in (tmp_path / "blobs").rglob("*") if path.is_file()] == []


def test_counts_follow_what_comes_changes_and_goes(node: Node) -> None:
    async def go() -> None:
        caller = await node.anne()
        org, base = caller.org_id, await node.knowledge.create(caller, Base("b", 3))
        kept = await node.files.upload(caller, "a", "user_data", once(b"12345"))
        gone = await node.files.upload(caller, "b", "user_data", once(b"123"))
        await node.files.write(caller, kept.id, "a", "batch_output", once(b"12"))  # written again
        await node.files.delete(caller, gone.id)
        assert await node.standing(org, "files") == (1, QUOTAS["files"].default)
        assert (await node.standing(org, "file_bytes"))[0] == 2
        local = await node.knowledge.add(caller, base, "a.txt", once(b"1234567"), Manners())
        await node.knowledge.add_url(caller, base, "https://a.example/page", Manners())
        assert (await node.standing(org, "document_bytes"))[0] == 7
        await node.knowledge.ingest.run_pending()
        assert (await node.standing(org, "document_bytes"))[0] == 7 + len(WEB)
        assert (await node.standing(org, "document_characters"))[0] == 7 + len(WEB)
        await node.knowledge.delete_document(caller, local)
        assert (await node.standing(org, "documents"))[0] == 1
        await node.knowledge.delete(caller, base)
        assert (await node.standing(org, "documents"))[0] == 0
        assert (await node.standing(org, "document_characters"))[0] == 0
        body = {"id": "resp_1", "status": "in_progress", "output": []}
        await node.responses.save(org, body, [], None)
        await node.responses.save(org, body, [], None)  # twice is once
        before, _ = await node.standing(org, "response_bytes")
        await node.responses.finish(org, {**body, "status": "completed"})
        assert (await node.standing(org, "response_bytes"))[0] == before + len("completed") - len(
            "in_progress"
        )
        await node.responses.delete(org, "resp_1")
        assert (await node.standing(org, "response_bytes"))[0] == 0

    asyncio.run(go())


def test_what_the_platform_made_finds_room_and_nothing_more_begins(node: Node) -> None:
    async def go() -> None:
        caller = await node.anne()
        rows = b'{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{"model":"glm"}}\n'
        asked = await node.files.upload(caller, "in.jsonl", "batch", once(rows))
        batch = await node.batches.create(caller, input_file_id=asked.id, endpoint="/v1/chat/completions")
        await node.set("files", 1, caller.org_id)
        await node.set("response_bytes", 0, caller.org_id)
        await node.batches.run_pending()
        ended = await node.batches.get(caller, batch.id)
        assert (ended.state, ended.has_output) == ("completed", True)
        await node.images.keep(caller, b"\x89PNG\r\n\x1a\n", "png")
        await node.responses.save(caller.org_id, {"id": "resp_1", "status": "completed"}, [], None)
        assert await node.standing(caller.org_id, "files") == (3, 1)
        for begin in (
            node.images.look_for_room(caller, 1),
            node.responses.look_for_room(caller.org_id),
            node.batches.create(caller, input_file_id=asked.id, endpoint="/v1/chat/completions"),
            add_file(node, caller, 1),
        ):
            with pytest.raises(QuotaReached):
                await begin

    asyncio.run(go())


def test_a_page_that_turns_out_too_large_says_so_in_its_document(node: Node) -> None:
    async def go() -> None:
        caller = await node.anne()
        base = await node.knowledge.create(caller, Base("b", 3))
        await node.set("document_characters", len(WEB) + 5)
        both = [
            await node.knowledge.add_url(caller, base, f"https://a.example/{number}", Manners())
            for number in range(2)
        ]
        await node.knowledge.ingest.run_pending()
        rows = [await node.knowledge.document(caller, document) for document in both]
        read, refused = sorted(rows, key=lambda row: row["state"])
        assert (read["state"], refused["state"]) == (1, 2)
        assert "characters in documents" in refused["fail_message"]
        assert (await node.standing(caller.org_id, "document_characters"))[0] == len(WEB)
        assert (await node.knowledge.capacity(caller))["total"]["word_num"] == len(WEB) + 5

    asyncio.run(go())


def test_who_makes_and_ends_keys_in_a_loop_stops_until_tomorrow(node: Node) -> None:
    async def go() -> None:
        caller = await node.anne()
        await node.set("keys", 3)
        for number in range(3):
            made = await node.keys.create(caller.org_id, caller.project_id, f"k{number}")
            await node.keys.revoke(caller.org_id, made.id)
        with pytest.raises(QuotaReached, match="got 3 and 1 more"):
            await add_key(node, caller, 4)
        node.now += DAY_MS
        await add_key(node, caller, 4)
        assert await node.standing(caller.org_id, "keys") == (1, 3)

    asyncio.run(go())


def test_an_organisation_that_was_left_still_counts_for_its_founder(node: Node) -> None:
    async def go() -> None:
        caller = await node.anne()
        ben = await node.accounts.add("ben@example.org", PASSWORD, "ben")
        assert caller.user_id
        await node.set("organisations", 2)
        made = await node.accounts.create_org("second", caller.user_id)
        invited = await node.accounts.invite(made.id, "ben@example.org", "owner", by=Actor(caller.user_id))
        await node.accounts.accept(ben.user.id, invited.token)
        await node.accounts.remove_member(made.id, caller.user_id, by=Actor(caller.user_id))
        with pytest.raises(QuotaReached, match="you may have 2 organisations"):
            await node.accounts.create_org("third", caller.user_id)
        await node.set("organisations", 3, caller.user_id)
        await node.accounts.create_org("third", caller.user_id)

    asyncio.run(go())


def test_the_most_exact_limit_holds_and_every_change_is_in_the_log(node: Node) -> None:
    async def go() -> None:
        caller = await node.anne()
        org = caller.org_id
        await node.accounts.set_tier(org, "gold")
        seen = [await node.standing(org, "projects")]
        for holder, most in (("*", 4), ("gold", None), ("silver", 1), (org, 0)):
            await node.set("projects", most, holder)
            seen.append(await node.standing(org, "projects"))
        assert seen == [(1, 100), (1, 4), (1, None), (1, None), (1, 0)]
        with pytest.raises(QuotaReached):
            await add_project(node, caller, 1)
        await node.quotas.remove(org, "projects")
        await add_project(node, caller, 1)
        with pytest.raises(NotFound):
            await node.quotas.remove(org, "projects")
        rows = (await node.audit.page_of_platform()).rows
        assert sorted(row.action for row in rows if row.action.startswith("quota")) == [
            "quota.remove",
            *["quota.set"] * 4,
        ]
        assert {row.org_id for row in rows if row.target == org and row.action.startswith("quota")} == {org}

    asyncio.run(go())


def test_limits_for_nobody_and_of_nothing_are_refused(node: Node) -> None:
    async def go() -> None:
        caller = await node.anne()
        with pytest.raises(InvalidRequest, match="no quota 'fils'") as wrong:
            Limit("*", "fils", 1)
        assert wrong.value.hint == "did you mean files?"
        with pytest.raises(InvalidRequest):
            Limit("*", "files", -1)
        for holder, name in (("org_x", "files"), (caller.org_id, "organisations"), ("gold", "organisations")):
            with pytest.raises(NotFound):
                await node.set(name, 1, holder)
        assert await node.quotas.list() == ()
        assert all(isinstance(one, Standing) for one in await node.quotas.of(caller.org_id))

    asyncio.run(go())
