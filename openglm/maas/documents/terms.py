"""The words of a text, as the index spells them, and the postings of a document's chunks.

Chinese, Japanese and Korean have no spaces: their runs are indexed as overlapping pairs, and each character
by itself too, for questions of one. English words lose their plural. Widths of characters do not count.
"""

from __future__ import annotations

import re
import unicodedata
from array import array
from collections import Counter
from collections.abc import Sequence

_CJK = "\u3005\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
_TOKENS = re.compile(rf"[{_CJK}]+|[^\W_{_CJK}]+")
_IS_CJK = re.compile(rf"[{_CJK}]")
MAX_TERM = 64  # characters; what is longer is no word
MAX_QUERY_TERMS = 64
MAX_COUNT = 255  # of one term in one chunk
# Words of questions, which say nothing of what is asked about.
_ASIDE = frozenset(
    """
    a an and any are as at be by can could did do does for from had has have how i if in is it its
    may me my of on or our shall should so that the their then there these they this to was we were
    what when where which who whom whose why will with would you your
    什么 怎么 么样 如何 哪些 哪个 哪里 是否 多少 为何
    请问 可以 我们 你们 他们 的是 是什 是不 不是 么是
    """.split()  # noqa: SIM905
)


def terms(text: str) -> list[str]:
    """What a chunk is found by."""
    found: list[str] = []
    for token in _TOKENS.findall(folded(text)):
        if _IS_CJK.match(token):
            found += token
            found += [token[at : at + 2] for at in range(len(token) - 1)]
        else:
            found.append(_stem(token)[:MAX_TERM])
    return found


def query_terms(text: str) -> list[str]:
    """What a question asks for, each term once: pairs where there are pairs, without words of asking."""
    found: list[str] = []
    for token in _TOKENS.findall(folded(text)):
        if not _IS_CJK.match(token):
            found.append(_stem(token)[:MAX_TERM] if token not in _ASIDE else token)
        elif len(token) == 1:
            found.append(token)
        else:
            found += [token[at : at + 2] for at in range(len(token) - 1)]
    once = list(dict.fromkeys(found))
    return ([term for term in once if term not in _ASIDE] or once)[:MAX_QUERY_TERMS]


def postings(texts: Sequence[str]) -> tuple[dict[str, bytes], bytes]:
    """For each term, where it stands; and the length of each text in terms."""
    found: dict[str, array[int]] = {}
    lengths = array("I")
    for number, text in enumerate(texts):
        counted = Counter(terms(text))
        lengths.append(counted.total())
        for term, count in counted.items():
            entry = number << 8 | min(count, MAX_COUNT)
            if term in found:
                found[term].append(entry)
            else:
                found[term] = array("I", (entry,))
    return {term: _little(entries) for term, entries in found.items()}, _little(lengths)


def _little(numbers: array[int]) -> bytes:
    import sys

    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tobytes()


def folded(text: str) -> str:
    """Letters whose case and width do not count."""
    return text.lower() if text.isascii() else unicodedata.normalize("NFKC", text).lower()


def _stem(word: str) -> str:
    """An English word in the singular, roughly: the same word always gives the same stem."""
    if len(word) < 4 or not word.endswith("s") or word.endswith(("ss", "us", "is")):
        return word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("sses", "shes", "ches", "xes", "zes")):
        return word[:-2]
    return word[:-1]
