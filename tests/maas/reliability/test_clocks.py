"""R13: clocks that jump, tokens and keys that end while an answer runs, on one node and on two."""

from __future__ import annotations

import asyncio
import base64
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from openglm.asgi import Running
from openglm.maas.gateway import create_app
from openglm.maas.ids import wall_clock
from openglm.maas.limits import Rule
from openglm.maas.platform import Platform
from openglm.maas.secrets import KEY_BYTES
from openglm.maas.settings import Settings
from openglm.maas.upstreams import Channel
from tests.maas.fake_upstream import FakeUpstream
from tests.maas.identity.test_keys import signed
from tests.maas.money.conftest import audited
from tests.maas.reliability.conftest import script

HOUR = 3_600_000
PLAN = """
[plans.p]
windows = { 5h = 10 }
[models."glm"]
uncached = 0
output = 1
"""


@dataclass
class Node:
    """A platform whose clock is so many milliseconds wrong."""

    platform: Platform
    url: str = ""
    key: str = ""
    org_id: str = ""
    offset: list[int] = None  # type: ignore[assignment]  # one number, which tests change

    def jump(self, milliseconds: int) -> None:
        self.offset[0] += milliseconds

    def post(self, path: str, key: str | None = None, **words) -> httpx.Response:
        body = {"model": "glm", "messages": [{"role": "user", "content": script(**words)}], "max_tokens": 3}
        return httpx.post(
            f"{self.url}{path}", json=body, headers={"authorization": f"Bearer {key or self.key}"}, timeout=60
        )

    @contextmanager
    def streaming(self, **words) -> Iterator[Iterator[str]]:
        """The lines of an answer that has begun."""
        body = {"model": "glm", "stream": True, "messages": [{"role": "user", "content": script(**words)}]}
        headers = {"authorization": f"Bearer {self.key}"}
        with (
            httpx.Client(timeout=60) as client,
            client.stream("POST", f"{self.url}/v1/chat/completions", json=body, headers=headers) as answer,
        ):
            lines = answer.iter_lines()
            next(lines)
            yield lines

    def rows(self, sql: str) -> list[dict]:
        return [dict(row) for row in self.platform.database.read_now(sql)]

    def settled(self, wait_until) -> None:
        wait_until(lambda: not self.rows("SELECT 1 FROM hold WHERE state = 'open'"))


@contextmanager
def node(url: str, folder: Path, upstream: FakeUpstream, *, like: Node | None = None) -> Iterator[Node]:
    """`like`: another node of the same platform."""
    offset = [0]
    folder.mkdir(exist_ok=True)
    platform = Platform(
        Settings(data=folder, database_url=url), serves=False, clock=lambda: wall_clock() + offset[0]
    )
    made = Node(platform, offset=offset)

    async def furnish() -> None:
        ann = await platform.accounts.add("ann@example.com", "a long and odd passphrase", "Ann")
        await platform.prices.set_per_million("glm", uncached="1", output="4")
        await platform.wallet.top_up(ann.org_id, 10**10, idempotency_key="start")
        await platform.plans.load(PLAN)
        await platform.plans.subscribe(ann.org_id, "p", idempotency_key="s", months=3)
        made.org_id = ann.org_id
        made.key = (await platform.keys.create(ann.org_id, ann.project_id, "tests")).key

    if like is None:
        asyncio.run(furnish())
    else:
        made.org_id, made.key = like.org_id, like.key
    platform.router.add(Channel("fake", upstream.url, {"glm": "wire"}, leaving="cancel"))
    with Running(create_app(platform)) as made.url:
        yield made


@pytest.fixture
def upstream() -> Iterator[FakeUpstream]:
    with FakeUpstream() as fake:
        yield fake


@pytest.fixture
def one(database_url: str, tmp_path: Path, upstream: FakeUpstream) -> Iterator[Node]:
    with node(database_url, tmp_path, upstream) as made:
        yield made


def test_a_key_that_is_revoked_while_an_answer_runs_ends_with_that_answer(one: Node, wait_until):
    """What was begun is finished and paid; the next request is refused."""
    with one.streaming(tokens=60, pace_s=0.005) as lines:
        asyncio.run(one.platform.keys.revoke(one.org_id, one.key.partition(".")[0]))
        assert "data: [DONE]" in list(lines)
    one.settled(wait_until)
    assert one.rows("SELECT * FROM usage_event")[0]["output_text"] == 60
    assert one.post("/v1/chat/completions").status_code == 401


