"""Reading a document in a process of its own, with limits on memory, processor time and wall time.

A parser that hangs or swallows memory ends with its process and not with ours. The child gets the file on
its standard input, and nothing of our environment but what Python needs; it cuts and indexes too, so that a
long document does not keep the loop's process busy. `digest` is the same without a process.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec

from openglm.maas.knowledge.pieces import Piece, cut
from openglm.maas.knowledge.source import DocumentRefused, Source
from openglm.maas.knowledge.terms import postings

MAX_BYTES = 100 << 20  # of one document, as documented
MEMORY_BYTES = 3 << 30  # of addresses, which is more than what is used
CPU_S = 120
WALL_S = 180.0
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
_ROOT = str(Path(__file__).parents[3])


class Manner(msgspec.Struct, frozen=True):
    """How a document is to be read and cut."""

    kind: str
    knowledge_type: int | None = None
    sentence_size: int | None = None
    separators: tuple[str, ...] = ("\n",)
    title: str = ""  # the document's name, whose words count as each chunk's


class Digest(msgspec.Struct, frozen=True):
    """A document as the index takes it in."""

    text: str
    pieces: list[Piece]
    terms: dict[str, bytes]
    lengths: bytes


class _Answer(msgspec.Struct):
    digest: Digest | None = None
    refused: str = ""
    code: str = ""


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


def read(content: bytes, kind: str) -> Source:
    """The text of a document. Anything that is wrong with it is DocumentRefused."""
    from openglm.maas.knowledge import office, plain

    readers: dict[str, Callable[[bytes], Source]] = {
        "pdf": office.read_pdf,
        "docx": office.read_docx,
        "xlsx": office.read_xlsx,
        "html": plain.read_html,
        "markdown": plain.read_markdown,
        "text": plain.read_text,
        "csv": plain.read_csv,
        "json": plain.read_json,
    }
    return readers[kind](content)


def digest(content: bytes, manner: Manner) -> Digest:
    try:
        source = read(content, manner.kind)
        pieces = cut(source, manner.knowledge_type, size=manner.sentence_size, separators=manner.separators)
        texts = [
            f"{manner.title}\n{piece.heading[:HEADING_CHARS]}\n{source.text[piece.start : piece.end]}"
            for piece in pieces
        ]
        terms, lengths = postings(texts)
    except RecursionError:
        raise DocumentRefused("the document nests too deep", code="document_unsafe") from None
    except MemoryError:
        raise DocumentRefused("the document needs too much memory", code="document_unsafe") from None
    return Digest(source.text, pieces, terms, lengths)


async def digest_apart(
    content: bytes, manner: Manner, *, wall_s: float = WALL_S, memory_bytes: int = MEMORY_BYTES
) -> Digest:
    """`digest` in a process of its own."""
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "openglm.maas.knowledge.reading", str(memory_bytes)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={**kept, "PYTHONPATH": _ROOT, "OPENBLAS_NUM_THREADS": "1", "PYTHONUTF8": "1"},
    )
    head = msgspec.json.encode(manner) + b"\n"
    try:
        async with asyncio.timeout(wall_s):
            output, _ = await process.communicate(head + content)
    except TimeoutError:
        raise DocumentRefused(
            f"reading the document took longer than {wall_s:g} s", code="document_unsafe"
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
    answer = await asyncio.to_thread(msgspec.msgpack.decode, output, type=_Answer)
    if answer.digest is None:
        raise DocumentRefused(answer.refused, code=answer.code)
    return answer.digest


def main() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]),) * 2)
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    manner = msgspec.json.decode(sys.stdin.buffer.readline(), type=Manner)
    content = sys.stdin.buffer.read(MAX_BYTES + 1)
    try:
        answer = _Answer(digest=digest(content, manner))
    except DocumentRefused as error:
        answer = _Answer(refused=str(error), code=error.code)
    sys.stdout.buffer.write(msgspec.msgpack.encode(answer))


if __name__ == "__main__":
    main()
