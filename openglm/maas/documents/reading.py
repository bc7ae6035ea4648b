"""Reading a document in a process of its own, with limits on memory, processor time and wall time.

A parser that hangs or swallows memory ends with its process and not with ours. The child gets the file on
its standard input, and nothing of our environment but what Python needs; it cuts and indexes too, so that a
long document does not keep the loop's process busy. `digest` and `show` are the same without a process.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from openglm.maas.documents.html import Page, read_page
from openglm.maas.documents.pieces import Piece, cut
from openglm.maas.documents.source import DocumentRefused, Source
from openglm.maas.documents.terms import postings

MAX_BYTES = 100 << 20  # of one document, as documented
HEADING_CHARS = 400  # of a heading path that are words of each chunk below it
KINDS = {
    "pdf": "pdf",
    "docx": "docx",
    "xlsx": "xlsx",
    "html": "html",
    "htm": "html",
    "md": "markdown",
    "markdown": "markdown",
    "txt": "text",
    "text": "text",
    "log": "text",
    "csv": "csv",
    "tsv": "csv",
    "json": "json",
    "jsonl": "json",
}
_TYPES = {
    "application/pdf": "pdf",
    "text/html": "html",
    "application/xhtml+xml": "html",
    "text/plain": "text",
    "text/markdown": "markdown",
    "text/csv": "csv",
    "application/json": "json",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
}
_ROOT = str(Path(__file__).parents[3])


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a child may take. Memory is of addresses, which is more than what is used."""

    wall_s: float
    cpu_s: int
    memory_bytes: int


FOR_DOCUMENTS = Bounds(180.0, 120, 3 << 30)
FOR_PAGES = Bounds(30.0, 20, 1 << 30)  # somebody waits for them


class Manner(msgspec.Struct, frozen=True, tag="digest"):
    """How a document is to be read and cut. `charset` is what its server said, if one did."""

    kind: str
    knowledge_type: int | None = None
    sentence_size: int | None = None
    separators: tuple[str, ...] = ("\n",)
    title: str = ""  # the document's name, whose words count as each chunk's
    charset: str | None = None


class Showing(msgspec.Struct, frozen=True, tag="show"):
    """How a page is to be shown; its links are complete by its address."""

    kind: str
    url: str = ""
    charset: str | None = None
    markdown: bool = True
    images: bool = True


class Digest(msgspec.Struct, frozen=True, tag="digest"):
    """A document as the index takes it in."""

    text: str
    pieces: list[Piece]
    terms: dict[str, bytes]
    lengths: bytes


class _Refusal(msgspec.Struct, tag="refusal"):
    reason: str
    code: str = "document_unsafe"
    hint: str | None = None


def kind_of(name: str) -> str:
    """The kind that a file's name says it is."""
    ending = name.rpartition(".")[2].lower() if "." in name else ""
    if ending not in KINDS:
        raise DocumentRefused(
            f"a document must be one of {', '.join(KINDS)}, got {name[-80:]!r}",
            code="document_kind",
            hint="convert it first",
        )
    return KINDS[ending]


async def text_apart(content: bytes, name: str) -> str:
    """The text of what a user attached, by its name; what has no known ending is read if it is text."""
    ending = name.rpartition(".")[2].lower() if "." in name else ""
    if ending not in KINDS:
        try:
            content.decode()
        except UnicodeDecodeError:
            kind_of(name)  # raises, with all that can be read
    return (await show_apart(content, Showing(KINDS.get(ending, "text")), FOR_DOCUMENTS)).content


def told_by(content_type: str, name: str) -> tuple[str, str | None]:
    """The kind and the charset of what a server sent, by its content type, else by the name."""
    media, _, more = content_type.lower().partition(";")
    media = media.strip()
    kind = _TYPES.get(media) or KINDS.get(name.rpartition(".")[2].lower())
    if kind is None and (media.startswith("text/") or media.endswith(("/xml", "+xml"))):
        kind = "text"
    if kind is None:
        raise DocumentRefused(
            f"what is at the URL must be text, HTML, PDF or an office file, got {media[:60]!r}",
            code="document_kind",
        )
    return kind, more.partition("charset=")[2].partition(";")[0].strip(" \"'")[:40] or None


