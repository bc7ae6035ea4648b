"""Bytes under a name: a folder of the data folder, or a bucket by URL (s3://, gs://, az://), through obstore.

A name is made from an id that we gave out, never from what a user wrote, and is checked: nothing else reaches
the disk. A put is seen whole or not at all, also when it breaks off or grows too large.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openglm.errors import NotFound, OpenGLMError, RequestTooLarge

if TYPE_CHECKING:
    from obstore.store import ObjectStore

CHUNK = 1 << 20  # bytes that a reader holds at once
_NAME = re.compile(r"[a-z]+/[a-z]+_[0-9a-f]{26}(\.[a-z]+)?")


class Blobs:
    """Open with `open_blobs`."""

    def __init__(self, store: ObjectStore):
        self._store: Any = store

    async def put(self, name: str, chunks: AsyncIterator[bytes], *, max_bytes: int) -> int:
        """Store a stream and return its length. Past `max_bytes` nothing is kept."""
        path, size = checked(name), 0

        async def counted() -> AsyncIterator[bytes]:
            nonlocal size
            async for chunk in chunks:
                size += len(chunk)
                if size > max_bytes:
                    raise RequestTooLarge(
                        f"the file must be at most {max_bytes} bytes, got more", code="file_too_large"
                    )
                yield chunk

        await self._store.put_async(path, counted())
        return size

    async def stream(self, name: str) -> AsyncIterator[bytes]:
        path = checked(name)
        try:
            answer = await self._store.get_async(path)
        except FileNotFoundError:
            raise NotFound(f"the stored content {name} is gone") from None
        async for chunk in answer.stream(min_chunk_size=CHUNK):
            yield bytes(chunk)

    async def get(self, name: str, *, max_bytes: int) -> bytes:
        """The whole content, for callers that know it is small."""
        content = bytearray()
        async for chunk in self.stream(name):
            content += chunk
            if len(content) > max_bytes:
                raise RequestTooLarge(f"{name} is larger than {max_bytes} bytes")
        return bytes(content)

    async def range(self, name: str, start: int, length: int) -> bytes:
        path = checked(name)
        if length == 0:
            return b""
        try:
            return bytes(await self._store.get_range_async(path, start=start, length=length))
        except FileNotFoundError:
            raise NotFound(f"the stored content {name} is gone") from None

    async def delete(self, name: str) -> None:
        """Delete; what is gone already stays gone."""
        path = checked(name)
        try:
            await self._store.delete_async(path)
        except FileNotFoundError:
            return


def checked(name: str) -> str:
    """The name, if it is one of ours."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"a blob's name must be kind/prefix_<26 hex digits>, got {name!r}")
    return name


def open_blobs(place: str | Path) -> Blobs:
    """A folder, or a URL of a bucket; keys of the bucket come from the usual environment variables."""
    from obstore.store import LocalStore, from_url

    try:
        if isinstance(place, str) and "://" in place:
            return Blobs(from_url(place))
        Path(place).mkdir(parents=True, exist_ok=True, mode=0o700)
        return Blobs(LocalStore(Path(place)))
    except Exception as error:
        raise OpenGLMError(
            f"cannot open the file store: {str(error).splitlines()[0]}",
            hint="give a folder that can be written, or a URL such as s3://bucket/prefix",
        ) from error
