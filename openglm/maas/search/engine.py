"""What a search engine is: a query in, hits out, best first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol
from urllib.parse import urlsplit

Recency = Literal["oneDay", "oneWeek", "oneMonth", "oneYear", "noLimit"]
DAYS: dict[str, int | None] = {
    "oneDay": 1,
    "oneWeek": 7,
    "oneMonth": 31,
    "oneYear": 366,
    "noLimit": None,
}


@dataclass(frozen=True, slots=True)
class Query:
    text: str
    count: int = 10
    domain: str | None = None
    recency: Recency = "noLimit"
    content_chars: int = 600  # how much of a page's text a hit shows


@dataclass(frozen=True, slots=True)
class Hit:
    title: str
    link: str
    content: str
    media: str = ""
    icon: str = ""
    published_ms: int | None = None
    images: tuple[str, ...] = ()


class SearchEngine(Protocol):
    async def search(self, query: Query) -> list[Hit]: ...


def in_domain(link: str, domain: str) -> bool:
    """Whether a link's host is the domain or lies under it."""
    try:
        host = (urlsplit(link).hostname or "").lower()
    except ValueError:
        return False
    wanted = domain.lower().removeprefix("https://").removeprefix("http://").split("/")[0].strip(".")
    return host == wanted or host.endswith("." + wanted)