def test_a_clock_that_jumps_while_an_answer_runs_changes_no_bill(one: Node, wait_until):
    jumps = (-24 * HOUR, -5_000, 5_000, 24 * HOUR)
    for jump in jumps:
        with one.streaming(tokens=60, pace_s=0.005) as lines:
            one.jump(jump)
            assert "data: [DONE]" in list(lines)
    one.settled(wait_until)
    rows = one.rows("SELECT * FROM usage_event")
    assert [row["output_text"] for row in rows] == [60] * len(jumps)
    left = asyncio.run(one.platform.wallet.balance(one.org_id)).balance_nano
    assert left == 10**10 - sum(row["cost_nano"] for row in rows)
    audited(one.platform.database)


def test_a_signed_token_is_judged_by_the_clock_of_its_moment_and_a_bad_one_by_its_own_code(one: Node):
    """1003 for one that has run out, 1002 for what is no token, 1000 for a forged one."""
    path = "/api/paas/v4/chat/completions"
    token = signed(one.key, wall_clock(), 60_000)
    assert one.post(path, token).status_code == 200
    one.jump(2 * HOUR)
    refused = one.post(path, token)
    assert (refused.status_code, refused.json()["error"]["code"]) == (401, "1003")
    one.jump(-2 * HOUR)
    assert one.post(path, token).status_code == 200
    for garbled in (token[:-8] + "........", "a.b", "..", token.replace(".", "!", 1), "字"):
        refused = httpx.post(
            f"{one.url}{path}", json={}, headers={"authorization": f"Bearer {garbled}".encode()}, timeout=60
        )
        assert (refused.status_code, refused.json()["error"]["code"]) in ((401, "1002"), (401, "1000")), (
            garbled
        )
    assert one.post(path, "no-token-at-all").json()["error"]["code"] == "1002"
    forged = signed(one.key, wall_clock(), secret="another secret of decent length ok")
    assert one.post(path, forged).json()["error"]["code"] == "1000"


def test_windows_of_plans_follow_the_clock_and_limits_do_not(one: Node, wait_until):
    """Three credits of ten a call: three calls in a window, and none of them again after a jump back."""
    coding = "/api/coding/paas/v4/chat/completions"

    def until_refused() -> int:
        for number in range(5):
            answer = one.post(coding, tokens=3)
            one.settled(wait_until)
            if answer.status_code != 200:
                assert answer.json()["error"]["code"] == "1308"
                return number
        return 5

    assert until_refused() == 3
    one.jump(5 * HOUR + 60_000)
    assert until_refused() == 3  # a new window
    one.jump(-5 * HOUR)
    assert until_refused() == 0  # the old one, or the new one: both are used up
    one.jump(-48 * HOUR)
    assert one.post(coding).json()["error"]["code"] in ("1113", "1309")  # before the subscription
    one.jump(48 * HOUR)

    limits = one.platform.limits
    asyncio.run(limits.rules.put(Rule(rpm=2)))
    asyncio.run(limits.reload())
    assert [one.post("/v1/chat/completions").status_code for _ in range(3)] == [200, 200, 429]
    for jump in (-HOUR, HOUR, 24 * HOUR):
        one.jump(jump)
        refused = one.post("/v1/chat/completions")
        assert refused.status_code == 429
        assert float(refused.headers["retry-after"]) <= 60
    audited(one.platform.database)


@pytest.mark.slow
def test_two_nodes_whose_clocks_jump_apart_take_neither_each_others_answers_nor_a_window_twice(
    postgres_url: str, tmp_path: Path, upstream: FakeUpstream, wait_until, monkeypatch
):
    """Both stream for longer than a lease lasts, while their clocks go apart by a day."""
    monkeypatch.setenv("OPENGLM_SECRET_KEY", base64.b64encode(bytes(KEY_BYTES)).decode())  # nodes share it
    coding = "/api/coding/paas/v4/chat/completions"
    with (
        node(postgres_url, tmp_path / "a", upstream) as here,
        node(postgres_url, tmp_path / "b", upstream, like=here) as far,
    ):
        whole: list[bool] = []

        def stream(at: Node, jump: int) -> None:
            with at.streaming(tokens=80, pace_s=0.1) as lines:
                at.jump(jump)
                whole.append("data: [DONE]" in list(lines))

        threads = [
            threading.Thread(target=stream, args=(at, jump))
            for at, jump in ((here, -HOUR // 2), (far, HOUR // 2))
        ]
        for thread in threads:
            thread.start()
        # Meanwhile the one window is spent by both: an hour apart, they are in it both.
        answers = [at.post(coding, tokens=3).status_code for _ in range(3) for at in (far, here)]
        for thread in threads:
            thread.join()
        assert whole == [True, True]
        here.settled(wait_until)
        rows = here.rows("SELECT * FROM usage_event WHERE status <> 'void'")
        streams = [row for row in rows if not row["is_plan"]]
        assert [(row["status"], row["output_text"]) for row in streams] == [("ok", 80)] * 2
        assert answers.count(200) * 3 == sum(row["credits"] for row in rows) <= 20
        audited(here.platform.database)
