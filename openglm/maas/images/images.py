"""Images as files with an end, and their links.

A link opens without a key until its file is gone: it is for browsers, and for whoever the caller gives it to.
It holds the file's id and a fingerprint that only we can make.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from openglm.errors import NotFound
from openglm.maas.files.files import Files, Owner, is_id
from openglm.maas.ids import Clock, new_id, wall_clock
from openglm.maas.rounds import Rounds
from openglm.maas.secrets import same

if TYPE_CHECKING:
    from openglm.maas.files import File
    from openglm.maas.secrets import Secrets

KEEP_MS = 30 * 86_400_000  # the official service's links live as long
FORGET_EVERY_S = 600.0
PURPOSE = "image_output"
PATH = "/images/"
_STARTS = {b"\x89PNG\r\n\x1a\n": "png", b"\xff\xd8\xff": "jpeg", b"GIF8": "gif"}


def kind_of(data: bytes) -> str | None:
    """What image it is, by its first bytes. Not SVG: that is a document that can run."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    return next((kind for start, kind in _STARTS.items() if data.startswith(start)), None)


class Images:
    """`start` forgets files whose time is over from then on."""

    def __init__(self, files: Files, secrets: Secrets, *, clock: Clock = wall_clock):
        self._files = files
        self._secrets = secrets
        self._clock = clock
        self._forgetting = Rounds("old images are deleted", self._forget_all, FORGET_EVERY_S)

    async def start(self) -> None:
        self._forgetting.start(at_once=True)

    async def stop(self) -> None:
        await self._forgetting.stop()

    async def look_for_room(self, owner: Owner, images: int) -> None:
        """Before they are made: then they are kept, whatever was kept meanwhile."""
        await self._files.look_for_room(owner, files=images)

    async def keep(self, owner: Owner, data: bytes, kind: str) -> str:
        """Store one and return its link, without the address of the platform."""
        now = self._clock()
        file_id = new_id("file", now)

        async def chunks() -> AsyncIterator[bytes]:
            yield data

        await self._files.write(
            owner, file_id, f"{file_id}.{kind}", PURPOSE, chunks(), expires_at=now + KEEP_MS
        )
        return f"{PATH}{file_id}.{kind}?signature={self._signature(file_id, kind)}"

    async def open(self, name: str, signature: str) -> tuple[File, str, AsyncIterator[bytes]]:
        """The file behind a link, its kind, and its bytes."""
        file_id, _, kind = name.partition(".")
        if not is_id(file_id) or not same(signature, self._signature(file_id, kind)):
            raise NotFound("there is no image behind this link", hint="links end with their images")
        file, chunks = await self._files.linked(file_id, PURPOSE)
        return file, kind, chunks

    def _signature(self, file_id: str, kind: str) -> str:
        return self._secrets.mac("image links", f"{file_id}.{kind}")[:32]

    async def _forget_all(self) -> None:
        while await self._files.forget_expired():
            await asyncio.sleep(0)
