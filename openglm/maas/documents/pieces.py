"""Cutting a document's text into chunks, each an exact span of it.

How is the caller's choice, by the official numbers: 1 below headings, 2 a question with its answer, 3 row by
row, 5 at separators of one's own, 6 page by page, 7 a table as one. Nothing is rewritten: a chunk's text is
`text[start:end]`, without blanks at its ends. Long parts are cut where a paragraph, else a sentence, ends.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from openglm.maas.documents.source import DocumentRefused, Section, Source

HEADING, QUESTIONS, ROWS, CUSTOM, PAGE, SINGLE = 1, 2, 3, 5, 6, 7
TYPES = (HEADING, QUESTIONS, ROWS, CUSTOM, PAGE, SINGLE)
SENTENCE_SIZE = 300  # characters of a chunk of type 5, as documented
MIN_SIZE, MAX_SIZE = 20, 2000
HEADING_SIZE = 600  # characters of a chunk below a heading; not measured
WHOLE_SIZE = 4000  # characters of a page, a row or an answer, which stay whole up to here
MAX_CHUNKS = 120_000
_ENDS = (  # where to cut, the best first
    re.compile(r"\n\s*\n"),
    re.compile(r"\n"),
    re.compile(r"[。！？；…]+[”’」』）]*|[.!?;]+[\"')\]]*(?=\s)"),
    re.compile(r"[，、：]|[,:](?=\s)"),
    re.compile(r"\s"),
)
_MARKED = re.compile(
    r"^[ \t]*(?:\d{1,4}[.、)]\s*)?(?:Q|Question|问题?|提问)\s*\d{0,4}\s*[:：.、]", re.M | re.I
)
_ASKED = re.compile(r"^[^\n]{2,200}[?？][ \t]*$", re.M)


@dataclass(frozen=True, slots=True)
class Piece:
    """One chunk: where it stands in the text, and in the document."""

    start: int
    end: int
    page: int | None = None
    row: int | None = None
    heading: str = ""  # the titles above it, outermost first


def cut(
    source: Source,
    knowledge_type: int | None = None,
    *,
    size: int | None = None,
    separators: Sequence[str] = ("\n",),
) -> list[Piece]:
    """The chunks, in order, without overlap. No type: rows for tables, headings for the rest."""
    if knowledge_type is None:
        knowledge_type = ROWS if any(section.row for section in source.sections) else HEADING
    size = size or (SENTENCE_SIZE if knowledge_type == CUSTOM else HEADING_SIZE)
    pieces: list[Piece] = []
    for section, spans in _parts(source, knowledge_type, size, separators):
        for start, end in spans:
            trimmed = _trimmed(source.text, start, end)
            if trimmed:
                pieces.append(Piece(*trimmed, section.page, section.row, " > ".join(section.heading)))
        if len(pieces) > MAX_CHUNKS:
            raise DocumentRefused(
                f"the document must give at most {MAX_CHUNKS} chunks, got more",
                code="document_too_long",
                hint="split it, or choose a larger sentence_size",
            )
    return pieces


def _parts(
    source: Source, knowledge_type: int, size: int, separators: Sequence[str]
) -> Iterator[tuple[Section, Iterator[tuple[int, int]]]]:
    text = source.text
    if knowledge_type == SINGLE:
        for section in _merged(source, by_heading=True):
            yield section, _packed(text, section.start, section.end, WHOLE_SIZE)
    elif knowledge_type == PAGE:
        for section in _merged(source, by_heading=False):
            yield section, _packed(text, section.start, section.end, WHOLE_SIZE)
    elif knowledge_type == CUSTOM:
        found = re.compile("|".join(re.escape(mark) for mark in separators if mark) or "\n")
        for section in source.sections:
            yield section, _separated(text, section, found, size)
    elif knowledge_type == QUESTIONS:
        for section in _merged(source, by_heading=False):
            yield section, _answers(text, section, size)
    else:
        most = WHOLE_SIZE if knowledge_type == ROWS else size
        for section in source.sections:
            yield section, _packed(text, section.start, section.end, WHOLE_SIZE if section.row else most)


def _merged(source: Source, *, by_heading: bool) -> Iterator[Section]:
    """Neighbours of one page, and of one sheet or heading, as one; other than in a PDF a page is a text."""
    run: list[Section] = []
    for section in source.sections:
        if run and (
            section.page != run[0].page or (by_heading and section.heading[:1] != run[0].heading[:1])
        ):
            yield _joined(run)
            run = []
        run.append(section)
    if run:
        yield _joined(run)


def _joined(run: Sequence[Section]) -> Section:
    same = all(section.heading == run[0].heading for section in run)
    row = run[0].row if len(run) == 1 else None
    return Section(run[0].start, run[-1].end, run[0].page, row, run[0].heading if same else ())


def _packed(text: str, start: int, end: int, size: int) -> Iterator[tuple[int, int]]:
    """The span in parts of at most `size` characters, cut at the best place of the second half."""
    while end - start > size:
        at = _break(text, start + size // 2, start + size) or start + size
        yield start, at
        start = at
    if start < end:
        yield start, end


def _break(text: str, low: int, high: int) -> int | None:
    for ending in _ENDS:
        last = None
        for match in ending.finditer(text, low, high):
            last = match.end()
        if last is not None:
            return last
    return None


def _separated(text: str, section: Section, mark: re.Pattern[str], size: int) -> Iterator[tuple[int, int]]:
    """Cut at the marks; short neighbours share a chunk as far as they fit."""
    start = at = section.start
    for match in mark.finditer(text, section.start, section.end):
        if match.end() - start > size and at > start:
            yield from _packed(text, start, at, size)
            start = at
        at = match.end()
    if section.end - start > size and at > start:
        yield from _packed(text, start, at, size)
        start = at
    yield from _packed(text, start, section.end, size)


def _answers(text: str, section: Section, size: int) -> Iterator[tuple[int, int]]:
    """From each question to the next; what stands before the first is cut like any text."""
    starts = [match.start() for match in _MARKED.finditer(text, section.start, section.end)]
    if not starts:
        starts = [match.start() for match in _ASKED.finditer(text, section.start, section.end)]
    yield from _packed(text, section.start, starts[0] if starts else section.end, size)
    for start, end in zip(starts, [*starts[1:], section.end], strict=True):
        yield from _packed(text, start, end, WHOLE_SIZE)


def _trimmed(text: str, start: int, end: int) -> tuple[int, int] | None:
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return (start, end) if start < end else None
