"""The moderation hook: a text in, verdicts out. Ours is a word list; without one every text passes.

A word list finds words, not meanings. It folds case, width and invisible characters, so that spelling tricks
of that kind do not help; whoever needs more plugs a classifier in behind the same Protocol. Long texts are
folded piece by piece and on threads: some characters unfold into eighteen.
"""

from __future__ import annotations

import asyncio
import sys
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

from openglm.errors import InvalidRequest, UnsafeContent
from openglm.maas.files.routes import Wrap

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

MODERATION = "moderation"  # as limits name it
MAX_INPUTS = 64
MAX_BODY = 4 << 20
LONGEST_WORD = 100
MAX_JUDGED = 4 << 20  # bytes of one request
PIECE = 16_384  # characters that are folded while nobody else may run
QUICK = 200_000  # characters times words that are looked through at once, in about a millisecond
THREADS = 2


@dataclass(frozen=True, slots=True)
class Verdict:
    """One category that a text falls into. `score` is in (0, 1]."""

    category: str
    score: float = 1.0


class Moderator(Protocol):
    """What a hook must do. `categories` are all that it knows, for answers that list them."""

    @property
    def categories(self) -> Sequence[str]: ...

    async def check(self, text: str) -> list[Verdict]: ...


class NoModeration:
    """Lets everything pass."""

    categories: Sequence[str] = ()

    async def check(self, text: str) -> list[Verdict]:
        return []


class WordList:
    """Words by category. A word of ASCII letters matches whole words only."""

    def __init__(self, words: Mapping[str, Sequence[str]]):
        self.categories: Sequence[str] = tuple(words)
        self._words = {
            name: [word for one in listed if (word := folded(one.strip())[:LONGEST_WORD])]
            for name, listed in words.items()
        }
        self._count = sum(map(len, self._words.values()))
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="openglm-moderation")

    async def check(self, text: str) -> list[Verdict]:
        if len(text) * self._count <= QUICK:
            return self._found(text)
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._found, text)

    def _found(self, text: str) -> list[Verdict]:
        plain = folded(text)
        return [
            Verdict(name) for name, words in self._words.items() if any(holds(plain, word) for word in words)
        ]


async def refuse_unsafe(moderator: Moderator, text: str) -> None:
    """UnsafeContent if any verdict falls. The words themselves are not repeated."""
    if (size := len(text.encode())) > MAX_JUDGED:
        raise InvalidRequest(
            f"the text of a request must be at most {MAX_JUDGED} bytes here, got {size}",
            code="string_too_long",
            hint="texts are judged before they are answered; send less at once",
        )
    if verdicts := await moderator.check(text):
        names = ", ".join(sorted({verdict.category for verdict in verdicts}))
        raise UnsafeContent(f"the content was refused: {names}")


def folded(text: str) -> str:
    """A text as the list compares it: compatibility forms, no case, nothing invisible."""
    if text.isascii():
        return text.lower()
    unseen = _invisible()
    return "".join(
        unicodedata.normalize("NFKC", piece).translate(unseen).casefold() for piece in _pieces(text)
    )


@lru_cache(maxsize=1)
def _invisible() -> dict[int, None]:
    return {code: None for code in range(sys.maxunicode + 1) if unicodedata.category(chr(code)) == "Cf"}


def _pieces(text: str) -> Iterator[str]:
    """Cut where no mark is parted from its letter."""
    at = 0
    while at < len(text):
        end = at + PIECE
        while end < len(text) and end < at + 2 * PIECE and unicodedata.combining(text[end]):
            end += 1
        yield text[at:end]
        at = end


def holds(text: str, word: str) -> bool:
    """Whether a text holds a word; one of ASCII letters only where no other word goes on around it."""
    at = text.find(word)
    while at >= 0:
        around = text[at - 1 : at] + text[at + len(word) : at + len(word) + 1]
        if not word.isascii() or not any(char.isalnum() or char == "_" for char in around):
            return True
        at = text.find(word, at + 1)
    return False


def openai_result(moderator: Moderator, verdicts: Sequence[Verdict]) -> dict[str, Any]:
    scores = dict.fromkeys(moderator.categories, 0.0)
    scores.update({verdict.category: verdict.score for verdict in verdicts})
    return {
        "flagged": bool(verdicts),
        "categories": {name: score > 0 for name, score in scores.items()},
        "category_scores": scores,
    }


def zhipu_result(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    return {
        "content_type": "text",
        "risk_level": "REJECT" if verdicts else "PASS",
        "risk_type": [verdict.category for verdict in verdicts],
    }


def routes(platform: Any, wrap: Wrap) -> list[Route]:
    """`wrap(dialect, handler)` gives a handler whose errors come out in the dialect's shape."""
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    from openglm.asgi.body import decoded, read_body
    from openglm.dialects.fields import parse_object
    from openglm.maas.ids import new_id

    async def checked(request: Request) -> tuple[str, list[list[Verdict]]]:
        caller = await platform.caller(request, endpoint="moderations")
        fields = await decoded(parse_object, await read_body(request.scope, request.receive, MAX_BODY))
        texts = texts_of(fields)
        with platform.limits.enter(caller, MODERATION, 0):
            verdicts = [await platform.moderation.check(text) for text in texts]
        return fields.text("model") or MODERATION, verdicts

    async def openai(request: Request) -> Response:
        model, found = await checked(request)
        results = [openai_result(platform.moderation, verdicts) for verdicts in found]
        return JSONResponse({"id": new_id("modr"), "model": model, "results": results})

    async def zhipu(request: Request) -> Response:
        _, found = await checked(request)
        answer_id = new_id("modr")
        body = {
            "id": answer_id,
            "request_id": answer_id,
            "created": platform.clock() // 1000,
            "result_list": [zhipu_result(verdicts) for verdicts in found],
            "usage": {"moderation_text": {"call_count": len(found)}},
        }
        return JSONResponse(body)

    return [
        Route("/v1/moderations", wrap("openai", openai), methods=["POST"]),
        Route("/api/paas/v4/moderations", wrap("zhipu", zhipu), methods=["POST"]),
    ]


def texts_of(fields: Any) -> list[str]:
    """`input`: a text, a list of texts, or parts of type text."""
    value = fields.raw("input")
    items = value if isinstance(value, list) else [value]
    texts = [item.get("text") if isinstance(item, dict) else item for item in items]
    if not texts or len(texts) > MAX_INPUTS or not all(isinstance(text, str) and text for text in texts):
        raise fields.wrong("input", f"a text, or a list of 1 to {MAX_INPUTS} texts")
    return [text for text in texts if text]
