"""HTML as a reader sees it: block by block below its headings, or as one text with links and images.

A tree can be far larger than the page that makes it: what nests takes a parser quadratic time, and formatting
that is never closed is repeated in each block that follows. So tags are counted as they are written before
anything is parsed, and what slips through meets the limits of the process that reads. Scripts, styles, menus,
controls and hidden parts are left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urljoin

import msgspec

from openglm.maas.documents.charsets import decoded
from openglm.maas.documents.source import MAX_CHARS, DocumentRefused, Draft, Source

MAX_HTML = 16 << 20  # bytes
MAX_OPEN = 512  # elements open at once; a browser stops at 512 too
MAX_ELEMENTS = 500_000
MAX_REPEATED = 2_000_000  # elements, if each tag repeats the formatting that is open


def _tags(text: str) -> frozenset[str]:
    return frozenset(text.split())


_CHARSET = re.compile(rb"""charset\s*=\s*["']?\s*([\w-]{1,40})""", re.I)
_TAG = re.compile(r"<(/?)([A-Za-z][A-Za-z0-9-]{0,40})")
_RAW = re.compile(  # what a parser reads as text; what is never closed reaches to the end
    r"<!--(?:.*?-->|.*\Z)|<(script|style|textarea|title|xmp|iframe|noembed|noframes)\b(?:.*?</\1|.*\Z)",
    re.I | re.S,
)
_VOID = _tags("area base br col embed hr img input link meta source track wbr")
_CLOSES_ITSELF = _tags("p li dd dt tr td th option thead tbody tfoot")
_FORMATTING = _tags("a b big code em font i nobr s small strike strong tt u")
_UNSEEN = _tags("head script style noscript template svg iframe object nav button select textarea")
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_BLOCKS = _HEADINGS.keys() | _tags(
    "address article aside blockquote body caption dd details div dl dt fieldset figcaption figure footer"
    " form header hr li main ol p section summary table tbody tfoot thead tr ul"
)
_RUNS = ("li", "tr")  # blocks that follow one another without a blank line
_CELL = "\x1f"  # between cells of a row; whitespace to `re`, so no text of a page holds it
_PICTURE = re.compile(r"!\[(.*?)\]\(.*?\)")
_MARKS = {"strong": "**", "b": "**", "em": "*", "i": "*", "code": "`"}


class Page(msgspec.Struct, tag="page"):
    """A page as the reader tool shows it; of other documents the text alone."""

    content: str
    title: str = ""
    description: str = ""
    published: str = ""
    images: dict[str, str] = {}  # address to text
    links: dict[str, str] = {}


def read_html(content: bytes, charset: str | None = None) -> Source:
    """The whole page as a document, by its headings."""
    tree = parsed(content, charset)
    draft = Draft()
    if tree.body is not None:
        writer = _Writer("", markdown=False, images=False)
        writer.walk(tree.body)
        for tag, text in writer.blocks:
            if level := _HEADINGS.get(tag):
                draft.head(level, text)
            draft.add(text)
    return draft.source()


def read_page(
    content: bytes, url: str, charset: str | None = None, *, markdown: bool = True, images: bool = True
) -> Page:
    """What the page is about. With `markdown` headings, lists, links and images are marked."""
    tree = parsed(content, charset)
    page = Page("", title=_words(tree.css_first("title")))
    for meta in tree.css("meta"):
        name = (meta.attributes.get("name") or meta.attributes.get("property") or "").lower()
        value = (meta.attributes.get("content") or "").strip()
        if name in ("description", "og:description") and not page.description:
            page.description = value
        elif name in ("article:published_time", "date") and not page.published:
            page.published = value
    writer = _Writer(url, markdown=markdown, images=images)
    root = _one(tree, "main") or _one(tree, "article") or tree.body
    if root is not None:
        writer.walk(root)
    page.content = _joined(writer.blocks, markdown)
    page.images, page.links = writer.images, writer.links
    return page


def _joined(blocks: list[tuple[str, str]], markdown: bool) -> str:
    texts, last = [], ""
    for tag, text in blocks:
        texts.append("\n" if tag == last and tag in _RUNS else "\n\n")
        texts.append("#" * _HEADINGS.get(tag, 0) + " " * (tag in _HEADINGS) if markdown else "")
        texts.append(text)
        last = tag
    return "".join(texts).strip()


def parsed(content: bytes, charset: str | None) -> Any:
    """The tree of a page that was counted first."""
    from selectolax.lexbor import LexborHTMLParser

    if len(content) > MAX_HTML:
        raise DocumentRefused(
            f"an HTML file must have at most {MAX_HTML} bytes, got {len(content)}", code="document_too_long"
        )
    named = _CHARSET.search(content[:4096])
    text = decoded(content, charset or (named[1].decode() if named else None), otherwise="cp1252")
    check(text)
    return LexborHTMLParser(text)


def check(html: str) -> None:
    """Refuse what a parser would choke on. Unclosed tags count as open, which is how they are parsed."""
    depth = count = repeated = formatting = 0
    open_tags: dict[str, int] = {}
    for match in _TAG.finditer(_RAW.sub("", html)):
        name = match[2].lower()
        if match[1]:
            if open_tags.get(name):
                open_tags[name] -= 1
                depth -= 1
                formatting -= name in _FORMATTING
            continue
        count += 1
        repeated += 1 + formatting
        if name not in _VOID and name not in _CLOSES_ITSELF:  # of these a second one ends the first
            open_tags[name] = open_tags.get(name, 0) + 1
            depth += 1
            formatting += name in _FORMATTING
        if depth > MAX_OPEN or count > MAX_ELEMENTS or repeated > MAX_REPEATED:
            raise DocumentRefused(
                f"the page nests deeper than {MAX_OPEN} elements, or makes more than {MAX_ELEMENTS} of them",
                code="document_unsafe",
            )


