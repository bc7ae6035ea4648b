"""Pages of strangers: what is read from them, in which charset, and what is refused before it costs much."""

from __future__ import annotations

import asyncio
import time

import pytest

from openglm.maas.documents.html import MAX_HTML, read_html, read_page
from openglm.maas.documents.reading import Bounds, Manner, Showing, digest_apart, show_apart, told_by
from openglm.maas.documents.source import DocumentRefused

URL = "https://a.example/d/"
BOMB = b"<p>" + b"".join(b"<b i%d>" % number for number in range(190)) + b"<p>x" * 18_000


def shown(html: str, **how) -> str:
    return read_page(html.encode(), URL, **how).content


@pytest.mark.parametrize(
    ("html", "markdown", "plain"),
    [
        ("<h2>H</h2><p>1 <b>two</b>,<i> three </i>", "## H\n\n1 **two**, *three*", "H\n\n1 two, three"),
        ("before<ul><li>a<li><p>b</p></ul>after", "before\n\n- a\n- b\n\nafter", "before\n\na\nb\n\nafter"),
        ("<table><tr><th>n<th>m<tr><td>1<td>2</table>", "n | m\n1 | 2", "n\tm\n1\t2"),
        ("(see <a href=/x>this  one</a>)", "(see [this one](https://a.example/x))", "(see this one)"),
        ("<a href=/x><h3>Title</h3></a>", "### Title", "Title"),
        ("<pre>a\n  b</pre>c<br>d", "```\na\n  b\n```\n\nc\nd", "a\n  b\n\nc\nd"),
        ("<img src=i.png alt='a  b'>", "![a b](https://a.example/d/i.png)", ""),
        ("<form><p>kept</p><button>gone</button></form><nav>gone</nav>", "kept", "kept"),
        ("<b></b><p hidden>gone</p><b><p>x</p></b>", "x", "x"),
        ("<article>one</article><article>two</article>", "one\n\ntwo", "one\n\ntwo"),
        ("menu<main>what it is about</main>", "what it is about", "what it is about"),
    ],
)  # fmt: skip
def test_a_page_is_read_block_by_block(html, markdown, plain):
    assert shown(html) == markdown
    assert shown(html, markdown=False) == plain


def test_the_reader_and_the_knowledge_base_read_the_same_text():
    html = "<h1>Pump</h1><p>Forty <b>litres</b><h2>Filter</h2><ul><li>six<li>months</ul><pre>a\n b</pre>"
    source = read_html(html.encode())
    assert source.text.split("\n") == [line for line in shown(html, markdown=False).split("\n") if line]
    assert [section.heading for section in source.sections] == [("Pump",), ("Pump", "Filter")]


@pytest.mark.parametrize(
    "html", ["", "<", "<p>" * 5000 + "x", "<!--", "\0", "<td>" * 3000, "<table><tr><td>" * 190]
)
def test_broken_pages_are_read_as_far_as_they_go(html):
    shown(html)


@pytest.mark.parametrize("charset", ["gb2312", "big5", "shift_jis", "windows-1251", "utf-16"])
def test_a_page_is_read_in_the_charset_that_it_or_its_server_names(charset):
    text = "мир" if charset == "windows-1251" else "日中"
    by_server = read_page(f"<p>{text}".encode(charset), URL, charset)
    assert by_server.content == text
    if charset != "utf-16":
        by_itself = read_page(f"<meta charset={charset}><p>{text}".encode(charset), URL)
        assert by_itself.content == text


@pytest.mark.parametrize(
    "charset", ["punycode", "idna", "unicode_escape", "hex", "zip", "rot13", "\0", "none", ""]
)
def test_a_charset_that_no_page_is_written_in_is_not_used(charset):
    began = time.perf_counter()
    page = read_page(b"a-" + b"9" * 400_000, URL, charset)
    assert page.content.startswith("a-99")
    assert time.perf_counter() - began < 5


@pytest.mark.parametrize("content", [b"<div>" * 300_000, BOMB, b" " * (MAX_HTML + 1)])
def test_a_page_that_is_a_trap_is_refused_at_once(content):
    began = time.perf_counter()
    with pytest.raises(DocumentRefused):
        read_page(content, URL)
    assert time.perf_counter() - began < 5


def test_comments_without_an_end_take_no_longer_than_their_length():
    began = time.perf_counter()
    assert read_page(b"<p>x" + b"<!--" * 500_000, URL).content == "x"
    assert time.perf_counter() - began < 5


def test_what_slips_through_the_count_ends_with_its_process_and_not_with_ours():
    slips = b"<p>" + b"".join(b"<b i%d><img alt='</b>'>" % number for number in range(190)) + b"<p>x" * 60_000
    with pytest.raises(DocumentRefused, match="too much memory or time"):
        asyncio.run(show_apart(slips, Showing("html", URL), Bounds(60.0, 10, 600 << 20)))


def test_a_page_and_a_document_come_back_whole_from_the_process_that_reads_them():
    page = asyncio.run(show_apart(b"<title>T</title><p>x <a href=/y>y</a>", Showing("html", URL)))
    assert (page.title, page.content) == ("T", "x [y](https://a.example/y)")
    assert page.links == {"https://a.example/y": "y"}
    table = asyncio.run(show_apart(b"n,m\n1,2\n", Showing("csv", URL)))
    assert table.content == "n: 1; m: 2"
    digest = asyncio.run(digest_apart(b"<h1>Pump</h1><p>litres", Manner("html")))
    assert "litre" in digest.terms


def test_what_a_server_sends_is_known_by_its_type_else_by_its_name():
    assert told_by('text/html; charset="GBK"', "x") == ("html", "gbk")
    assert told_by("application/octet-stream", "https://a.example/b.pdf") == ("pdf", None)
    assert told_by("application/rss+xml", "https://a.example/feed") == ("text", None)
    with pytest.raises(DocumentRefused, match="image/png"):
        told_by("image/png", "https://a.example/b")
