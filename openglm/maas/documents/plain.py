"""Reading text, Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence

import msgspec

from openglm.maas.documents.charsets import decoded
from openglm.maas.documents.source import MAX_ROWS, DocumentRefused, Draft, Source

MAX_COLUMNS = 512
MAX_BLANK = 2_000_000  # rows without a cell, which a stray cell far below brings along
_HEADING = re.compile(r" {0,3}(#{1,6})[ \t]+(.*?)[ \t]*#*[ \t]*$")
_FENCE = re.compile(r" {0,3}(```+|~~~+)")


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
