"""A platform that has been lived in for a month, in English and Chinese: for pictures, and for what looks at every view."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from openglm.asgi import Running
from openglm.maas.gateway import create_app
from openglm.maas.ids import wall_clock
from openglm.maas.platform import Platform
from openglm.maas.settings import Settings
from tests.maas.console.conftest import Browser as Account
from tests.maas.fake_upstream import FakeUpstream
from tests.web.console_town import Town
from tests.web.gallery_texts import ASSISTANTS, PROMPTS, TALKS, Talk

DAY_MS = 86_400_000
DAYS = 30
MODELS = {"glm-4.6": ("GLM-4.6", "3", "0.6", "14"), "glm-4.5-air": ("GLM-4.5-Air", "0.8", "0.16", "6")}
KEYS = ("website", "nightly reports", "support desk")
FOLKS = {"bo": "developer", "cem": "billing", "dana": "viewer"}


@dataclass
class Calendar:
    """The platform's clock. It stands as many days back as it is told, so that a month of use is seconds of work."""

    days_ago: int = DAYS

    def __call__(self) -> int:
        return wall_clock() - self.days_ago * DAY_MS


@dataclass
class Gallery(Town):
    talks: dict[str, str] = field(default_factory=dict)  # a talk's title -> its conversation

    def chat(self, method: str, path: str, **body: Any) -> Any:
        """A call of the chat's API in Ann's name."""
        got = self.ann.request(method, f"{self.url}/api/chat/{path}", json=body or None)
        assert got.is_success, got.text
        return got.json()

    def begin(self, talk: Talk) -> None:
        made = self.chat("POST", "conversations", title=talk.title, model=min(MODELS))
        models = {"models": list(MODELS)} if talk.other else {}
        turn = {"text": talk.asked, "client_id": talk.title, **models}
        self.chat("POST", f"conversations/{made['id']}/turns", **turn)
        if talk.pinned:
            self.chat("PATCH", f"conversations/{made['id']}", pinned=True)
        self.talks[talk.title] = made["id"]

    def answered(self) -> bool:
        return not any(one["running"] for one in self.chat("GET", "conversations")["items"])


def _play(body: dict[str, Any]) -> dict[str, Any]:
    """A talk's answer; else what the message itself says, as JSON."""
    said = body["messages"][-1]["content"]
    talk = next((talk for talk in TALKS if talk.asked == said), None)
    return talk.script(body["model"]) if talk else json.loads(said)


@contextmanager
def furnished(data: Path) -> Iterator[Gallery]:
    calendar, chance = Calendar(), random.Random(7)
    platform = Platform(Settings(data=data), clock=calendar)
    with FakeUpstream() as upstream, Running(create_app(platform, page=True)) as url:
        upstream.plays = _play
        ann = Account(url).sign_up("ann@example.com", name="Ann", setup=platform.installation.setup_token)
        for name, (title, uncached, cached, output) in MODELS.items():
            price = {"model": name, "input": uncached, "cached_input": cached, "output": output}
            assert ann.post("platform/prices", json=price).is_success
            assert ann.put(f"platform/models/{name}", json={"title": title}).is_success
        channel = {"base_url": upstream.url, "models": {name: name for name in MODELS}}
        assert ann.put("platform/channels/rack-1", json=channel).is_success
        assert ann.patch(ann.org, json={"name": "Harbour Lab"}).is_success
        org = ann.state["organisations"][0]["id"]
        ann.post(f"platform/organisations/{org}/top-up", json={"amount": "200", "once": "start", "memo": "bank"})
        project = ann.get(f"{ann.org}/projects").json()[0]["id"]
        made = [ann.post(f"{ann.org}/keys", json={"name": name, "project_id": project}).json() for name in KEYS]
        gallery = Gallery(platform, upstream, url, ann, made[0]["key"], project, data / "gate")
        for days_ago in reversed(range(DAYS)):
            calendar.days_ago = days_ago
            for _ in range(1 if days_ago % 7 in (2, 3) else chance.randint(3, 5)):
                prompt = chance.randint(4_000, 60_000)
                asked = gallery.ask(
                    chance.choice(["glm-4.6", "glm-4.6", "glm-4.5-air"]),
                    chance.choice(made)["key"],
                    prompt=prompt,
                    cached=prompt // chance.randint(2, 5),
                    tokens=chance.randint(20, 200),
                    at_once=True,
                )
                assert asked.is_success, asked.text
        _settle(gallery)
        yield gallery


def _settle(gallery: Gallery) -> None:
    """What stands there today."""
    ann = gallery.ann = Account(gallery.url).login("ann@example.com")
    for name, role in FOLKS.items():
        email = f"{name}@example.com"
        invited = ann.post(f"{ann.org}/invitations", json={"email": email, "role": role}).json()
        Account(gallery.url).sign_up(email, name=name.title(), invitation=invited["token"])
    for assistant in ASSISTANTS:
        gallery.chat("POST", "assistants", **assistant)
    for prompt in PROMPTS:
        gallery.chat("POST", "prompts", **prompt)
    for talk in TALKS:
        gallery.begin(talk)
    while not gallery.answered():
        pass  # each look waits for the server's answer
