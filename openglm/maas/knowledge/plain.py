"""Reading text, Markdown, CSV, JSON and HTML."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence

import msgspec

from openglm.maas.knowledge.source import MAX_ROWS, DocumentRefused, Draft, Source

MAX_COLUMNS = 512
MAX_BLANK = 2_000_000  # rows without a cell, which a stray cell far below brings along
MAX_HTML = 16 << 20  # bytes
MAX_OPEN = 512  # elements open at once; a browser stops at 512 too
MAX_ELEMENTS = 500_000
_HEADING = re.compile(r" {0,3}(#{1,6})[ \t]+(.*?)[ \t]*#*[ \t]*$")
_FENCE = re.compile(r" {0,3}(```+|~~~+)")
_CHARSET = re.compile(rb"""charset\s*=\s*["']?\s*([\w-]{1,40})""", re.I)
_BLOCKS = frozenset(
    [
        "address",
        "article",
        "aside",
        "blockquote",
        "body",
        "caption",
        "dd",
        "details",
        "div",
        "dl",
        "dt",
        "fieldset",
        "figcaption",
        "figure",
        "footer",
        "form",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "header",
        "hr",
        "li",
        "main",
        "nav",
        "ol",
        "p",
        "pre",
        "section",
        "summary",
        "table",
        "tbody",
        "tfoot",
        "thead",
        "tr",
        "ul",
    ]
)
_TAG = re.compile(rb"<(/?)([A-Za-z][A-Za-z0-9-]{0,40})")
_RAW = re.compile(rb"<!--.*?-->|<(script|style)\b.*?</\1", re.I | re.S)  # what a parser reads as text
_VOID = frozenset(b"area base br col embed hr img input link meta source track wbr".split())
_CLOSES_ITSELF = frozenset(b"p li dd dt tr td th option thead tbody tfoot".split())
_UNSEEN = ["script", "style", "noscript", "template", "svg", "iframe", "object"]


def decoded(content: bytes, named: str | None = None) -> str:
    """The text of bytes: by its mark, by the charset it names, UTF-8, or GB 18030, in this order."""
    for mark, charset in (
        (b"\xef\xbb\xbf", "utf-8-sig"),
        (b"\xff\xfe", "utf-16"),
        (b"\xfe\xff", "utf-16"),
    ):
        if content.startswith(mark):
            return content.decode(charset, "replace")
    for charset in filter(None, (named, "utf-8", "gb18030")):
        try:
            return content.decode(charset)
        except (LookupError, ValueError):
            continue
    raise DocumentRefused(
        "the text is neither UTF-8, UTF-16 nor GB 18030", code="document_encoding", hint="save it as UTF-8"
    )


def read_text(content: bytes) -> Source:
    text = decoded(content)
    if "\0" in text[:4096]:
        raise DocumentRefused("the file is not text: it holds NUL bytes", code="document_unreadable")
    draft = Draft()
    draft.add(text)
    return draft.source()


def read_markdown(content: bytes) -> Source:
    """The source as it is written; headings outside code make the sections."""
    draft, fence = Draft(), ""
    lines: list[str] = []
    for line in decoded(content).splitlines():
        mark = _FENCE.match(line)
        if mark and (not fence or mark[1].startswith(fence)):
            fence = "" if fence else mark[1]
        heading = None if fence else _HEADING.match(line)
        if heading:
            draft.add("\n".join(lines))
            lines = []
            draft.head(len(heading[1]), heading[2])
        lines.append(line)
    draft.add("\n".join(lines))
    return draft.source()


