"""A platform behind a real server, with a model server that does what it is told, and money in the wallet."""

from __future__ import annotations

import asyncio
import http.client
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from openglm.asgi import Running
from openglm.dialects import openai
from openglm.maas.gateway import create_app
from openglm.maas.gateway.prompts import prompt_bound
from openglm.maas.identity import Keys
from openglm.maas.money import Prices, Wallet
from openglm.maas.platform import Platform
from openglm.maas.settings import Settings
from openglm.maas.upstreams import Channel
from tests.maas.fake_upstream import FakeUpstream

PICO_IN, PICO_CACHED, PICO_OUT = 1_000_000, 250_000, 4_000_000  # 1, 0.25 and 4 per million tokens
YUAN = 1_000_000_000


@dataclass
class House:
    """What a test needs to look into the platform from outside its loop."""

    platform: Platform
    upstream: FakeUpstream
    url: str
    key: str
    org_id: str

    def post(self, path: str, body: dict, key: str | None = None, **more) -> httpx.Response:
        headers = {"authorization": f"Bearer {key or self.key}", **more.pop("headers", {})}
        return httpx.post(f"{self.url}{path}", json=body, headers=headers, timeout=60, **more)

    @contextmanager
    def left(self, path: str, body: dict) -> Iterator[None]:
        """Sends a request, and hangs up unanswered when the block ends."""
        connection = http.client.HTTPConnection(self.url.removeprefix("http://"))
        try:
            connection.request("POST", path, json.dumps(body), {"authorization": f"Bearer {self.key}"})
            yield
        finally:
            connection.close()

    def get(self, path: str) -> httpx.Response:
        return httpx.get(f"{self.url}{path}", headers={"authorization": f"Bearer {self.key}"}, timeout=60)

    def rows(self, sql: str, **parameters) -> list[dict]:
        return [dict(row) for row in self.platform.database.read_now(sql, **parameters)]

    def usage(self) -> list[dict]:
        return self.rows("SELECT * FROM usage_event ORDER BY created_at")

    def balance(self) -> int:
        return asyncio.run(self.platform.wallet.balance(self.org_id)).balance_nano

    def settled(self, wait_until: Callable) -> None:
        """Waits until no hold is open and nothing goes on."""
        wait_until(lambda: not self.rows("SELECT 1 FROM hold WHERE state = 'open'"))


def most(body: dict) -> int:
    """What a request may cost at most, by the bytes of its prompt."""
    bound = prompt_bound(openai.decode_chat(json.dumps(body).encode()))
    return (bound * PICO_IN + body["max_tokens"] * PICO_OUT) // 1000


@pytest.fixture
def house(database_url: str, tmp_path: Path) -> Iterator[House]:
    with housed(database_url, tmp_path) as (made, _):
        yield made


@contextmanager
def housed(
    database_url: str, data: Path, *, grace_s: float = 1.0
) -> Iterator[tuple[House, Callable[[], None]]]:
    """A house and how to stop its server before the block ends."""
    platform = Platform(Settings(data=data, database_url=database_url))

    async def furnish() -> tuple[str, str]:
        person = await platform.accounts.add("ann@example.com", "a long and odd passphrase", "Ann")
        new = await Keys(platform.database, platform.secrets).create(
            person.org_id, person.project_id, "tests"
        )
        await Prices(platform.database).set(
            "glm", uncached_pico=PICO_IN, cached_pico=PICO_CACHED, output_pico=PICO_OUT
        )
        await Wallet(platform.database).top_up(person.org_id, 10 * YUAN, idempotency_key="start")
        return person.org_id, new.key

    org_id, key = asyncio.run(furnish())
    with FakeUpstream() as upstream:
        platform.router.add(Channel("fake", upstream.url, {"glm": "wire"}, leaving="cancel"))
        running = Running(create_app(platform), grace_s=grace_s)
        with running as url:
            yield House(platform, upstream, url, key, org_id), running.stop
