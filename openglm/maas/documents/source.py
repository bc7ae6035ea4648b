"""The text that was read from a document, and where each part of it stands in the source.

Offsets are code points of the one text that is kept, so a citation is `text[start:end]` and nothing else.
Browsers count UTF-16 units: a program there converts.
"""

from __future__ import annotations

from dataclasses import dataclass

from openglm.errors import InvalidRequest

MAX_CHARS = 5_000_000  # of one document
MAX_PAGES = 3_000
MAX_ROWS = 100_000
MAX_HEADING = 200  # characters of one heading in a path


class DocumentRefused(InvalidRequest):
    """The document cannot be read, and trying again cannot help."""


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the text: a page, a row, or what stands below one heading. Pages and rows count from 1."""

    start: int
    end: int
    page: int | None = None
    row: int | None = None
    heading: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Source:
    """A document's text and its sections, in order, which do not overlap."""

    text: str
    sections: tuple[Section, ...]


class Draft:
    """Collects a Source part by part; each part ends with a newline that belongs to no section."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._sections: list[Section] = []
        self._length = 0
        self._heading: list[tuple[int, str]] = []

    @property
    def has_text(self) -> bool:
        return bool(self._sections)

    def head(self, level: int, title: str) -> None:
        """From here on parts stand below this heading."""
        self._heading = [entry for entry in self._heading if entry[0] < level]
        self._heading.append((level, " ".join(clean(title).split())[:MAX_HEADING]))

    def add(self, text: str, *, page: int | None = None, row: int | None = None) -> None:
        """A part that follows; blank ones are left out."""
        text = clean(text).strip("\n")
        if not text.strip():
            return
        start, end = self._length, self._length + len(text)
        if end > MAX_CHARS:
            raise DocumentRefused(
                f"the document must have at most {MAX_CHARS} characters of text, got more",
                code="document_too_long",
                hint="split it",
            )
        self._parts.append(text)
        self._length = end + 1
        heading = tuple(title for _, title in self._heading if title)
        last = self._sections[-1] if self._sections else None
        if last and (last.page, last.row, last.heading) == (page, row, heading):
            self._sections[-1] = Section(last.start, end, page, row, heading)
        else:
            self._sections.append(Section(start, end, page, row, heading))

    def source(self) -> Source:
        if not self._sections:
            raise DocumentRefused(
                "the document has no text",
                code="document_empty",
                hint="a scan has only pictures of text: recognise it first",
            )
        return Source("\n".join(self._parts), tuple(self._sections))


def clean(text: str) -> str:
    """Text that every database takes: no NUL, no half surrogate pairs, one kind of line end."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "")
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
