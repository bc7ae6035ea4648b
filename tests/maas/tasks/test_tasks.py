"""Tasks: taken in once, run once, seen by their owner, kept for some days."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace

import pytest

from openglm.errors import (
    Conflict,
    DuplicateRequest,
    Forbidden,
    InvalidRequest,
    NotFound,
    OpenGLMError,
    Overloaded,
    PaymentRequired,
    RateLimited,
)
from openglm.maas import leases
from openglm.maas.database import Database
from openglm.maas.identity.caller import Caller
from openglm.maas.quotas.quota import QuotaReached
from openglm.maas.quotas.quotas import Limit, Quotas
from openglm.maas.tasks import Tasks
from openglm.maas.tasks.routes import routes

ANNE = Caller(org_id="org_a", project_id="proj_a", key_id="key_a", user_id=None)
BOB = Caller(org_id="org_b", project_id="proj_b", key_id="key_b", user_id=None)
ASKED = {"model": "glm-5", "messages": [{"role": "user", "content": "你好"}]}


class Killed(BaseException):
    """The process ends here."""


class Bench:
    def __init__(self, database: Database):
        self.database = database
        self.now = 1_800_000_000_000
        self.ran: list[tuple[str, dict]] = []
        self.waited: list[float] = []

    def tasks(self, run=None, node: str = "node_1") -> Tasks:
        return Tasks(
            self.database, run or self.answer, node_id=node, clock=lambda: self.now, sleep=self.sleep
        )

    async def alive(self, node: str) -> None:
        insert = "INSERT INTO money_node (id, lease_until) VALUES (:id, 0)"
        await self.database.write(lambda tx: tx.run(insert, id=node))

    async def dead(self, node: str) -> None:
        await self.database.write(lambda tx: tx.run("DELETE FROM money_node WHERE id = :id", id=node))

    async def answer(
        self, caller: Caller, endpoint: str, body: bytes, request_id: str, keep
    ) -> tuple[int, bytes]:
        self.ran.append((request_id, json.loads(body)))
        return 200, b'{"id": "chat_1", "choices": [{"index": 0}], "usage": {"total_tokens": 3}}'

    async def sleep(self, seconds: float) -> None:
        self.waited.append(seconds)


@pytest.fixture
def bench(database: Database) -> Bench:
    return Bench(database)


def asked(**changes) -> bytes:
    return json.dumps({**ASKED, **changes}).encode()


def test_a_task_is_processed_and_then_holds_the_answer(bench: Bench) -> None:
    async def go() -> None:
        tasks = bench.tasks()
        task = await tasks.submit(ANNE, asked(request_id="my-id", stream=True))
        assert task.wire() == {
            "id": task.id,
            "request_id": "my-id",
            "model": "glm-5",
            "task_status": "PROCESSING",
        }
        assert (await tasks.get(ANNE, task.id)) == task
        await tasks.run_pending()
        wire = (await tasks.get(ANNE, task.id)).wire()
        assert (wire["task_status"], wire["id"], wire["usage"]) == ("SUCCESS", task.id, {"total_tokens": 3})
        assert bench.ran == [(task.id, ASKED)]

    asyncio.run(go())


def test_an_answered_task_keeps_its_answer_and_not_its_request(bench: Bench) -> None:
    async def go() -> None:
        tasks = bench.tasks()
        await tasks.submit(ANNE, asked())
        await tasks.submit(ANNE, asked())
        await tasks.run_pending()
        bench.now += 1
        await tasks.submit(ANNE, asked())

    asyncio.run(go())
    rows = bench.database.read_now("SELECT state, length(body) AS bytes FROM async_task ORDER BY created_at")
    assert [row["state"] for row in rows] == ["SUCCESS", "SUCCESS", "PROCESSING"]
    assert [bool(row["bytes"]) for row in rows] == [False, False, True]


def test_a_refused_task_fails_with_the_reason(bench: Bench) -> None:
    async def go() -> None:
        async def poor(*request):
            raise PaymentRequired("the wallet is empty")

        tasks = bench.tasks(poor)
        task = await tasks.submit(ANNE, asked())
        await tasks.run_pending()
        wire = (await tasks.get(ANNE, task.id)).wire()
        assert (wire["task_status"], wire["error"]["message"]) == ("FAIL", "the wallet is empty")

        async def refusing(*request):
            return 400, b'{"error": {"code": "1214", "message": "no"}}'

        tasks = bench.tasks(refusing)
        task = await tasks.submit(ANNE, asked())
        await tasks.run_pending()
        assert (await tasks.get(ANNE, task.id)).wire()["error"] == {"code": "1214", "message": "no"}

    asyncio.run(go())


def test_a_full_server_is_asked_again(bench: Bench) -> None:
    async def go() -> None:
        async def busy(*request):
            if not bench.waited:
                raise Overloaded("full")
            return await bench.answer(*request)

        tasks = bench.tasks(busy)
        task = await tasks.submit(ANNE, asked())
        await tasks.run_pending()
        assert (await tasks.get(ANNE, task.id)).state == "SUCCESS"

    asyncio.run(go())


def test_a_server_that_stays_full_is_told_in_zhipus_words(bench: Bench) -> None:
    async def go() -> None:
        async def busy(*request):
            raise Overloaded("full")

        tasks = bench.tasks(busy)
        task = await tasks.submit(ANNE, asked())
        await tasks.run_pending()
        assert (await tasks.get(ANNE, task.id)).wire()["error"] == {"code": "1305", "message": "full"}

    asyncio.run(go())


def test_a_task_over_its_callers_limits_waits_and_gives_its_place_to_others(bench: Bench) -> None:
    async def go() -> None:
        async def limited(*request):
            if not bench.ran:
                bench.ran.append(("refused", {}))
                raise RateLimited("1 answer in flight", kind="concurrency")
            return await bench.answer(*request)

        tasks = bench.tasks(limited)
        first = await tasks.submit(ANNE, asked())
        bench.now += 1
        second = await tasks.submit(BOB, asked())
        await tasks.run_pending()
        assert (await tasks.get(ANNE, first.id)).state == "PROCESSING"
        assert (await tasks.get(BOB, second.id)).state == "SUCCESS"
        bench.now += 2_000
        await tasks.run_pending()
        assert (await tasks.get(ANNE, first.id)).state == "SUCCESS"
        assert not bench.waited

    asyncio.run(go())


def test_tenants_take_turns(bench: Bench) -> None:
    async def go() -> None:
        tasks = bench.tasks()

        async def taken_in(caller: Caller) -> str:
            bench.now += 1  # ids sort by age
            return (await tasks.submit(caller, asked())).id

        annes = [await taken_in(ANNE) for _ in range(3)]
        bobs = [await taken_in(BOB) for _ in range(2)]
        assert [row["id"] for row in await tasks._leases.claim(2)] == [annes[0], bobs[0]]
        assert [row["id"] for row in await tasks._leases.claim(2)] == [annes[1], bobs[1]]
        assert [row["id"] for row in await tasks._leases.claim(2)] == [annes[2]]

    asyncio.run(go())


def test_another_tenants_task_runs_while_one_tenants_take_all_they_may(bench: Bench) -> None:
    async def go() -> None:
        full, reached = asyncio.Event(), asyncio.Event()

        async def run(caller: Caller, *request) -> tuple[int, bytes]:
            if caller == BOB:
                reached.set()
                return 200, b"{}"
            full.set()
            return await asyncio.Event().wait()  # a model that takes its time

        tasks = bench.tasks(run)
        for _ in range(40):
            await tasks.submit(ANNE, asked())
        await tasks.start()
        await full.wait()
        await tasks.submit(BOB, asked())
        await asyncio.wait_for(reached.wait(), 20)
        await tasks.stop(grace_s=0.1)

    asyncio.run(go())


@pytest.mark.parametrize(("name", "most"), [("waiting_tasks", 2), ("waiting_task_bytes", 2 * len(asked()))])
def test_an_organisation_has_only_so_many_tasks_and_bytes_waiting(bench: Bench, name, most) -> None:
    async def go() -> None:
        tasks = bench.tasks()
        await Quotas(bench.database).set(Limit("*", name, most))
        for _ in range(2):
            await tasks.submit(ANNE, asked())
        with pytest.raises(QuotaReached, match="that wait for answers"):
            await tasks.submit(ANNE, asked())
        await tasks.submit(BOB, asked())
        await tasks.run_pending()
        await tasks.submit(ANNE, asked())

    asyncio.run(go())


def test_only_the_owner_sees_a_task(bench: Bench) -> None:
    async def go() -> None:
        tasks = bench.tasks()
        task = await tasks.submit(ANNE, asked())
        for wrong in (task.id, "task_\0", "../x", ""):
            with pytest.raises(NotFound):
                await tasks.get(BOB, wrong)

    asyncio.run(go())


def test_a_request_id_is_taken_once_in_each_organisation(bench: Bench) -> None:
    async def go() -> None:
        tasks = bench.tasks()
        await tasks.submit(ANNE, asked(request_id="same"))
        with pytest.raises(DuplicateRequest):
            await tasks.submit(ANNE, asked(request_id="same"))
        await tasks.submit(BOB, asked(request_id="same"))

    asyncio.run(go())


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b'{"model": "m"}', asked(messages=[]), asked(request_id="a\nb"), asked(request_id=3)],
)
def test_a_request_that_makes_no_sense_is_refused(bench: Bench, body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        asyncio.run(bench.tasks().submit(ANNE, body))


def test_a_key_for_other_models_may_not_submit(bench: Bench) -> None:
    narrow = Caller(org_id="o", project_id="p", key_id="k", user_id=None, models=("glm-4*",))
    with pytest.raises(Forbidden):
        asyncio.run(bench.tasks().submit(narrow, asked()))


def test_a_task_that_a_dead_server_left_behind_runs_under_the_same_id(bench: Bench) -> None:
    async def go() -> None:
        tried: list[str] = []

        async def dying(caller, endpoint, body, request_id, keep):
            tried.append(request_id)
            raise Killed

        task = await bench.tasks().submit(ANNE, asked())
        await bench.alive("node_1")
        with pytest.raises(Killed):
            await bench.tasks(dying).run_pending()
        other = bench.tasks(node="node_2")
        bench.now += 86_400_000  # a clock that is wrong takes nothing from whoever lives
        await other.run_pending()
        assert not bench.ran
        bench.now -= 2 * 86_400_000  # and keeps nothing from whoever comes after the dead
        await bench.dead("node_1")
        await other.run_pending()
        assert [request_id for request_id, _ in bench.ran] == tried == [task.id]

    asyncio.run(go())


def test_a_task_that_somebody_still_runs_is_put_off_and_not_refused(bench: Bench) -> None:
    async def go() -> None:
        async def busy(*request):
            raise DuplicateRequest("it runs", running=True)

        async def paid(*request):
            raise DuplicateRequest("it was answered")

        task = await bench.tasks().submit(ANNE, asked())
        await bench.tasks(busy).run_pending()
        assert (await bench.tasks().get(ANNE, task.id)).state == "PROCESSING"
        bench.now += 2_000
        await bench.tasks(paid).run_pending()
        assert (await bench.tasks().get(ANNE, task.id)).state == "FAIL"

    asyncio.run(go())


def test_an_answer_that_finds_no_place_is_not_paid_for_and_a_refusal_takes_none_from_another(
    bench: Bench,
) -> None:
    async def go() -> None:
        async def slow(caller, endpoint, body, request_id, keep):
            await bench.dead("node_1")  # or so it seems to the others
            await bench.tasks(quick, node="node_2").run_pending()
            with pytest.raises(Conflict):
                await bench.database.write(lambda tx: keep(tx, 200, b'{"late": 1}'))
            await bench.database.write(lambda tx: keep(tx, 200, b'{"quick": 1}'))  # as after a lost commit
            raise InvalidRequest("too late")

        async def quick(caller, endpoint, body, request_id, keep):
            await bench.database.write(lambda tx: keep(tx, 200, b'{"quick": 1}'))
            return 200, b'{"quick": 1}'

        task = await bench.tasks().submit(ANNE, asked())
        await bench.alive("node_1")
        await bench.tasks(slow).run_pending()
        done = await bench.tasks().get(ANNE, task.id)
        assert (done.state, done.answer) == ("SUCCESS", b'{"quick": 1}')

    asyncio.run(go())


def test_the_service_runs_what_comes_and_its_restart_what_is_left(bench: Bench) -> None:
    async def go() -> None:
        begun = asyncio.Event()

        async def stuck(*request):
            begun.set()
            await asyncio.Event().wait()

        first = bench.tasks(stuck)
        await first.start()
        task = await first.submit(ANNE, asked())
        await asyncio.wait_for(begun.wait(), 20)
        await first.stop(grace_s=0.01)
        second = bench.tasks()
        await second.start()
        while (await second.get(ANNE, task.id)).state == "PROCESSING":
            await asyncio.sleep(0.01)
        await second.stop()
        assert len(bench.ran) == 1

    asyncio.run(go())


def test_a_node_whose_leases_ran_out_does_not_take_its_own_task_up_again(bench: Bench) -> None:
    async def go() -> None:
        free = asyncio.Event()

        async def slow(*request):
            await free.wait()
            return await bench.answer(*request)

        tasks = bench.tasks(slow)
        await bench.alive("node_1")
        task = await tasks.submit(ANNE, asked())
        await tasks._claim()
        (working,) = tasks._working.values()
        bench.now += 60_000
        await tasks._claim()
        assert list(tasks._working.values()) == [working]
        free.set()
        await working
        assert (await tasks.get(ANNE, task.id)).state == "SUCCESS"

    asyncio.run(go())


def test_of_the_organisations_that_were_served_only_the_latest_are_remembered(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "REMEMBERED", 2)

    async def go() -> None:
        tasks = bench.tasks()
        for org_id in ("org_a", "org_b", "org_a", "org_c"):
            await tasks.submit(Caller(org_id=org_id, project_id="p", key_id="k", user_id=None), asked())
            await tasks.run_pending()
        assert list(tasks._leases._served) == ["org_a", "org_c"]

    asyncio.run(go())


def test_results_are_kept_for_some_days(bench: Bench) -> None:
    async def go() -> None:
        tasks = bench.tasks()
        old = await tasks.submit(ANNE, asked())
        await tasks.run_pending()
        running = await tasks.submit(ANNE, asked())
        bench.now += 8 * 86_400_000
        assert await tasks.forget_old() == 1
        with pytest.raises(NotFound):
            await tasks.get(ANNE, old.id)
        assert (await tasks.get(ANNE, running.id)).state == "PROCESSING"

    asyncio.run(go())


def test_the_routes_submit_and_fetch(bench: Bench) -> None:
    from starlette.applications import Starlette
    from starlette.responses import JSONResponse
    from starlette.testclient import TestClient

    async def caller(request, *, endpoint=None):
        return ANNE

    def wrap(dialect, handler):
        async def answer(request):
            try:
                return await handler(request)
            except OpenGLMError as error:
                return JSONResponse({"kind": type(error).__name__}, 400)

        return answer

    tasks = bench.tasks()
    client = TestClient(Starlette(routes=routes(SimpleNamespace(caller=caller, tasks=tasks), wrap)))
    made = client.post("/api/paas/v4/async/chat/completions", json=ASKED).json()
    asyncio.run(tasks.run_pending())
    assert client.get(f"/api/paas/v4/async-result/{made['id']}").json()["task_status"] == "SUCCESS"
    assert client.get("/api/paas/v4/async-result/none").json() == {"kind": "NotFound"}
