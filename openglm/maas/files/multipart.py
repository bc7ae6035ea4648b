"""Reading an upload: one file and a few short fields of a multipart body, spooled to disk up to a limit."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from openglm.asgi.body import ClientGone
from openglm.errors import InvalidRequest, RequestTooLarge

if TYPE_CHECKING:
    from starlette.datastructures import UploadFile
    from starlette.requests import Request

MAX_FIELD = 64 << 10  # bytes of one field that is no file
MAX_FIELDS = 32
CHUNK = 256 << 10


@dataclass(frozen=True, slots=True)
class Upload:
    """What came. `fields` are the texts beside the file."""

    filename: str
    fields: dict[str, str]
    _file: UploadFile

    async def chunks(self) -> AsyncIterator[bytes]:
        while chunk := await self._file.read(CHUNK):
            yield chunk


@asynccontextmanager
async def read_upload(request: Request, max_bytes: int) -> AsyncIterator[Upload]:
    """The upload of a request; its spooled file is gone at the end."""
    async with read_uploads(request, max_bytes, most=1, names=("file",)) as sent:
        yield sent[0]


@asynccontextmanager
async def read_uploads(
    request: Request, max_bytes: int, *, most: int, names: tuple[str, ...] = ("files", "file")
) -> AsyncIterator[list[Upload]]:
    """One to `most` files under one of the names, of `max_bytes` together; spooled files go at the end."""
    from starlette.datastructures import Headers, UploadFile
    from starlette.formparsers import MultiPartException, MultiPartParser

    kind = request.headers.get("content-type", "")
    if not kind.lower().startswith("multipart/form-data"):
        raise InvalidRequest(
            f"an upload must be multipart/form-data, got {kind[:60] or 'no content-type'!r}",
            hint="send the file as the form field `file`",
        )
    limit = max_bytes + MAX_FIELDS * MAX_FIELD
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > limit:
        raise too_large(max_bytes)
    # Names in forms are UTF-8 (RFC 7578); what charset a client named would be looked up among all codecs.
    boundary = re.sub(r"(?i);\s*charset\s*=[^;]*", "", kind)
    parser = MultiPartParser(
        Headers({"content-type": boundary}),
        _bounded(request, limit, max_bytes),
        max_files=most,
        max_fields=MAX_FIELDS,
        max_part_size=MAX_FIELD,
    )
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise InvalidRequest(
            f"the upload cannot be read: {error.message}", code="invalid_multipart"
        ) from None
    try:
        files = [file for name in names for file in form.getlist(name) if isinstance(file, UploadFile)]
        if not files:
            raise InvalidRequest(
                f"{names[0]} must be an uploaded file, got nothing", param=names[0], code="missing_field"
            )
        fields = {name: value for name, value in form.items() if isinstance(value, str)}
        yield [Upload(file.filename or "file", fields, file) for file in files]
    finally:
        await form.close()


async def _bounded(request: Request, limit: int, max_bytes: int) -> AsyncGenerator[bytes, None]:
    from starlette.requests import ClientDisconnect

    size = 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > limit:
                raise too_large(max_bytes)
            yield chunk
    except ClientDisconnect:
        raise ClientGone from None


def too_large(max_bytes: int) -> RequestTooLarge:
    return RequestTooLarge(
        f"the file must be at most {max_bytes} bytes, got more", param="file", code="file_too_large"
    )
