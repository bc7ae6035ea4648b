"""An engine behind HTTP that answers as SearXNG does: JSON with `results` of title, url and content."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

import msgspec

from openglm.errors import UpstreamFailure
from openglm.maas.search.engine import Hit, Query, in_domain

Fetch = Callable[[str], Awaitable[bytes]]  # the guarded fetch, for the one host that the operator named
RANGES = {"oneDay": "day", "oneWeek": "week", "oneMonth": "month", "oneYear": "year"}


class SearxngEngine:
    def __init__(self, base_url: str, fetch: Fetch):
        self._base_url = base_url.rstrip("/")
        self._fetch = fetch

    async def search(self, query: Query) -> list[Hit]:
        text = f"{query.text} site:{query.domain}" if query.domain else query.text
        url = f"{self._base_url}/search?format=json&q={quote(text, safe='')}"
        if query.recency in RANGES:
            url += f"&time_range={RANGES[query.recency]}"
        try:
            results = msgspec.json.decode(await self._fetch(url))["results"]
            hits = [hit for result in results if (hit := _hit(result, query))]
        except (msgspec.MsgspecError, ValueError, KeyError, TypeError) as error:
            raise UpstreamFailure("the search engine sent an answer that is none") from error
        return hits[: query.count]


def _hit(result: dict[str, Any], query: Query) -> Hit | None:
    link = str(result.get("url") or "")
    if not link.startswith(("http://", "https://")):
        return None
    if query.domain and not in_domain(link, query.domain):
        return None
    image = result.get("img_src")
    return Hit(
        title=str(result.get("title") or ""),
        link=link,
        content=str(result.get("content") or "")[: query.content_chars],
        media=str(result.get("engine") or ""),
        images=(image,) if isinstance(image, str) and image else (),
    )
