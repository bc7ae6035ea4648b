"""The text of bytes that a stranger sent, by one of the charsets that texts are really written in.

A page may name any codec of Python, and some of them take minutes for a megabyte: only those listed here
are ever used.
"""

from __future__ import annotations

import codecs

from openglm.maas.documents.source import DocumentRefused

_MARKS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
_READ = frozenset(
    codecs.lookup(name).name
    for name in (
        *("utf-8", "utf-16", "utf-16-le", "utf-16-be", "ascii"),
        *("gb18030", "gbk", "gb2312", "big5", "big5hkscs", "shift_jis", "cp932"),
        *("euc-jp", "euc-kr", "cp949", "koi8-r", "koi8-u", "tis-620"),
        *(f"cp{number}" for number in (874, *range(1250, 1259))),
        *(f"iso8859-{number}" for number in (*range(1, 12), *range(13, 17))),
    )
)
_WIDER = {"gb2312": "gb18030", "gbk": "gb18030", "iso8859-1": "cp1252", "ascii": "cp1252"}  # as browsers do


def decoded(content: bytes, named: str | None = None, *, otherwise: str | None = None) -> str:
    """By its mark, by the charset that is named, as UTF-8, or as GB 18030, in this order.

    What fits none of them is read as what was told, else as `otherwise`, with replacements; else refused.
    """
    marked = next((charset for mark, charset in _MARKS if content.startswith(mark)), None)
    told = marked or _known(named)
    for charset in filter(None, (told, "utf-8", None if told else "gb18030")):
        try:
            return content.decode(charset)
        except ValueError:
            continue
    if last := told or otherwise:
        return content.decode(last, "replace")
    raise DocumentRefused(
        "the text is neither UTF-8, UTF-16 nor GB 18030", code="document_encoding", hint="save it as UTF-8"
    )


def _known(name: str | None) -> str | None:
    try:
        found = codecs.lookup((name or "").strip()).name
    except (LookupError, ValueError):
        return None
    return _WIDER.get(found, found) if found in _READ else None
