"""Search, tools and reader over HTTP: shapes, charges, and pages that mean harm."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from openglm.errors import OpenGLMError
from openglm.maas.identity.caller import Caller
from openglm.maas.limits import Limits
from openglm.maas.money import Bill
from openglm.maas.search import Hit, Reader
from openglm.maas.search.routes import routes

HTML = """<html><head><title> A  title </title><meta name=description content="About"></head>
<body><nav>menu</nav><article><h1>Head</h1><p>One <b>two</b> <a href="/x">three</a></p>
<ul><li>a<li>b</ul><script>alert(1)</script><img src="i.png" alt="pic"><a href="javascript:x">bad</a>
</article></body></html>"""


class Bench:
    """Counts what was charged."""

    def __init__(self) -> None:
        self.billed: list[str] = []
        self.search = self
        self.billing = self
        self.html, self.type = HTML, "text/html"

    def clock(self) -> int:
        return 7000

    async def caller(self, request, endpoint):
        return Caller(org_id="o", project_id="p", key_id="k", user_id=None)

    async def bill(self, ask):
        return Bill(self, ask)

    async def settle(self, hold, usage, **words):
        self.billed.append(hold.model)

    async def void(self, hold):
        self.billed.append("void")


class Engine:
    async def search(self, query):
        hit = Hit("T", "https://a.example", query.text, published_ms=0, images=("https://a.example/i",))
        return [hit] * query.count


def client_of(bench: Bench):
    from starlette.applications import Starlette
    from starlette.responses import JSONResponse
    from starlette.testclient import TestClient

    async def fetch(url, *, max_bytes, timeout_s):
        return SimpleNamespace(
            url=url, status=200, headers={"content-type": bench.type}, body=bench.html.encode()
        )

    def wrap(dialect, handler):
        async def answer(request):
            try:
                return await handler(request)
            except OpenGLMError as error:
                return JSONResponse({"kind": type(error).__name__}, 400)

        return answer

    platform = SimpleNamespace(
        caller=bench.caller,
        limits=Limits(None),  # no rules
        billing=bench,
        clock=bench.clock,
        search=Engine(),
        reader=Reader(fetch),
    )
    return TestClient(Starlette(routes=routes(platform, wrap)))


def test_a_search_answers_in_zhipus_shape_and_is_charged_once() -> None:
    bench = Bench()
    asked = {"search_engine": "search_pro", "search_query": "你好 world", "count": 2, "include_image": True}
    body = client_of(bench).post("/api/paas/v4/web_search", json=asked).json()
    assert body["search_intent"] == [
        {"query": "你好 world", "intent": "SEARCH_ALWAYS", "keywords": "你好 world"}
    ]
    assert [result["refer"] for result in body["search_result"]] == ["ref_1", "ref_2"]
    assert body["search_result"][0]["publish_date"] == "1970-01-01"
    assert body["search_result"][0]["images"] == ["https://a.example/i"]
    assert bench.billed == ["search_pro"]


def test_the_older_tools_route_answers_with_tool_calls() -> None:
    bench = Bench()
    asked = {"model": "web-search-pro", "messages": [{"role": "user", "content": "cats"}], "stream": None}
    body = client_of(bench).post("/api/paas/v4/tools", json=asked).json()
    calls = body["choices"][0]["message"]["tool_calls"]
    assert [call["type"] for call in calls] == ["search_intent", "search_result"]
    assert calls[1]["search_result"][0]["content"] == "cats"
    assert bench.billed == ["web-search-pro"]


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("web_search", {}),
        ("web_search", {"search_query": "x", "count": 51}),
        ("web_search", {"search_query": "x", "search_recency_filter": "ever"}),
        ("web_search", {"search_query": "x" * 1001}),
        ("tools", {"messages": []}),
        ("reader", {}),
    ],
)
def test_a_request_that_makes_no_sense_costs_nothing(path: str, asked: dict) -> None:
    bench = Bench()
    assert client_of(bench).post(f"/api/paas/v4/{path}", json=asked).json() == {"kind": "InvalidRequest"}
    assert bench.billed in ([], ["void"])


def test_a_page_is_read_as_markdown() -> None:
    bench = Bench()
    asked = {"url": "https://a.example/d/", "with_links_summary": True, "with_images_summary": True}
    result = client_of(bench).post("/api/paas/v4/reader", json=asked).json()["reader_result"]
    assert (result["title"], result["description"]) == ("A title", "About")
    assert result["content"].startswith("# Head\n\nOne **two** [three](https://a.example/x)")
    assert "- a\n- b" in result["content"]
    assert "alert" not in result["content"]
    assert "menu" not in result["content"]
    assert "javascript" not in result["content"]
    assert result["links"] == {"https://a.example/x": "three"}
    assert result["images"] == {"https://a.example/d/i.png": "pic"}
    assert bench.billed == ["reader"]


@pytest.mark.parametrize(
    "html", ["<div>" * 300_000, "<p>" + "".join(f"<b i{n}>" for n in range(190)) + "<p>x" * 18_000]
)
def test_a_page_that_is_a_trap_costs_nothing_and_holds_nobody_up(html: str) -> None:
    bench = Bench()
    bench.html = html
    asked = {"url": "https://a.example"}
    assert client_of(bench).post("/api/paas/v4/reader", json=asked).json() == {"kind": "DocumentRefused"}
    assert bench.billed == ["void"]


def test_a_file_at_an_address_is_read_by_its_type_and_a_picture_is_refused() -> None:
    bench = Bench()
    bench.html, bench.type = "n,m\n1,2\n", "text/csv"
    asked = {"url": "https://a.example/t"}
    read = client_of(bench).post("/api/paas/v4/reader", json=asked).json()["reader_result"]
    assert read["content"] == "n: 1; m: 2"
    bench.type = "image/png"
    assert client_of(bench).post("/api/paas/v4/reader", json=asked).json() == {"kind": "DocumentRefused"}
    assert bench.billed == ["reader", "void"]
