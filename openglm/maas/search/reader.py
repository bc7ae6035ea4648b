"""Pages of the web as text: fetched from public addresses alone, and read in a process of their own.

Pages that wait are held in memory, so there are few of them, given to tenants in turn.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable

from openglm.errors import UpstreamFailure
from openglm.maas.documents.html import Page
from openglm.maas.documents.reading import Showing, show_apart, told_by
from openglm.maas.leases import most_of
from openglm.maas.limits import FairQueue
from openglm.maas.outbound import Fetched

MAX_BYTES = 8 << 20  # of one page or file
AT_ONCE = 32  # pages that are fetched or wait to be read
Fetch = Callable[..., Awaitable[Fetched]]


class Reader:
    def __init__(self, fetch: Fetch):
        self._fetch = fetch
        self._places = FairQueue(AT_ONCE, each=most_of(AT_ONCE), what="the reader")
        self._children = asyncio.Semaphore(max(2, os.cpu_count() or 1))

    async def read(
        self, url: str, *, tenant: str, timeout_s: float = 20.0, markdown: bool = True, images: bool = True
    ) -> tuple[str, Page]:
        """The address that the last redirect led to, and what is there."""
        await self._places.enter(tenant)
        try:
            found = await self._fetch(url, max_bytes=MAX_BYTES, timeout_s=timeout_s)
            if found.status >= 400:
                raise UpstreamFailure(f"the page answered with status {found.status}")
            kind, charset = told_by(found.headers.get("content-type", "text/html"), found.url)
            async with self._children:
                showing = Showing(kind, found.url, charset, markdown, images)
                return found.url, await show_apart(found.body, showing)
        finally:
            self._places.leave(tenant)
