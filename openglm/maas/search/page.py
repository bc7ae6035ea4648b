"""A web page as text: title, description, markdown, images and links, from HTML that a stranger wrote.

Trees that nest without end take the parser quadratic time (300,000 open divs: minutes), so depth is counted
before anything is parsed. Scripts, styles and hidden parts are left out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin

from openglm.errors import InvalidRequest

MAX_HTML = 4 << 20
MAX_DEPTH = 200
_TAG = re.compile(r"<(/?)([a-zA-Z][^\s/>]*)")
_UNCOUNTED = frozenset(  # void elements, and those that the next one closes
    [
        "area",
        "base",
        "br",
        "col",
        "embed",
        "hr",
        "img",
        "input",
        "link",
        "meta",
        "source",
        "track",
        "wbr",
        "p",
        "li",
        "dt",
        "dd",
        "tr",
        "td",
        "th",
        "option",
        "tbody",
        "thead",
    ]
)
_DROPPED = frozenset(
    [
        "script",
        "style",
        "noscript",
        "template",
        "svg",
        "iframe",
        "head",
        "nav",
        "form",
        "button",
        "select",
        "object",
    ]
)
_BLOCKS = frozenset(
    [
        "p",
        "div",
        "section",
        "article",
        "main",
        "header",
        "footer",
        "aside",
        "ul",
        "ol",
        "table",
        "tr",
        "figure",
        "dl",
        "dt",
        "dd",
    ]
)


@dataclass
class Page:
    title: str = ""
    description: str = ""
    content: str = ""
    published: str = ""
    images: dict[str, str] = field(default_factory=dict)  # address to text
    links: dict[str, str] = field(default_factory=dict)


def too_deep(html: str) -> bool:
    """Whether tags are open inside one another past what any page needs. Linear."""
    depth = 0
    for close, name in _TAG.findall(html):
        if name.lower() not in _UNCOUNTED:
            depth = max(0, depth - 1) if close else depth + 1
            if depth > MAX_DEPTH:
                return True
    return False


def read_page(html: str, url: str, *, markdown: bool = True, images: bool = True) -> Page:
    """The page. With `markdown` headings, lists and links are marked; without, it is plain text."""
    from selectolax.lexbor import LexborHTMLParser

    if len(html) > MAX_HTML or too_deep(html):
        raise refused()
    tree = LexborHTMLParser(html)
    page = Page(title=_text(tree.css_first("title")))
    for meta in tree.css("meta"):
        name = (meta.attributes.get("name") or meta.attributes.get("property") or "").lower()
        value = (meta.attributes.get("content") or "").strip()
        if name in ("description", "og:description") and not page.description:
            page.description = value
        elif name in ("article:published_time", "date") and not page.published:
            page.published = value
    writer = _Writer(page, url, markdown, images)
    root = tree.css_first("article") or tree.css_first("main") or tree.body
    if root is not None:
        try:
            writer.walk(root)
        except RecursionError:  # tables in tables in tables
            raise refused() from None
    page.content = re.sub(r"\n{3,}", "\n\n", re.sub(r"[ \t]+\n", "\n", "".join(writer.parts))).strip()
    return page


def refused() -> InvalidRequest:
    return InvalidRequest(
        f"the page is larger than {MAX_HTML} characters or nests deeper than {MAX_DEPTH} elements",
        param="url",
        code="page_refused",
    )


def _text(node: Any) -> str:
    return " ".join(node.text().split()) if node is not None else ""


class _Writer:
    def __init__(self, page: Page, url: str, markdown: bool, images: bool):
        self.page, self.url, self.markdown, self.images = page, url, markdown, images
        self.parts: list[str] = []

    def walk(self, node: Any) -> None:
        child = node.child
        while child is not None:
            self._node(child)
            child = child.next

    def _node(self, node: Any) -> None:
        tag = node.tag
        if tag == "-text":
            raw = node.text() or ""
            text = " ".join(raw.split())
            self.parts.append(
                (" " if raw[:1].isspace() else "") + text + (" " if text and raw[-1:].isspace() else "")
            )
        elif tag in _DROPPED or "hidden" in node.attributes or tag.startswith(("-", "!", "_")):
            return
        elif tag == "a":
            self._link(node)
        elif tag == "img":
            self._image(node)
        elif tag == "pre":
            self.parts.append(
                f"\n\n```\n{node.text()}\n```\n\n" if self.markdown else f"\n\n{node.text()}\n\n"
            )
        elif tag in ("h1", "h2", "h3", "h4", "h5", "h6"):
            self._around("\n\n" + ("#" * int(tag[1]) + " " if self.markdown else ""), node, "\n\n")
        elif tag == "li":
            self._around("\n- " if self.markdown else "\n", node, "")
        elif tag == "br":
            self.parts.append("\n")
        elif tag in ("td", "th"):
            self._around("", node, " | " if self.markdown else "\t")
        elif tag in _BLOCKS:
            self._around("\n" if tag == "tr" else "\n\n", node, "" if tag == "tr" else "\n\n")
        else:
            mark = (
                {"strong": "**", "b": "**", "em": "*", "i": "*", "code": "`"}.get(tag, "")
                if self.markdown
                else ""
            )
            self._around(mark, node, mark)

    def _around(self, before: str, node: Any, after: str) -> None:
        self.parts.append(before)
        self.walk(node)
        self.parts.append(after)

    def _link(self, node: Any) -> None:
        target, text = self._address(node.attributes.get("href")), _text(node)
        if target and text:
            self.page.links.setdefault(target, text)
        linked = bool(target and text and self.markdown)
        self._around("[" if linked else "", node, f"]({target})" if linked else "")

    def _image(self, node: Any) -> None:
        source, text = self._address(node.attributes.get("src")), node.attributes.get("alt") or ""
        if source:
            self.page.images.setdefault(source, text)
            if self.images and self.markdown:
                self.parts.append(f"![{' '.join(text.split())}]({source})")

    def _address(self, written: str | None) -> str:
        """The full address, if it is one of the web."""
        try:
            full = urljoin(self.url, (written or "").strip())
        except ValueError:
            return ""
        return full if full.startswith(("http://", "https://")) and not re.search(r"[\s()<>]", full) else ""
