"""Reading PDF, Word and Excel files, which may be broken, locked, or made to do harm.

Zip files are judged by the sizes they announce, which the reader then holds them to; XML with a DTD is
refused before any other parser sees it.
"""

from __future__ import annotations

import io
import re
import zipfile
from typing import Any

from openglm.maas.documents.plain import add_rows
from openglm.maas.documents.source import MAX_PAGES, DocumentRefused, Draft, Source

MAX_ENTRIES = 5_000
MAX_UNPACKED = 256 << 20
MAX_RATIO = 250  # XML of a real sheet shrinks to a hundredth at most
_HEADING = re.compile(r"(?:heading|标题)\s*([1-9])$", re.I)


def read_pdf(content: bytes) -> Source:
    import pypdf
    from pypdf.errors import DependencyError, PyPdfError

    draft = Draft()
    try:
        reader = pypdf.PdfReader(io.BytesIO(content))
        if reader.is_encrypted and not reader.decrypt(""):
            raise DocumentRefused(
                "the PDF is locked with a password", code="document_locked", hint="save it without one"
            )
        if len(reader.pages) > MAX_PAGES:
            raise DocumentRefused(
                f"a PDF must have at most {MAX_PAGES} pages, got {len(reader.pages)}",
                code="document_too_long",
                hint="split it",
            )
        for number, page in enumerate(reader.pages, 1):
            draft.add(page.extract_text(), page=number)
    except DependencyError:
        raise DocumentRefused(
            "the PDF is locked in a way that cannot be opened here", code="document_locked"
        ) from None
    except DocumentRefused:
        raise
    except (PyPdfError, ValueError, KeyError, IndexError, TypeError, AttributeError, OverflowError) as error:
        raise _broken("PDF", error) from None
    return draft.source()


def read_docx(content: bytes) -> Source:
    import docx
    from docx.oxml.exceptions import InvalidXmlError
    from docx.table import Table

    check_zip(content, "word/")
    draft = Draft()
    try:
        for block in docx.Document(io.BytesIO(content)).iter_inner_content():
            if isinstance(block, Table):
                for row in block.rows:
                    draft.add(" | ".join(_cells(row)))
                continue
            style = (block.style.name or "") if block.style is not None else ""
            heading = _HEADING.match(style)
            if (heading or style == "Title") and block.text.strip():
                draft.head(int(heading[1]) if heading else 0, block.text)
            draft.add(block.text)
    except (InvalidXmlError, KeyError, ValueError, AttributeError, TypeError, IndexError) as error:
        raise _broken("Word file", error) from None
    return draft.source()


def _cells(row: Any) -> list[str]:
    """A merged cell once."""
    found: list[str] = []
    last = None
    for cell in row.cells:
        if cell._tc is not last:
            found.append(" ".join(cell.text.split()))
        last = cell._tc
    return found


def read_xlsx(content: bytes) -> Source:
    import openpyxl

    check_zip(content, "xl/")
    draft = Draft()
    try:
        book = openpyxl.load_workbook(io.BytesIO(content), read_only=True, data_only=True, keep_links=False)
        for sheet in book.worksheets:
            draft.head(1, sheet.title)
            add_rows(draft, sheet.iter_rows(values_only=True, max_col=512))
        book.close()
    except DocumentRefused:
        raise
    except (KeyError, ValueError, AttributeError, TypeError, IndexError, OverflowError) as error:
        raise _broken("Excel file", error) from None
    return draft.source()


def check_zip(content: bytes, folder: str) -> None:
    """Refuse bombs, locked files, XML with a DTD, and what is no file of this kind."""
    from xml.sax import SAXException
    from xml.sax.handler import ContentHandler

    import defusedxml
    import defusedxml.sax

    if content.startswith(b"\xd0\xcf\x11\xe0"):  # an OLE file: an old format, or a new one locked
        raise DocumentRefused(
            "the file is locked with a password, or of the format before 2007",
            code="document_locked",
            hint="save it as .docx or .xlsx without a password",
        )
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = archive.infolist()
            unpacked = sum(entry.file_size for entry in entries)
            if len(entries) > MAX_ENTRIES or unpacked > MAX_UNPACKED:
                raise _bomb(f"{len(entries)} parts of {unpacked} bytes")
            for entry in entries:
                if entry.file_size > max(entry.compress_size, 4096) * MAX_RATIO:
                    raise _bomb(f"a part of {entry.file_size} bytes in {entry.compress_size}")
                if entry.flag_bits & 1:
                    raise DocumentRefused("the file is locked with a password", code="document_locked")
            if not any(entry.filename.startswith(folder) for entry in entries):
                raise _broken("file", ValueError(f"it has no part in {folder}"))
            for entry in entries:
                if entry.filename.lower().endswith((".xml", ".rels")) and entry.file_size:
                    with archive.open(entry) as part:
                        defusedxml.sax.parse(part, ContentHandler(), forbid_dtd=True)
    except defusedxml.DefusedXmlException:
        raise DocumentRefused(
            "the file holds XML with a DTD, which no office program writes", code="document_unsafe"
        ) from None
    except (zipfile.BadZipFile, SAXException, NotImplementedError, EOFError, OSError, ValueError) as error:
        if isinstance(error, DocumentRefused):
            raise
        raise _broken("file", error) from None


def _bomb(got: str) -> DocumentRefused:
    return DocumentRefused(f"the file unpacks to far more than it should: {got}", code="document_unsafe")


def _broken(kind: str, error: Exception) -> DocumentRefused:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return DocumentRefused(f"the {kind} is broken: {reason}", code="document_unreadable")
