"""A platform with its page and a fake model's server, as `glm up` would run it, for the browser tests."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from openglm.asgi import Running
from openglm.maas.gateway import create_app
from openglm.maas.identity.sessions import cookie_name
from openglm.maas.models import Model
from openglm.maas.platform import Platform
from openglm.maas.settings import Settings
from openglm.maas.upstreams import Channel
from tests.maas.fake_upstream import FakeUpstream

PASSWORD = "a long and odd passphrase"
MODELS = {"glm": "GLM Test", "glm-air": "GLM Air Test"}
WIDE = {"viewport": {"width": 1440, "height": 900}}
PHONE = {
    "viewport": {"width": 390, "height": 844},
    "locale": "zh-CN",
    "color_scheme": "dark",
    "has_touch": True,
    "is_mobile": True,
}


@dataclass
class House:
    platform: Platform
    upstream: FakeUpstream
    url: str
    scripts: dict[str, dict[str, Any]] = field(default_factory=dict)

    def when(self, text: str, **script: Any) -> str:
        """What the model's server does when somebody says this; back comes what to say."""
        self.scripts[text] = script
        return text

    def script_of(self, body: dict[str, Any]) -> dict[str, Any]:
        asked = max(at for at, turn in enumerate(body["messages"]) if turn["role"] == "user")
        said = body["messages"][asked]["content"]
        text = said if isinstance(said, str) else "".join(part.get("text", "") for part in said)
        if text.startswith("Write a title"):
            return {"status": 500}  # so conversations are called by their first words
        script = self.scripts.get(text, {})
        if turns := script.get("turns"):  # of an answer that calls tools
            return turns[sum(turn["role"] == "assistant" for turn in body["messages"][asked:])]
        return script

    def member(self, name: str = "Ann") -> tuple[str, dict[str, Any]]:
        """A new user, by e-mail address, and the browser state in which they are signed in."""
        email = f"{uuid4().hex}@example.com"

        async def work() -> str:
            made = await self.platform.accounts.add(email, PASSWORD, name)
            return (await self.platform.sessions.open(made.user.id)).cookie

        cookie = {
            "name": cookie_name(secure=False),
            "value": aside(work()),
            "domain": "127.0.0.1",
            "path": "/",
        }
        return email, {"storage_state": {"cookies": [cookie]}}

    @property
    def set_up(self) -> str:
        """The address that `glm up` prints, below the root."""
        return f"setup?token={self.platform.installation.setup_token}"

    def rows(self, sql: str, **parameters: Any) -> list[dict[str, Any]]:
        return [dict(row) for row in self.platform.database.read_now(sql, **parameters)]


@contextmanager
def housed(data: Path, *, port: int = 0, **settings: Any) -> Iterator[House]:
    """Nobody has signed up; two models answer over one channel and cost nothing."""
    platform = Platform(Settings(data=data, **settings))

    async def furnish() -> None:
        for name, title in MODELS.items():
            await platform.models.put(Model(name, title=title))
            await platform.prices.set_if_none(name)

    aside(furnish())
    with FakeUpstream() as upstream:
        platform.router.add(Channel("fake", upstream.url, {name: name for name in MODELS}))
        with Running(create_app(platform, page=True), port=port) as url:
            house = House(platform, upstream, url)
            upstream.plays = house.script_of
            yield house


def aside(work: Coroutine[Any, Any, Any]) -> Any:
    """The result of a coroutine, run in another thread: Playwright has the event loop of this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()
