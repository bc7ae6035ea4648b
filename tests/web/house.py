"""A platform with its page and a fake model's server, as `glm up` would run it, for the browser tests."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openglm.asgi import Running
from openglm.maas.gateway import create_app
from openglm.maas.models import Model
from openglm.maas.platform import Platform
from openglm.maas.settings import Settings
from openglm.maas.upstreams import Channel
from tests.maas.fake_upstream import FakeUpstream

PASSWORD = "a long and odd passphrase"
MODELS = {"glm": "GLM Test", "glm-air": "GLM Air Test"}


@dataclass
class House:
    platform: Platform
    upstream: FakeUpstream
    url: str

    @property
    def set_up(self) -> str:
        """The address that `glm up` prints, below the root."""
        return f"setup?token={self.platform.installation.setup_token}"

    def rows(self, sql: str, **parameters: Any) -> list[dict[str, Any]]:
        return [dict(row) for row in self.platform.database.read_now(sql, **parameters)]


@contextmanager
def housed(data: Path, **settings: Any) -> Iterator[House]:
    """Nobody has signed up; two models answer over one channel and cost nothing."""
    platform = Platform(Settings(data=data, **settings))

    async def furnish() -> None:
        for name, title in MODELS.items():
            await platform.models.put(Model(name, title=title))
            await platform.prices.set_if_none(name)

    aside(furnish())
    with FakeUpstream() as upstream:
        platform.router.add(Channel("fake", upstream.url, {name: name for name in MODELS}))
        with Running(create_app(platform, page=True)) as url:
            yield House(platform, upstream, url)


def aside(work: Coroutine[Any, Any, Any]) -> Any:
    """The result of a coroutine, run in another thread: Playwright has the event loop of this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()
