"""Links to images: fetched by the platform from public addresses, never by a model's server."""

from __future__ import annotations

import asyncio
import base64
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from openglm.errors import UpstreamFailure
from openglm.maas import image_links
from openglm.maas.image_links import ImageLinks
from openglm.maas.outbound import Fetched, GuardedSession
from openglm.messages import ChatRequest, ImagePart, Message
from tests.maas.fake_upstream import picture
from tests.maas.gateway.conftest import YUAN, House

PNG = picture(7)


@pytest.fixture
def site() -> Iterator[str]:
    """Pictures of somebody's, and what is none."""
    pages = {"/a.png": PNG, "/page": b"<html>", "/large": PNG + bytes(image_links.MAX_BYTES)}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = pages.get(self.path)
            self.send_response(503 if self.path == "/busy" else 404 if body is None else 200)
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def seen(house: House, *urls: str):
    parts = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    content = [{"type": "text", "text": "{}"}, *parts]
    return house.post(
        "/v1/chat/completions",
        {"model": "glm", "max_tokens": 9, "messages": [{"role": "user", "content": content}]},
    )


def told(house: House) -> list[str]:
    content = house.upstream.bodies[-1]["messages"][-1]["content"]
    return [part["image_url"]["url"] for part in content if part["type"] == "image_url"]


def test_a_link_reaches_the_models_server_as_the_image_itself(house: House, site: str):
    house.platform._web = GuardedSession(allow_private=True)  # where the test's pictures are
    inline = "data:image/png;base64,iVBORw0KGgo="
    assert seen(house, f"{site}/a.png", inline, f"{site}/a.png").status_code == 200
    image = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
    assert told(house) == [image, inline, image]


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data",
        "file:///etc/passwd",
        "http://127.0.0.1:1/",
        "data:text/html,x",
    ],
)
def test_no_link_leads_a_models_server_to_where_callers_may_not_go(house: House, url: str):
    answer = seen(house, url)
    assert answer.status_code == 400
    assert not house.upstream.bodies
    assert house.balance() == 10 * YUAN


@pytest.mark.parametrize("path", ["/page", "/large", "/nowhere"])
def test_a_link_to_what_is_no_image_is_the_callers_mistake(house: House, site: str, path: str):
    house.platform._web = GuardedSession(allow_private=True)
    answer = seen(house, site + path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_image_url")
    assert not house.upstream.bodies


def test_a_server_of_images_that_is_down_for_now_is_no_mistake_of_the_callers(house: House, site: str):
    house.platform._web = GuardedSession(allow_private=True)
    for url in (f"{site}/busy", "http://127.0.0.1:1/nobody-listens.png"):
        answer = seen(house, url)
        assert (answer.status_code, answer.json()["error"]["code"]) == (502, "upstream_failure")
        assert "an image could not be fetched" in answer.json()["error"]["message"]
    assert not house.upstream.bodies
    assert house.balance() == 10 * YUAN


def linked(host: str, number: int) -> ChatRequest:
    parts = tuple(ImagePart(f"http://{host}/{at}.png") for at in range(number))
    return ChatRequest("glm", (Message("user", parts),))


def test_servers_that_hang_keep_no_other_tenants_images_waiting():
    async def go() -> None:
        hanging = asyncio.Semaphore(0)

        async def fetch(url: str, **_: float) -> Fetched:
            if "slow" in url:
                hanging.release()
                await asyncio.Event().wait()
            return Fetched(url, 200, {}, PNG)

        links = ImageLinks(fetch)
        greedy = [
            asyncio.create_task(links.read(linked("slow", 50), tenant="greedy"))
            for _ in range(2 * image_links.AT_ONCE)
        ]
        for _ in range(image_links.most_of(image_links.AT_ONCE)):
            await hanging.acquire()
        async with asyncio.timeout(5):
            chat = await links.read(linked("quick", 2), tenant="modest")
        assert all(part.url.startswith("data:image/png") for part in chat.messages[0].parts)
        for task in greedy:
            task.cancel()
        await asyncio.gather(*greedy, return_exceptions=True)
        assert links._places.taken == 0

    asyncio.run(go())


def test_all_images_of_a_request_have_one_time_together_and_then_its_place_is_anothers(monkeypatch):
    monkeypatch.setattr(image_links, "TIMEOUT_ALL_S", 0.05)

    async def go() -> None:
        async def fetch(url: str, **_: float) -> Fetched:
            await asyncio.Event().wait()
            raise AssertionError("nobody sets it")

        links = ImageLinks(fetch)
        async with asyncio.timeout(5):
            with pytest.raises(UpstreamFailure, match="not all there within"):
                await links.read(linked("slow", 3), tenant="a")
        assert links._places.taken == 0

    asyncio.run(go())


def test_images_are_fetched_for_tenants_in_turn():
    async def go() -> None:
        served: list[str] = []
        gate = asyncio.Event()

        async def fetch(url: str, **_: float) -> Fetched:
            served.append(url.split("/")[2])
            await gate.wait()
            return Fetched(url, 200, {}, PNG)

        links = ImageLinks(fetch)
        hosts = [f"t{at}" for at in range(image_links.AT_ONCE)] + ["many"] * 3 + ["one"]
        reading = [asyncio.create_task(links.read(linked(host, 1), tenant=host)) for host in hosts]
        async with asyncio.timeout(5):
            while links._places.waiting < 4:
                await asyncio.sleep(0)
            gate.set()
            await asyncio.gather(*reading)
        assert served[image_links.AT_ONCE :] == ["many", "one", "many", "many"]

    asyncio.run(go())


def test_more_images_than_a_request_may_have_are_refused(house: House):
    assert seen(house, *["data:image/png;base64,iVBORw0KGgo="] * 51).status_code == 400


def test_tokens_are_counted_without_following_a_link(house: House):
    link = {"type": "image", "source": {"type": "url", "url": "http://169.254.169.254/latest"}}
    content = [{"type": "text", "text": "hello"}, link]
    body = {"model": "glm", "messages": [{"role": "user", "content": content}]}
    counted = house.post("/v1/messages/count_tokens", body).json()["input_tokens"]
    alone = {**body, "messages": [{"role": "user", "content": "hello"}]}
    assert counted == house.post("/v1/messages/count_tokens", alone).json()["input_tokens"] + 6_000
