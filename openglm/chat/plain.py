"""Markdown as somebody reads it: the words without the marks, a line for each line.

It is for snippets: what only looks like a mark (a lone star, an underscore inside a name) stays. Each pattern
takes time in proportion to its line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_FENCE = re.compile(r"\s*(?:>\s?)*(```|~~~)")
_BEGINNING = re.compile(r"\s*(?:>\s?)*(?:#{1,6}\s+|[-*+]\s+(?:\[[ xX]\]\s+)?)?")
_CODE = re.compile(r"(`{1,3})([^`]{1,2000})\1")
_LINK = re.compile(r"!?\[([^\[\]]{0,1000})\]\([^()\s]{0,2000}(?:\s[^()]{0,500})?\)")
_ADDRESS = re.compile(r"<((?:https?://|mailto:)[^<>\s]{1,2000})>")
_BREAK = re.compile(r"<br\s?/?>", re.IGNORECASE)
_STARS = re.compile(r"(\*{1,3}|~~)(?=[^\s*~])([^*~]{1,1000})(?<=\S)\1")
_LOW = re.compile(r"(?<!\w)(_{1,2})(?=[^\s_])([^_]{1,1000})(?<=\S)\1(?!\w)")
_ESCAPED = re.compile(r"\\([*_`~#\[\]<>|])")
_HELD = "\x00"  # in the place of code, whose stars are stars; no text that is kept holds it


def plain_lines(text: str) -> Iterator[str]:
    fence = ""
    for line in text.splitlines():
        found = _FENCE.match(line)
        if found and fence in ("", found[1]):
            fence = "" if fence else found[1]
        elif fence:
            yield line
        elif not _is_drawn(line):
            yield _plain(line)


def _is_drawn(line: str) -> bool:
    """Whether it is a rule, or the line below the head of a table."""
    marks = "".join(line.split())
    alone = len(marks) > 2 and len(set(marks)) == 1 and marks[0] in "-*_="
    return alone or ({"|", "-"} <= set(marks) <= set("|:-"))


def _plain(line: str) -> str:
    held: list[str] = []

    def hold(found: re.Match[str]) -> str:
        held.append(found[2].strip())
        return _HELD

    line = _CODE.sub(hold, line[_BEGINNING.match(line).end() :])  # type: ignore[union-attr]
    if line.startswith("|"):
        line = " · ".join(cell.strip() for cell in line.strip().strip("|").split("|"))
    line = _BREAK.sub(" ", _ADDRESS.sub(r"\1", _LINK.sub(r"\1", line)))
    for _ in range(2):  # bold inside of italic, and the other way round
        line = _LOW.sub(r"\2", _STARS.sub(r"\2", line))
    line = _ESCAPED.sub(r"\1", line)
    kept = iter(held)
    return re.sub(_HELD, lambda _: next(kept), line)