class _Writer:
    """Walks a tree and collects its blocks: the tag that made each, and its text on lines of its own."""

    def __init__(self, url: str, *, markdown: bool, images: bool):
        self._url, self._markdown, self._images = url, markdown, images
        self.blocks: list[tuple[str, str]] = []
        self.images: dict[str, str] = {}
        self.links: dict[str, str] = {}
        self._parts: list[str] = []  # of the block that is being read
        self._ended = 0  # blocks, blank ones too
        self._bullet = False  # the next block is the first of a list's item
        self._size = 0

    def walk(self, root: Any) -> None:
        """Without recursion: pages nest deeper than Python's stack."""
        above: list[tuple[Any, Callable[[], None]]] = []
        node = root.child
        while node is not None or above:
            if node is None:
                node, close = above.pop()
                close()
            elif (ending := self._open(node)) is not None:
                above.append((node, ending))
                node = node.child
                continue
            node = node.next
        self._end_block("")

    def _open(self, node: Any) -> Callable[[], None] | None:
        """Begin an element; gives what ends it, or None where nothing below it is to be read."""
        tag = node.tag
        if tag == "-text":
            self._parts.append(re.sub(r"\s+", " ", node.text() or ""))
        elif tag == "br":
            self._parts.append("\n")
        elif tag[:1] in "-!_" or tag in _UNSEEN or "hidden" in node.attributes:
            pass
        elif tag == "img":
            self._image(node)
        elif tag == "pre":
            self._end_block("")
            text = (node.text() or "").strip("\n")
            self._add(tag, f"```\n{text}\n```" if self._markdown else text)
        elif tag == "a":
            return self._link(self._address(node.attributes.get("href")))
        elif tag in ("td", "th"):
            return lambda: self._parts.append(_CELL)
        elif tag in _BLOCKS:
            self._end_block("")
            self._bullet |= tag == "li"
            return lambda: self._end_block(tag)
        else:
            return self._emphasis(_MARKS.get(tag, "") if self._markdown else "")
        return None

    def _end_block(self, tag: str) -> None:
        """What was written since the last block is one, if it is anything."""
        lines = "".join(self._parts).strip(f" \n{_CELL}").split("\n")
        self._parts.clear()
        self._ended += 1
        text = "\n".join(re.sub(" {2,}", " ", line).strip(" ") for line in lines)
        if text:
            text = re.sub(f" *{_CELL} *", " | " if self._markdown else "\t", text)
            if self._bullet and tag not in _HEADINGS:
                tag, text = "li", f"- {text}" if self._markdown else text
            self._add(tag, text)
        self._bullet &= tag != "li"

    def _add(self, tag: str, text: str) -> None:
        self._take(text)
        self.blocks.append((tag, text))
        self._bullet = False

    def _take(self, *texts: str) -> None:
        self._size += sum(map(len, texts))
        if self._size > MAX_CHARS:
            raise DocumentRefused(
                f"the page must have at most {MAX_CHARS} characters of text and addresses, got more",
                code="document_too_long",
            )

    def _emphasis(self, mark: str) -> Callable[[], None]:
        """Marks around what stands in one block."""
        block, at = self._ended, len(self._parts)

        def end() -> None:
            written = "".join(self._parts[at:]) if mark and block == self._ended else ""
            if text := written.strip():
                self._parts[at:] = [written.replace(text, f"{mark}{text}{mark}", 1)]

        return end

    def _link(self, target: str) -> Callable[[], None]:
        block, at, first = self._ended, len(self._parts), len(self.blocks)

        def end() -> None:
            inside = block == self._ended
            written = "".join(self._parts[at if inside else 0 :])
            words = " ".join(" ".join([*(text for _, text in self.blocks[first:]), written]).split())
            if not target or not words:
                return
            if target not in self.links:
                self.links[target] = _PICTURE.sub(r"\1", words)
                self._take(target, words)
            if inside and self._markdown:
                self._parts[at:] = [written.replace(written.strip(), f"[{words}]({target})", 1)]

        return end

    def _image(self, node: Any) -> None:
        source = self._address(node.attributes.get("src"))
        text = " ".join((node.attributes.get("alt") or "").split())
        if source:
            if source not in self.images:
                self.images[source] = text
                self._take(source, text)
            if self._images and self._markdown:
                self._parts.append(f"![{text}]({source})")

    def _address(self, written: str | None) -> str:
        """The full address, if it is one of the web."""
        try:
            full = urljoin(self._url, (written or "").strip())
        except ValueError:
            return ""
        return full if full.startswith(("http://", "https://")) and not re.search(r"[\s()<>]", full) else ""


def _one(tree: Any, tag: str) -> Any:
    """The only element of a kind: of several, none is what the page is about."""
    found = tree.css(tag)
    return found[0] if len(found) == 1 else None


def _words(node: Any) -> str:
    return " ".join(node.text().split()) if node is not None else ""
