"""A platform with the chat behind a real server, pages that talk in it, and a fake model's server."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from openglm.asgi import Running
from openglm.maas.gateway import create_app
from openglm.maas.identity import Caller
from openglm.maas.knowledge.knowledge import Base, Manners
from openglm.maas.platform import Platform
from openglm.maas.settings import Settings
from openglm.maas.upstreams import Channel
from tests.maas.conftest import (
    database_url,
    postgres,
    postgres_template,
    sqlite_template,
    wait_until,
)
from tests.maas.fake_upstream import FakeUpstream

__all__ = ["database_url", "postgres", "postgres_template", "sqlite_template", "wait_until"]
YUAN = 1_000_000_000
PASSWORD = "a long and odd passphrase"


def script(**words: Any) -> str:
    """What the fake upstream does with a turn that says this."""
    return json.dumps(words)


class Page(httpx.Client):
    """A page of the chat app: cookies, its origin, the CSRF token of whoever is signed in."""

    def __init__(self, url: str):
        super().__init__(base_url=f"{url}/api/chat/", headers={"origin": url}, timeout=60)
        self.url = url

    def sign_up(self, email: str, **more: Any) -> Page:
        body = {"email": email, "password": PASSWORD, "name": email.partition("@")[0], **more}
        return self._enter(self.post(f"{self.url}/api/console/sign-up", json=body))

    def login(self, email: str) -> Page:
        body = {"email": email, "password": PASSWORD}
        return self._enter(self.post(f"{self.url}/api/console/login", json=body))

    def _enter(self, answer: httpx.Response) -> Page:
        assert answer.status_code in (200, 201), answer.text
        self.headers["x-csrf-token"] = answer.json()["csrf"]
        return self

    def begin(self, **given: Any) -> str:
        made = self.post("conversations", json=given)
        assert made.status_code == 201, made.text
        return made.json()["id"]

    def say(
        self, conversation: str, text: str, *, parent_id: str | None = None, **more: Any
    ) -> dict[str, Any]:
        body = {"text": text, "parent_id": parent_id, "client_id": uuid4().hex, **more}
        taken = self.post(f"conversations/{conversation}/turns", json=body)
        assert taken.status_code == 201, taken.text
        return taken.json()

    def open(self, conversation: str, **query: Any) -> dict[str, Any]:
        opened = self.get(f"conversations/{conversation}", params=query)
        assert opened.status_code == 200, opened.text
        return opened.json()

    def message(self, conversation: str, message_id: str) -> dict[str, Any]:
        """As it stands now."""
        path = self.open(conversation, leaf=message_id, limit=500)["path"]
        return next(one for one in path if one["id"] == message_id)

    def ended(self, conversation: str, message_id: str, wait_until: Callable) -> dict[str, Any]:
        """The message once it is written."""
        wait_until(lambda: self.message(conversation, message_id)["state"] != "running")
        return self.message(conversation, message_id)

    def answer(self, conversation: str, text: str, wait_until: Callable, **more: Any) -> dict[str, Any]:
        """Say something and wait for the answer."""
        answer = self.say(conversation, text, **more)["answers"][0]
        return self.ended(conversation, answer["id"], wait_until)


def document_of(hall: Hall, page: Page, wait_until: Callable, name: str, text: str, *, base: str = "") -> str:
    """A document that was read, in a knowledge base (or a new one) of whoever sits at the page."""
    caller = hall.caller(page)

    async def chunks() -> AsyncIterator[bytes]:
        yield text.encode()

    async def work() -> str:
        knowledge = hall.platform.knowledge
        base_id = base or await knowledge.create(caller, Base(f"about {name}", 3))
        return await knowledge.add(caller, base_id, name, chunks(), Manners())

    document = asyncio.run(work())
    wait_until(
        lambda: hall.rows("SELECT 1 FROM knowledge_document WHERE id = :id AND state = 1", id=document)
    )
    return document


@dataclass
class Heard:
    """What came over a stream of events, and what a page would make of it."""

    events: list[tuple[str, str, Any]] = field(default_factory=list)  # id, name, data
    messages: dict[str, dict[str, Any]] = field(default_factory=dict)
    over: bool = False  # the stream has ended

    def take(self, number: str, name: str, data: Any) -> None:
        self.events.append((number, name, data))
        if name == "state":
            self.messages |= {one["id"]: dict(one) for one in data.get("messages", ())}
        elif name == "message":
            self.messages[data["id"]] = dict(data)
        elif name == "delta":
            message = self.messages.setdefault(data["id"], {"text": "", "reasoning": "", "version": 0})
            assert data["version"] > message["version"]
            message["version"] = data["version"]
            for kind in ("text", "reasoning"):
                message[kind] += data.get(kind, "")

    @property
    def last(self) -> str:
        return self.events[-1][0]

    def names(self) -> list[str]:
        return [name for _, name, _ in self.events]


@contextmanager
def listening(page: Page, path: str, last: str | None = None) -> Iterator[Heard]:
    """Listen in a thread of its own until the block ends."""
    heard, ready, leaving = Heard(), threading.Event(), threading.Event()

    def listen() -> None:
        headers = {"last-event-id": last} if last else {}
        try:
            with page.stream("GET", path, headers=headers) as answer:
                assert answer.status_code == 200, answer.read()
                if last:
                    ready.set()
                block: dict[str, str] = {}
                for line in answer.iter_lines():
                    if leaving.is_set():
                        return
                    if line:
                        name, _, value = line.partition(": ")
                        block[name] = value
                    elif "event" in block:
                        heard.take(block.get("id", ""), block["event"], json.loads(block["data"]))
                        ready.set()
                        block = {}
        except httpx.TransportError:
            pass
        finally:
            heard.over = True
            ready.set()

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    ready.wait(30)
    try:
        yield heard
    finally:
        leaving.set()


@dataclass
class Hall:
    platform: Platform
    upstream: FakeUpstream
    url: str
    stop: Callable[[], None]

    def page(self) -> Page:
        return Page(self.url)

    def rows(self, sql: str, **parameters: Any) -> list[dict[str, Any]]:
        return [dict(row) for row in self.platform.database.read_now(sql, **parameters)]

    def usage(self, message_id: str) -> list[dict[str, Any]]:
        """The usage rows of an answer."""
        return self.rows(
            "SELECT u.* FROM usage_event u JOIN chat_message m ON u.request_id = m.request_id"
            " WHERE m.id = :id",
            id=message_id,
        )

    def caller(self, page: Page) -> Caller:
        """Who sits at a page, as the platform's parts know them."""
        me = page.get("me").json()
        if me["user"] is None:
            return asyncio.run(self.platform.household.caller())  # type: ignore[return-value]
        return asyncio.run(self.platform.seated(me["user"]["id"], me["org"]))

    def call(self, work: Callable[[], Any]) -> Any:
        return asyncio.run(work())