def read_csv(content: bytes) -> Source:
    text = decoded(content)
    first = text.partition("\n")[0]
    delimiter = max(",\t;|", key=first.count)
    draft = Draft()
    try:
        add_rows(draft, csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    except csv.Error as error:
        raise DocumentRefused(f"the table cannot be read: {error}", code="document_unreadable") from None
    return draft.source()


def add_rows(draft: Draft, rows: Iterable[Sequence[object]]) -> None:
    """Rows as `column: value` texts; the first row that is not blank names the columns."""
    names: list[str] | None = None
    filled = 0
    for number, row in enumerate(rows, 1):
        if filled > MAX_ROWS or number - filled > MAX_BLANK:
            raise DocumentRefused(
                f"a table must have at most {MAX_ROWS} rows, got more",
                code="document_too_long",
                hint="split it",
            )
        cells = [" ".join(str(cell).split()) if cell is not None else "" for cell in row[:MAX_COLUMNS]]
        if not any(cells):
            continue
        filled += 1
        if names is None:
            names = cells
            continue
        pairs = [(names[at] if at < len(names) else "", cell) for at, cell in enumerate(cells) if cell]
        draft.add("; ".join(f"{name}: {cell}" if name else cell for name, cell in pairs), row=number)
    if names and not draft.has_text:
        draft.add("; ".join(filter(None, names)), row=1)


def read_json(content: bytes) -> Source:
    """A list of objects, or an object on each line, as rows; any other JSON as it is written."""
    text = decoded(content)
    try:
        value: object = msgspec.json.decode(text)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        try:
            value = [msgspec.json.decode(line) for line in text.splitlines() if line.strip()]
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise DocumentRefused(
                f"the file is not valid JSON: {str(error)[:200]}", code="document_unreadable"
            ) from None
    draft = Draft()
    if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
        draft.add(text)
        return draft.source()
    if len(value) > MAX_ROWS:
        raise DocumentRefused(
            f"a list must have at most {MAX_ROWS} rows, got {len(value)}", code="document_too_long"
        )
    for number, row in enumerate(value, 1):
        pairs = [f"{name}: {_cell(cell)}" for name, cell in row.items() if cell not in (None, "")]
        draft.add("; ".join(pairs), row=number)
    return draft.source()


def _cell(value: object) -> str:
    return " ".join(value.split()) if isinstance(value, str) else msgspec.json.encode(value).decode()


def check_html(content: bytes) -> None:
    """Refuse what a parser would choke on: its time grows with the square of the depth.

    Counts tags as they are written, so unclosed ones count as open, which is how they are parsed.
    """
    if len(content) > MAX_HTML:
        raise DocumentRefused(
            f"an HTML file must have at most {MAX_HTML} bytes, got {len(content)}", code="document_too_long"
        )
    depth = count = 0
    open_tags: dict[bytes, int] = {}
    for match in _TAG.finditer(_RAW.sub(b"", content)):
        name = match[2].lower()
        if name in _VOID:
            continue
        if match[1]:
            if open_tags.get(name):
                open_tags[name] -= 1
                depth -= 1
            continue
        count += 1
        if name in _CLOSES_ITSELF:  # a second one ends the first
            continue
        open_tags[name] = open_tags.get(name, 0) + 1
        depth += 1
        if depth > MAX_OPEN or count > MAX_ELEMENTS:
            raise DocumentRefused(
                f"the page nests deeper than {MAX_OPEN} elements or has more than {MAX_ELEMENTS}",
                code="document_unsafe",
            )


def read_html(content: bytes) -> Source:
    """What a reader sees, block by block, below the headings."""
    from selectolax.lexbor import LexborHTMLParser

    check_html(content)
    charset = _CHARSET.search(content[:4096])
    tree = LexborHTMLParser(decoded(content, charset[1].decode() if charset else None))
    tree.strip_tags(_UNSEEN)
    draft = Draft()
    block, tag, pieces = 0, "", list[str]()

    def flush() -> None:
        text = "".join(pieces)
        text = text.strip("\n") if tag == "pre" else " ".join(text.split())
        if len(tag) == 2 and tag[0] == "h" and tag[1].isdigit() and text:
            draft.head(int(tag[1]), text)
        draft.add(text)
        pieces.clear()

    if tree.body is None:
        return draft.source()
    for node in tree.body.traverse(include_text=True):
        if node.tag != "-text":
            if node.tag in ("br", "td", "th"):
                pieces.append("\n" if node.tag == "br" else " ")
            continue
        parent = node.parent
        while parent is not None and parent.tag not in _BLOCKS:
            parent = parent.parent
        here = parent.mem_id if parent is not None else 0
        if here != block:
            flush()
            block, tag = here, (parent.tag or "") if parent is not None else ""
        pieces.append(node.text(deep=False) or "")
    flush()
    return draft.source()
