"""Links to images: fetched by the platform from public addresses, never by a model's server."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from openglm.maas import image_links
from openglm.maas.outbound import GuardedSession
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
            self.send_response(404 if body is None else 200)
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


def test_more_images_than_a_request_may_have_are_refused(house: House):
    assert seen(house, *["data:image/png;base64,iVBORw0KGgo="] * 51).status_code == 400


def test_tokens_are_counted_without_following_a_link(house: House):
    link = {"type": "image", "source": {"type": "url", "url": "http://169.254.169.254/latest"}}
    content = [{"type": "text", "text": "hello"}, link]
    body = {"model": "glm", "messages": [{"role": "user", "content": content}]}
    counted = house.post("/v1/messages/count_tokens", body).json()["input_tokens"]
    alone = {**body, "messages": [{"role": "user", "content": "hello"}]}
    assert counted == house.post("/v1/messages/count_tokens", alone).json()["input_tokens"] + 6_000
