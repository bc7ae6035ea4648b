"""A platform in a process of its own, which tests kill, and the database behind it, which tests read."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from openglm.maas.platform import Platform
from openglm.maas.settings import Settings
from tests.maas.fake_upstream import FakeUpstream
from tests.maas.gateway.conftest import House, house
from tests.maas.money.conftest import audited

__all__ = ["House", "house"]

SERVER = Path(__file__).with_name("server.py")
START = 100 * 10**9  # nano in the wallet


@dataclass
class Child:
    process: subprocess.Popen[str]
    url: str

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    @property
    def peak(self) -> int:
        """The most memory that it has had so far, in bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmHWM:\s+(\d+) kB", status)
        assert found, "the kernel tells the peak of a process"
        return int(found[1]) * 1024


@dataclass
class Home:
    platform: Platform  # for its database; the one that serves is a child
    upstream: FakeUpstream
    key: str
    org_id: str

    @contextmanager
    def serving(self) -> Iterator[Child]:
        settings = self.platform.settings
        command = [
            sys.executable, str(SERVER), str(settings.data), settings.database, self.upstream.url,
        ]  # fmt: skip
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        try:
            url = process.stdout.readline().strip()
            assert url, "the server did not start"
            yield Child(process, url)
        finally:
            process.kill()
            process.wait()
            process.stdout.close()

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.key}"}

    def rows(self, sql: str, **parameters) -> list[dict]:
        return [dict(row) for row in self.platform.database.read_now(sql, **parameters)]

    def write(self, sql: str, **parameters) -> None:
        self.platform.database.write_now(lambda tx: tx.run(sql, **parameters))

    def usage(self) -> dict[str, dict]:
        return {row["request_id"]: row for row in self.rows("SELECT * FROM usage_event")}

    def check_books(self) -> None:
        """Every law of the ledger, and the wallet is what was put in less what requests cost."""
        audited(self.platform.database)
        spent = sum(row["cost_nano"] for row in self.usage().values())
        (wallet,) = self.rows("SELECT balance FROM account WHERE id = :id", id=f"wallet:{self.org_id}")
        assert wallet["balance"] == START - spent


@pytest.fixture
def home(database_url: str, tmp_path: Path) -> Iterator[Home]:
    platform = Platform(Settings(data=tmp_path, database_url=database_url), serves=False)

    async def furnish() -> tuple[str, str]:
        ann = await platform.accounts.add("ann@example.com", "a long and odd passphrase", "Ann")
        key = await platform.keys.create(ann.org_id, ann.project_id, "tests")
        await platform.prices.set_per_million("glm", uncached="1", cached="0.25", output="4")
        await platform.wallet.top_up(ann.org_id, START, idempotency_key="start")
        return ann.org_id, key.key

    org_id, key = asyncio.run(furnish())
    with FakeUpstream() as upstream:
        yield Home(platform, upstream, key, org_id)
    asyncio.run(platform.close())


def script(**words) -> str:
    """What the fake upstream does with a request whose last message this is."""
    return json.dumps(words)


def read_until_it_breaks(url: str, headers: dict[str, str], body: dict) -> bool:
    """Reads a stream; False if it broke off."""
    try:
        with (
            httpx.Client(timeout=60) as client,
            client.stream("POST", f"{url}/v1/chat/completions", json=body, headers=headers) as answer,
        ):
            return answer.status_code == 200 and "[DONE]" in list(answer.iter_lines())[-2:][0]
    except (httpx.HTTPError, IndexError):
        return False
