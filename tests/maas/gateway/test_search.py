"""The search tools of a platform as it comes: free, and answering from what its operator added."""

from __future__ import annotations

import asyncio
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from openglm.cli import run
from tests.maas.gateway.conftest import House


@pytest.fixture
def page():
    """A page of the operator's own network."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(
                "<title>Tides</title><meta property=article:published_time content=2026-01-02>"
                "<main>月亮 makes the tides.</main>".encode()
            )

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/tides"
    server.shutdown()
    server.server_close()


def admin(house: House, *words: str) -> int:
    return run(["admin", "search", *words, "--data", str(house.platform.settings.data)])


def test_what_an_operator_adds_is_found_by_every_tool_at_no_price(
    house: House, page, tmp_path, monkeypatch, capsys
):
    if house.platform.settings.database_url:
        monkeypatch.setenv("OPENGLM_DATABASE_URL", house.platform.settings.database_url)
    folder = tmp_path / "manuals"
    (folder / "pumps").mkdir(parents=True)
    (folder / "pumps" / "p1.md").write_text("# Pump\n\nThe pump makes 42 litres a minute.\n")
    (folder / "notes.bin").write_bytes(b"\0")
    before = house.balance()
    assert admin(house, "add", str(folder), page, "--base", "https://wiki.example/") == 0, capsys.readouterr()
    for engine, query, link in (
        ("search_std", "litres of the pump", "https://wiki.example/pumps/p1.md"),
        ("search_pro", "月亮", page),
    ):
        sent = {"search_engine": engine, "search_query": query}
        answer = house.post("/api/paas/v4/web_search", sent)
        assert answer.status_code == 200, answer.text
        assert [one["link"] for one in answer.json()["search_result"]] == [link]
    assert answer.json()["search_result"][0]["publish_date"] == "2026-01-02"
    older = {"model": "web-search-pro", "messages": [{"role": "user", "content": "litres"}]}
    assert "42 litres" in house.post("/api/paas/v4/tools", older).text
    tool = {"type": "web_search", "web_search": {"enable": True, "search_result": True}}
    chat = {"model": "glm", "messages": [{"role": "user", "content": "litres"}], "tools": [tool]}
    assert "wiki.example" in house.post("/api/paas/v4/chat/completions", chat).text
    assert {row["cost_nano"] for row in house.usage() if row["kind"] == "tool"} == {0}
    assert house.balance() <= before
    capsys.readouterr()
    assert admin(house, "list") == 0
    assert "wiki.example/pumps/p1.md" in capsys.readouterr().out
    assert admin(house, "remove", page) == 0
    assert admin(house, "remove", page) == 1
    gone = house.post("/api/paas/v4/web_search", {"search_engine": "search_std", "search_query": "月亮"})
    assert gone.json()["search_result"] == []


def test_a_price_that_was_set_for_a_tool_is_the_one_that_counts(house: House):
    asyncio.run(
        house.platform.prices.set_per_million("search_std", uncached="0", output="0", per_call="0.01")
    )
    before = house.balance()
    sent = {"search_engine": "search_std", "search_query": "x"}
    assert house.post("/api/paas/v4/web_search", sent).status_code == 200
    assert before - house.balance() == 10_000_000


def test_what_cannot_be_added_is_said(house: House, tmp_path, monkeypatch, capsys):
    if house.platform.settings.database_url:
        monkeypatch.setenv("OPENGLM_DATABASE_URL", house.platform.settings.database_url)
    (tmp_path / "a.exe").write_bytes(b"x")
    for wrong, told in (
        ([], "nothing to add"),
        ([str(tmp_path / "none.md")], "none.md"),
        ([str(tmp_path / "a.exe")], "a.exe"),
    ):
        assert admin(house, "add", *wrong) != 0
        assert told in capsys.readouterr().err
