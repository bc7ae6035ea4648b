"""R14: what belongs to somebody else is not found, on any route, by any id."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass

import httpx
import pytest
from starlette.routing import Route

from openglm.maas.gateway import create_app
from tests.maas.gateway.conftest import House
from tests.maas.reliability.conftest import script

OPEN = "/api/llm-application/open"
SECRET = "the swordfish sings at noon"


@dataclass
class Things:
    """One of everything that has an id."""

    file: str
    batch: str
    task: str
    response: str
    base: str
    document: str

    def all(self) -> list[str]:
        return [getattr(self, name) for name in self.__dataclass_fields__]


@dataclass
class Tenants:
    house: House
    strangers_key: str
    things: Things
    client: httpx.Client

    def ask(self, method: str, path: str, key: str | None = None, **more) -> httpx.Response:
        headers = {"authorization": f"Bearer {key or self.strangers_key}", **more.pop("headers", {})}
        return self.client.request(method, self.house.url + path, headers=headers, **more)


@pytest.fixture
def tenants(house: House, wait_until) -> Tenants:
    platform = house.platform

    async def move_in() -> str:
        eve = await platform.accounts.sign_up("eve@example.com", "a long and odd passphrase", "Eve")
        await platform.wallet.top_up(eve.org_id, 10**10, idempotency_key="eve")
        await platform.prices.set_per_million("*", uncached="1", output="1", per_call="0.001")
        return (await platform.keys.create(eve.org_id, eve.project_id, "eve")).key

    eve = asyncio.run(move_in())
    tenants = Tenants(house, eve, Things(*[""] * 6), httpx.Client(timeout=60))
    row = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions"}
    row["body"] = {"model": "glm", "messages": [{"role": "user", "content": SECRET}]}
    file = tenants.ask(
        "POST",
        "/v1/files",
        house.key,
        data={"purpose": "batch"},
        files={"file": ("secret.jsonl", json.dumps(row).encode())},
    ).json()["id"]
    batch = {"input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    chat = {"model": "glm", "messages": [{"role": "user", "content": script(words=[SECRET])}]}
    base = house.post(f"{OPEN}/knowledge", {"name": SECRET, "embedding_id": 3}).json()["data"]["id"]
    upload = tenants.ask(
        "POST",
        f"{OPEN}/document/upload_document/{base}",
        house.key,
        files={"files": ("secret.md", SECRET.encode())},
    )
    tenants.things = Things(
        file,
        house.post("/v1/batches", batch).json()["id"],
        house.post("/api/paas/v4/async/chat/completions", chat).json()["id"],
        house.post("/v1/responses", {"model": "glm", "input": script(words=[SECRET])}).json()["id"],
        base,
        upload.json()["data"]["successInfos"][0]["documentId"],
    )
    return tenants


def routes_of(house: House) -> list[tuple[str, str]]:
    """Method and path of every route of the models' API."""
    return [
        (method, route.path)
        for route in create_app(house.platform).routes
        if isinstance(route, Route)
        for method in sorted(route.methods or {"GET", "POST", "DELETE", "PUT"} - {"HEAD"})
        if method != "HEAD"
    ]


def refused(answer: httpx.Response) -> bool:
    """An error; envelopes say it in their body."""
    return answer.status_code >= 400 or answer.json().get("code", 200) != 200


@pytest.mark.slow
def test_no_route_gives_a_stranger_what_is_somebody_elses(tenants, wait_until):
    asked = 0
    for method, path in routes_of(tenants.house):
        if "{" not in path or "{name" in path:
            continue
        start, _, rest = path.partition("{")
        for thing in tenants.things.all():
            target = start + thing + rest.partition("}")[2]
            body = {"name": "mine", "embedding_id": 3} if method in ("POST", "PUT", "PATCH") else None
            answer = tenants.ask(method, target, json=body)
            assert refused(answer), (method, target, answer.text)
            assert answer.status_code < 500 or "offered" in answer.text, (method, target, answer.text)
            assert SECRET not in answer.text
            asked += 1
    assert asked > 60
    house, things = tenants.house, tenants.things
    for path in (
        f"/v1/files/{things.file}",
        f"/v1/batches/{things.batch}",
        f"/api/paas/v4/async-result/{things.task}",
        f"/v1/responses/{things.response}",
        f"{OPEN}/knowledge/{things.base}",
        f"{OPEN}/document/{things.document}",
    ):
        assert not refused(tenants.ask("GET", path, house.key)), path


def test_no_list_shows_a_stranger_what_is_somebody_elses(tenants):
    listed = 0
    for method, path in routes_of(tenants.house):
        if method != "GET" or "{" in path or path in ("/metrics",):
            continue
        answer = tenants.ask("GET", path, params={"knowledge_id": tenants.things.base})
        assert SECRET not in answer.text, path
        assert not [thing for thing in tenants.things.all()[:4] if thing in answer.text], path
        listed += 1
    assert listed > 8


def test_an_id_in_a_body_opens_nothing_either(tenants):
    things = tenants.things
    chat = {"model": "glm", "messages": [{"role": "user", "content": "swordfish?"}]}
    for path, body in (
        (
            "/v1/batches",
            {"input_file_id": things.file, "endpoint": "/v1/chat/completions", "completion_window": "24h"},
        ),
        ("/api/paas/v4/batches", {"input_file_id": things.file, "endpoint": "/v4/chat/completions"}),
        ("/v1/responses", {"model": "glm", "input": "go on", "previous_response_id": things.response}),
        (f"{OPEN}/knowledge/retrieve", {"query": "swordfish", "knowledge_ids": [things.base]}),
        (
            "/api/paas/v4/chat/completions",
            {**chat, "tools": [{"type": "retrieval", "retrieval": {"knowledge_id": things.base}}]},
        ),
        (
            f"{OPEN}/document/upload_url",
            {"knowledge_id": things.base, "upload_detail": [{"url": "https://example.com/a.md"}]},
        ),
    ):
        answer = tenants.ask("POST", path, json=body)
        assert refused(answer), (path, answer.text)
        assert SECRET not in answer.text


STRANGE = [
    "..%2f..%2fetc%2fpasswd",
    "%00",
    "a%00b",
    "x" * 3000,
    "%F0%9F%98%80",
    "'; DROP TABLE file; --",
    "%0d%0aa: b",
]
STRANGE += ["-1", "null", "%2e%2e", "file_", "%ff%fe"]


@pytest.mark.slow
@pytest.mark.parametrize("strange", STRANGE)
def test_no_id_however_strange_makes_a_route_fail(house, strange):
    headers = {"authorization": f"Bearer {house.key}"}
    with httpx.Client(base_url=house.url, headers=headers, timeout=60) as client:
        for method, path in routes_of(house):
            if "{" not in path:
                continue
            start, _, rest = path.partition("{")
            body = {"name": "n", "embedding_id": 3} if method in ("POST", "PUT") else None
            answer = client.request(method, start + strange + rest.partition("}")[2], json=body)
            assert answer.status_code < 500 or "offered" in answer.text, (method, path, answer.text)
            assert "a" not in answer.headers
            assert "root:" not in answer.text
