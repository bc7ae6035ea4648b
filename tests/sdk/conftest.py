"""One platform that all SDKs visit, each with accounts of its own; on SQLite, in a folder that goes."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from openglm.asgi import Running
from openglm.asgi.events import EventStream, streamed
from openglm.maas.gateway import create_app
from openglm.maas.limits import Rule
from openglm.maas.models import Model
from openglm.maas.outbound import GuardedSession
from openglm.maas.platform import Platform
from openglm.maas.quotas.quotas import Limit
from openglm.maas.search import Document
from openglm.maas.settings import Settings
from openglm.maas.upstreams import Channel
from tests.maas.fake_upstream import FakeUpstream
from tests.maas.finetuning.programs import TRAINER, serve
from tests.sdk.table import PICTURE, World, until

SDKS = {"zai": "zai-sdk", "zhipuai": "zhipuai"}  # those that cannot live in our environment
ROOT = Path(__file__).parent.parent.parent
YUAN = 1_000_000_000
PAGE = b"""<html><head><title>Tides</title><meta name=description content="About tides"></head><body>
<p>The tide <b>turns</b> twice a day. <a href="/moon">Moon</a> <img src="/sea.png" alt="the sea"></p>
</body></html>"""


@dataclass
class Town:
    platform: Platform
    upstream: FakeUpstream
    url: str
    site: str
    owner_id: str
    training_gate: Path

    def move_in(self, sdk: str) -> World:
        """Accounts for one SDK, so that it finds nothing of the others'."""
        world = asyncio.run(self._move_in(sdk))
        # The model was added from outside, as by `glm admin`: the platform sees it when it looks again.
        until(lambda: f"tiny-{sdk}" in [status.name for status in self.platform.servers.status()])
        return world

    def bill(self, key: str) -> list[dict]:
        """What a key was billed for, once nothing is held any more."""
        read, key_id = self.platform.database.read_now, key.partition(".")[0]
        until(lambda: not read("SELECT 1 FROM hold WHERE state = 'open'"))
        rows = read("SELECT * FROM usage_event WHERE key_id = :key ORDER BY created_at", key=key_id)
        return [dict(row) for row in rows]

    async def _move_in(self, sdk: str) -> World:
        platform = self.platform
        rich, limited = await self._account(sdk, yuan=10), await self._account(sdk, yuan=10)
        poor, planned = await self._account(sdk), await self._account(sdk)
        tuner = await self._account(sdk, yuan=10)
        # Its owner's alone: agents of the other accounts need not choose between models.
        await platform.models.put(Model(f"tiny-{sdk}", source="/no/such/model", owner_org=tuner))
        await platform.accounts.set_tier(limited, "limited")
        await platform.plans.subscribe(planned, "pro", idempotency_key="plan")
        return World(
            url=self.url,
            page=f"{self.site}/tides",
            picture=f"{self.site}/cat.png",
            key=await self._key(rich),
            poor_key=await self._key(poor),
            narrow_key=await self._key(rich, models=["other"]),
            limited_key=await self._key(limited),
            plan_key=await self._key(planned),
            tuning_key=await self._key(tuner),
            training_gate=str(self.training_gate),
        )

    async def _account(self, name: str, *, yuan: int = 0) -> str:
        org = await self.platform.accounts.create_org(name, self.owner_id)
        if yuan:
            await self.platform.wallet.top_up(org.id, yuan * YUAN, idempotency_key="start")
        return org.id

    async def _key(self, org_id: str, **scope) -> str:
        (project,) = await self.platform.projects.list(org_id)
        return (await self.platform.keys.create(org_id, project.id, "tests", **scope)).key


@pytest.fixture(scope="session")
def town(tmp_path_factory) -> Iterator[Town]:
    folder = tmp_path_factory.mktemp("town")
    gate = folder / "gate"
    gate.write_text("1000")
    platform = Platform(Settings(data=folder), server=serve, trainer=(*TRAINER, "--gate", str(gate)))
    platform._web = GuardedSession(allow_private=True, resolve=_here)  # where the site is
    owner_id = asyncio.run(_furnish(platform))
    with FakeUpstream() as upstream, _site() as site, pytest.MonkeyPatch.context() as patch:
        for made in (EventStream.__init__, streamed):  # so that every client meets keep-alives
            patch.setitem(made.__kwdefaults__, "keep_alive_s", 0.05)
        platform.router.add(Channel("fake", upstream.url, {"glm": "wire"}, leaving="cancel"))
        with Running(create_app(platform)) as url:
            yield Town(platform, upstream, url, site, owner_id, gate)


async def _here(host: str, port: int) -> Sequence[str]:
    return ["127.0.0.1"]


async def _furnish(platform: Platform) -> str:
    await platform.prices.set_per_million("*", uncached="1", output="4", per_call="0.01", training="10")
    await platform.limits.rules.put(Rule(tier="limited", rpm=1))
    await platform.quotas.set(Limit("*", "organisations", None))  # one person founds all of the town's
    await platform.search.add([Document("https://a.example/tides", "Tides", "The moon makes the tides.")])
    return (await platform.accounts.add("ann@example.com", "a long and odd passphrase", "Ann")).user.id


@contextmanager
def _site() -> Iterator[str]:
    """Somebody's web site: a page, and a picture of a cat."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            is_picture = self.path == "/cat.png"
            self.send_response(200)
            self.send_header("content-type", "image/png" if is_picture else "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(PICTURE if is_picture else PAGE)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://pages.example:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Drive:
    """An SDK in its own interpreter, and what it says of each row of its table as soon as that has ended."""

    def __init__(self, world: World, command: Sequence[str]):
        self.world = world
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._process.stdin.write(json.dumps(asdict(world)))
        self._process.stdin.close()
        self.methods: list[str] = json.loads(self._process.stdout.readline())
        self._failures: dict[str, str | None] = {}

    def failure(self, row: str) -> str | None:
        """The traceback of a row that failed."""
        while row not in self._failures:
            if not self._listen():
                return f"the interpreter ended with status {self._process.wait()} before this row did"
        return self._failures[row]

    def whole(self) -> Drive:
        """Once all rows have ended."""
        while self._listen():
            pass
        return self

    def close(self) -> None:
        self._process.kill()
        self._process.stdout.close()
        self._process.wait()

    def _listen(self) -> bool:
        line = self._process.stdout.readline()
        if line:
            row, failure = json.loads(line)
            self._failures[row] = failure
        return bool(line)


@pytest.fixture(scope="session")
def environment() -> Callable[[str], str]:
    """The interpreter that has a package: ours, or the one that `setup/sdks.py` makes for it."""

    def find(package: str) -> str:
        if package not in SDKS:
            return sys.executable
        setup = [sys.executable, ROOT / "setup" / "sdks.py", SDKS[package]]
        return subprocess.run(setup, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()

    return find


@pytest.fixture(scope="session")
def driven(town: Town, environment: Callable[[str], str]) -> Iterator[Callable[[str], Drive]]:
    """Runs the table of an SDK in its own environment, once. Each test waits for its own row alone."""
    drives: dict[str, Drive] = {}

    def run(name: str) -> Drive:
        if name not in drives:
            command = [environment(name), "-m", "tests.sdk.drive", name]
            drives[name] = Drive(town.move_in(name), command)
        return drives[name]

    yield run
    for drive in drives.values():
        drive.close()