def read(content: bytes, kind: str, charset: str | None = None) -> Source:
    """The text of a document. Anything that is wrong with it is DocumentRefused."""
    from openglm.maas.documents import html, office, plain

    readers: dict[str, Callable[[bytes], Source]] = {
        "pdf": office.read_pdf,
        "docx": office.read_docx,
        "xlsx": office.read_xlsx,
        "html": lambda page: html.read_html(page, charset),
        "markdown": plain.read_markdown,
        "text": plain.read_text,
        "csv": plain.read_csv,
        "json": plain.read_json,
    }
    return readers[kind](content)


def digest(content: bytes, manner: Manner) -> Digest:
    """The document's text, cut and indexed."""
    source = read(content, manner.kind, manner.charset)
    pieces = cut(source, manner.knowledge_type, size=manner.sentence_size, separators=manner.separators)
    texts = [
        f"{manner.title}\n{piece.heading[:HEADING_CHARS]}\n{source.text[piece.start : piece.end]}"
        for piece in pieces
    ]
    terms, lengths = postings(texts)
    return Digest(source.text, pieces, terms, lengths)


def show(content: bytes, showing: Showing) -> Page:
    """The document as a page of text."""
    if showing.kind != "html":
        return Page(read(content, showing.kind, showing.charset).text)
    return read_page(content, showing.url, showing.charset, markdown=showing.markdown, images=showing.images)


async def digest_apart(content: bytes, manner: Manner, bounds: Bounds = FOR_DOCUMENTS) -> Digest:
    """`digest` in a process of its own."""
    made = await _apart(content, manner, bounds)
    assert isinstance(made, Digest), "a manner gives a digest"
    return made


async def show_apart(content: bytes, showing: Showing, bounds: Bounds = FOR_PAGES) -> Page:
    """`show` in a process of its own."""
    made = await _apart(content, showing, bounds)
    assert isinstance(made, Page), "a showing gives a page"
    return made


async def _apart(content: bytes, job: Manner | Showing, bounds: Bounds) -> Digest | Page:
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    limits = (str(bounds.memory_bytes), str(bounds.cpu_s))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "openglm.maas.documents.reading", *limits),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={**kept, "PYTHONPATH": _ROOT, "OPENBLAS_NUM_THREADS": "1", "PYTHONUTF8": "1"},
    )
    head = msgspec.json.encode(job) + b"\n"
    try:
        async with asyncio.timeout(bounds.wall_s):
            output, _ = await process.communicate(head + content)
    except TimeoutError:
        raise DocumentRefused(
            f"reading the document took longer than {bounds.wall_s:g} s", code="document_unsafe"
        ) from None
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await asyncio.shield(process.wait())
    if process.returncode != 0:
        raise DocumentRefused(
            "reading the document needed too much memory or time, or broke the reader", code="document_unsafe"
        )
    answer = await asyncio.to_thread(msgspec.msgpack.decode, output, type=Digest | Page | _Refusal)
    if isinstance(answer, _Refusal):
        raise DocumentRefused(answer.reason, code=answer.code, hint=answer.hint)
    return answer


def main() -> None:
    import resource

    memory_bytes, cpu_s = map(int, sys.argv[1:])
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes,) * 2)
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    job = msgspec.json.decode(sys.stdin.buffer.readline(), type=Manner | Showing)
    content = sys.stdin.buffer.read(MAX_BYTES + 1)
    answer: Digest | Page | _Refusal
    try:
        answer = digest(content, job) if isinstance(job, Manner) else show(content, job)
    except RecursionError:
        answer = _Refusal("the document nests too deep")
    except MemoryError:
        answer = _Refusal("the document needs too much memory")
    except DocumentRefused as error:
        answer = _Refusal(error.message, error.code, error.hint)
    sys.stdout.buffer.write(msgspec.msgpack.encode(answer))


if __name__ == "__main__":
    main()
