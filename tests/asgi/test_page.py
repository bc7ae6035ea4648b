"""The page's addresses and headers: a place is the page, told its root; frames have a policy of their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from openglm.asgi import Running
from openglm.asgi.page import PLACES, create_page

SCRIPT = "export const one = 1;\n" * 100


@pytest.fixture
def client(tmp_path: Path) -> Iterator[httpx.Client]:
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_text("<!doctype html><head><title>x</title></head>")
    (tmp_path / "frame.html").write_text("<!doctype html><title>frame</title>")
    (tmp_path / "assets" / "a-1234.js").write_text(SCRIPT)
    (tmp_path / "assets" / "a-1234.woff2").write_bytes(b"font")
    app = Starlette(routes=[Mount("/", create_page(tmp_path))])
    app.state.stop = lambda: None
    with Running(app) as url, httpx.Client(base_url=url) as client:
        yield client


@pytest.mark.parametrize(
    ("path", "root"),
    [("/", "./"), ("/setup", "./"), ("/chat/conv_1", "../"), ("/console/requests/req_1", "../../")],
)
def test_every_place_is_the_page_with_its_root_as_base(client: httpx.Client, path: str, root: str) -> None:
    answer = client.get(path, params={"token": "x"})
    assert answer.status_code == 200
    assert f'<base href="{root}" />' in answer.text
    assert answer.headers["cache-control"] == "no-cache"


def test_the_places_are_the_first_parts_of_the_apps_addresses() -> None:
    routes = (Path(__file__).parents[2] / "web/src/app/routes.ts").read_text(encoding="utf-8")
    assert all(f'"{place}' in routes for place in PLACES)


@pytest.mark.parametrize("path", ["/elsewhere", "/chats", "/assets/none.js", "/%2e%2e/page.py"])
def test_other_addresses_are_files_or_nothing(client: httpx.Client, path: str) -> None:
    assert client.get(path).status_code == 404


def test_a_place_is_read_and_not_written_to(client: httpx.Client) -> None:
    assert client.post("/setup").status_code == 405
    assert client.head("/chat/conv_1").status_code == 200


def test_the_page_runs_our_scripts_alone_and_is_framed_by_nobody(client: httpx.Client) -> None:
    policy = client.get("/chat/conv_1").headers["content-security-policy"]
    assert "unsafe" not in policy
    assert {"script-src 'self'", "connect-src 'self'", "frame-ancestors 'none'"} <= set(policy.split("; "))


def test_what_a_model_wrote_runs_without_an_origin_and_a_network(client: httpx.Client) -> None:
    frame = client.get("/frame.html")
    rules = set(frame.headers["content-security-policy"].split("; "))
    assert {
        "sandbox allow-scripts",
        "default-src 'none'",
        "connect-src 'none'",
        "form-action 'none'",
    } <= rules
    assert "frame-ancestors 'self'" in rules
    script = client.get("/assets/a-1234.js")
    assert script.headers["access-control-allow-origin"] == "*"  # a frame without an origin may load it
    assert "immutable" in script.headers["cache-control"]
    assert "access-control-allow-origin" not in frame.headers


def test_scripts_go_out_gzipped_to_whoever_takes_that(client: httpx.Client) -> None:
    plain = client.get("/assets/a-1234.js", headers={"accept-encoding": "identity"})
    first, again = (
        client.get("/assets/a-1234.js", headers={"accept-encoding": "gzip, br"}) for _ in range(2)
    )
    assert "content-encoding" not in plain.headers
    assert first.headers["content-encoding"] == again.headers["content-encoding"] == "gzip"
    assert int(first.headers["content-length"]) < len(SCRIPT) / 10
    assert plain.text == first.text == again.text == SCRIPT
    for answer in (plain, first):
        assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
        assert "immutable" in answer.headers["cache-control"]
        assert answer.headers["vary"] == "accept-encoding"
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_fonts_and_parts_of_files_come_as_they_are(client: httpx.Client) -> None:
    assert "content-encoding" not in client.get("/assets/a-1234.woff2").headers
    part = client.get("/assets/a-1234.js", headers={"range": "bytes=0-5"})
    assert (part.status_code, part.text) == (206, SCRIPT[:6])
    assert "content-encoding" not in part.headers