@contextmanager
def hall_of(database_url: str, data: Path, upstream: FakeUpstream, **settings: Any) -> Iterator[Hall]:
    platform = Platform(Settings(data=data, database_url=database_url, **settings), serves=False)
    platform.router.add(Channel("fake", upstream.url, {"glm": "wire", "air": "wire"}, leaving="cancel"))
    asyncio.run(_prices(platform))
    running = Running(create_app(platform))
    with running as url:
        yield Hall(platform, upstream, url, running.stop)


async def _prices(platform: Platform) -> None:
    await platform.prices.set_if_none("glm", "air")


@pytest.fixture
def upstream() -> Iterator[FakeUpstream]:
    with FakeUpstream() as made:
        yield made


@pytest.fixture
def hall(database_url: str, tmp_path: Path, upstream: FakeUpstream) -> Iterator[Hall]:
    with hall_of(database_url, tmp_path, upstream) as made:
        yield made


@pytest.fixture
def home(hall: Hall) -> Page:
    """A page on the machine of a household."""
    return hall.page()


@pytest.fixture
def ann(hall: Hall) -> Page:
    return hall.page().sign_up("ann@example.com", setup=hall.platform.installation.setup_token)


@pytest.fixture
def bob(hall: Hall, ann: Page) -> Page:
    return hall.page().sign_up("bob@example.com")
