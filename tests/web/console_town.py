"""A platform for the console's tests: real database, real money, a model server that answers as it is told, and
a trainer that waits at a gate. One for each file of tests."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from playwright.sync_api import Browser, BrowserContext, Page, expect

from openglm.asgi import Running
from openglm.maas.gateway import create_app
from openglm.maas.platform import Platform
from openglm.maas.settings import Settings
from tests.maas.console.conftest import Browser as Account
from tests.maas.fake_upstream import FakeUpstream
from tests.maas.finetuning.programs import TRAINER, serve

PLANS = """
[plans.gold]
title = "Gold"
price = "30"
windows = { 5h = 1000, week = 4000, month = 9000 }
[models."*"]
uncached = 1
output = 4
"""
SIZES = {"wide": {"width": 1440, "height": 900}, "phone": {"width": 390, "height": 844}}


@dataclass
class Town:
    platform: Platform
    upstream: FakeUpstream
    url: str
    ann: Account  # owner of an organisation and the platform's operator
    key: str
    project: str
    gate: Path

    def ask(self, model: str = "glm", key: str = "", **script: Any) -> httpx.Response:
        """One billed request; `script` says how the model's server answers."""
        body = {"model": model, "messages": [{"role": "user", "content": json.dumps(script)}]}
        headers = {"authorization": f"Bearer {key or self.key}"}
        return httpx.post(f"{self.url}/v1/chat/completions", json=body, headers=headers, timeout=60)

    def open_gate(self, steps: int) -> None:
        draft = self.gate.with_suffix(".partial")
        draft.write_text(str(steps))
        draft.rename(self.gate)

    def visit(self, browser: Browser, complaints: list[str], *, account: Account | None = None, **visitor: Any) -> BrowserContext:
        """A browser that somebody (Ann) is signed in with; what must not happen is written to `complaints`."""
        context = browser.new_context(
            **{"locale": "en-US", "color_scheme": "light", "base_url": self.url, "viewport": SIZES["wide"], **visitor}
        )
        cookies = (account or self.ann).cookies
        context.add_cookies([{"name": name, "value": value, "url": self.url} for name, value in cookies.items()])
        context.on("page", lambda page: self._watch(page, complaints))
        return context

    def _watch(self, page: Page, complaints: list[str]) -> None:
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda said: complaints.append(said.text) if "Content Security" in said.text else None)
        page.on("request", lambda asked: None if asked.url.startswith((self.url, "blob:")) else complaints.append(asked.url))
        page.on("response", lambda got: complaints.append(f"{got.status} {got.url}") if got.status >= 500 else None)


@contextmanager
def housed(data: Path) -> Iterator[Town]:
    (data / "plans.toml").write_text(PLANS)
    gate = data / "gate"
    settings = Settings(data=data, payment_secret="a secret of the payment provider")
    platform = Platform(settings, server=serve, trainer=(*TRAINER, "--gate", str(gate)))

    with FakeUpstream() as upstream:
        with Running(create_app(platform, page=True)) as url:
            ann = Account(url).sign_up("ann@example.com", setup=platform.installation.setup_token)
            for name in ("glm", "glm-air", "embedding-3"):
                price = {"model": name, "input": "1", "cached_input": "0.25", "output": "4"}
                assert ann.post("platform/prices", json=price).is_success
            trained = {"model": "tiny", "input": "1", "output": "4", "training": "10"}
            assert ann.post("platform/prices", json=trained).is_success
            tiny = {"title": "Tiny", "source": "/no/such/model"}
            assert ann.put("platform/models/tiny", json=tiny).is_success
            channel = {"base_url": upstream.url, "models": {"glm": "wire", "glm-air": "air", "embedding-3": "vectors"}}
            assert ann.put("platform/channels/fake", json=channel | {"leaving": "cancel"}).is_success
            org = ann.state["organisations"][0]["id"]
            ann.post(f"platform/organisations/{org}/top-up", json={"amount": "100", "once": "start", "memo": "bank"})
            project = ann.get(f"{ann.org}/projects").json()[0]["id"]
            key = ann.post(f"{ann.org}/keys", json={"name": "website", "project_id": project}).json()["key"]
            yield Town(platform, upstream, url, ann, key, project, gate)


def open_page(context: BrowserContext, path: str) -> Page:
    """A page of the console, once it has drawn itself."""
    page = context.new_page()
    page.goto(f"/console/{path}".rstrip("/"))
    settled(page)
    return page


def settled(page: Page) -> None:
    expect(page.locator(".console-column")).to_be_visible()
    expect(page.locator(".loading")).to_have_count(0)


def button(page: Page, name: str | re.Pattern[str]) -> Any:
    return page.get_by_role("button", name=name, exact=isinstance(name, str))


def row(page: Page, text: str) -> Any:
    return page.locator("tbody tr", has_text=text)
