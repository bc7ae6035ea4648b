"""Who gets in: programs of this machine before the first account, keys after it, nobody's pages ever."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from openglm.asgi import Running
from openglm.maas.gateway import create_app
from openglm.maas.household import LOOK_AGAIN_MS
from openglm.maas.platform import Platform
from openglm.maas.settings import Settings
from openglm.maas.upstreams import Channel
from tests.maas.fake_upstream import FakeUpstream

CHAT = {"model": "glm", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[tuple[Platform, str]]:
    platform = Platform(Settings(data=tmp_path))
    asyncio.run(platform.prices.set_if_none("glm"))
    with FakeUpstream() as upstream:
        platform.router.add(Channel("fake", upstream.url, {"glm": "wire"}))
        with Running(create_app(platform)) as url:
            yield platform, url


def test_until_somebody_signs_up_this_machine_needs_no_key(empty):
    platform, url = empty
    first = httpx.post(f"{url}/v1/chat/completions", json=CHAT)
    assert first.status_code == 200
    rows = platform.database.read_now("SELECT org_id, cost_nano FROM usage_event")
    assert [tuple(row) for row in rows] in ([], [("org_household", 0)])
    asyncio.run(platform.accounts.add("ann@example.com", "a long and odd passphrase", "Ann"))
    platform.household._looked_at -= LOOK_AGAIN_MS
    assert httpx.post(f"{url}/v1/chat/completions", json=CHAT).status_code == 401


def test_nothing_counts_as_of_this_machine_once_the_platform_has_a_public_address(tmp_path):
    platform = Platform(Settings(data=tmp_path, public_url="https://glm.example.org"))
    with Running(create_app(platform)) as url:
        assert httpx.post(f"{url}/v1/chat/completions", json=CHAT).status_code == 401
        assert httpx.get(f"{url}/metrics").status_code == 401


def test_what_a_bare_proxy_pass_brings_needs_a_key(empty):
    """nginx without further words: our own name as Host, no header of its own, HTTP/1.0."""
    _, url = empty
    address = urlsplit(url)
    for path in ("/metrics", "/v1/models"):
        with socket.create_connection((address.hostname, address.port)) as line:
            line.sendall(
                f"GET {path} HTTP/1.0\r\nHost: {address.netloc}\r\nConnection: close\r\n\r\n".encode()
            )
            assert b" 401 " in line.makefile("rb").readline()


@pytest.mark.parametrize(
    "headers",
    [
        {"x-forwarded-for": "203.0.113.9"},
        {"forwarded": "for=203.0.113.9"},
        {"host": "rebound.example"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
    ],
)
def test_what_comes_through_a_proxy_or_another_sites_page_needs_a_key(empty, headers):
    _, url = empty
    assert httpx.post(f"{url}/v1/chat/completions", json=CHAT, headers=headers).status_code == 401


def test_the_page_of_this_address_may_ask(empty):
    _, url = empty
    answer = httpx.post(f"{url}/v1/chat/completions", json=CHAT, headers={"origin": url})
    assert answer.status_code == 200


def test_metrics_are_read_at_home_and_else_with_the_operators_token(empty):
    platform, url = empty
    httpx.post(f"{url}/v1/chat/completions", json=CHAT)
    assert b"openglm_" in httpx.get(f"{url}/metrics").content
    far = {"x-forwarded-for": "203.0.113.9"}
    assert httpx.get(f"{url}/metrics", headers=far).status_code == 401
    object.__setattr__(platform.settings, "metrics_token", "scrape")
    good, bad = ({**far, "authorization": f"Bearer {word}"} for word in ("scrape", "scrap"))
    assert httpx.get(f"{url}/metrics", headers=good).status_code == 200
    assert httpx.get(f"{url}/metrics", headers=bad).status_code == 401
    asyncio.run(platform.accounts.add("ann@example.com", "a long and odd passphrase", "Ann"))
    platform.household._looked_at -= LOOK_AGAIN_MS
    assert httpx.get(f"{url}/metrics").status_code == 401
