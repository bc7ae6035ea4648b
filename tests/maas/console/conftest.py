"""A platform with the console behind a real server, and browsers that sign in to it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from openglm.asgi import Running
from openglm.maas.gateway import create_app
from openglm.maas.platform import Platform
from openglm.maas.settings import Settings

PASSWORD = "a long and odd passphrase"


class Browser(httpx.Client):
    """Keeps cookies, sends its page's origin and the CSRF token, as the page's own code does."""

    def __init__(self, url: str):
        super().__init__(base_url=f"{url}/api/console/", headers={"origin": url}, timeout=60)
        self.state: dict[str, Any] = {}

    def sign_up(self, email: str, **more: Any) -> Browser:
        body = {"email": email, "password": PASSWORD, "name": email.partition("@")[0], **more}
        return self.enter(self.post("sign-up", json=body))

    def login(self, email: str, password: str = PASSWORD) -> Browser:
        return self.enter(self.post("login", json={"email": email, "password": password}))

    def enter(self, answer: httpx.Response) -> Browser:
        assert answer.status_code in (200, 201), answer.text
        self.state = answer.json()
        self.headers["x-csrf-token"] = self.state["csrf"]
        return self

    @property
    def org(self) -> str:
        """The path of the first organisation."""
        return f"organisations/{self.state['organisations'][0]['id']}"

    @property
    def user_id(self) -> str:
        return self.state["user"]["id"]


@dataclass
class Town:
    platform: Platform
    url: str

    def browser(self) -> Browser:
        return Browser(self.url)

    def rows(self, sql: str, **parameters: Any) -> list[dict[str, Any]]:
        return [dict(row) for row in self.platform.database.read_now(sql, **parameters)]


@pytest.fixture
def town(database_url: str, tmp_path: Path) -> Iterator[Town]:
    secret = "a secret of the payment provider"
    platform = Platform(Settings(data=tmp_path, database_url=database_url, payment_secret=secret))
    with Running(create_app(platform)) as url:
        yield Town(platform, url)


@pytest.fixture
def ann(town: Town) -> Browser:
    """The first user: owner of an organisation, and the platform's operator."""
    return town.browser().sign_up("ann@example.com", setup=town.platform.installation.setup_token)


@pytest.fixture
def bob(town: Town, ann: Browser) -> Browser:
    """Somebody else, with an organisation of their own."""
    return town.browser().sign_up("bob@example.com")
