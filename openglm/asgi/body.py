"""Bodies with a limit, decoded without holding others up, and clients that leave.

Servers do not raise on sending to a closed connection, so while a handler works one task watches for the
client's going; nobody else may call `receive` then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from openglm.dialects.fields import LARGE_BODY
from openglm.errors import RequestTooLarge

if TYPE_CHECKING:
    from starlette.types import Receive, Scope

T = TypeVar("T")
DRAIN_BYTES = 64 * 2**20  # of a body that is too large: read on this far, so that the client sees the answer


class ClientGone(Exception):
    """The client closed the connection; nobody is left to answer."""


async def read_body(scope: Scope, receive: Receive, most: int) -> bytes:
    """The whole body; RequestTooLarge past `most` bytes, whatever the headers said."""
    too_large = RequestTooLarge(f"the body must be at most {most} bytes")
    announced = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
    drained = max(most, DRAIN_BYTES)
    if announced.isdigit() and int(announced) > drained:
        raise too_large
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        chunk = message.get("body", b"")
        size += len(chunk)
        if size <= most:
            chunks.append(chunk)
        if size > drained or (size > most and not message.get("more_body")):
            raise too_large
        if not message.get("more_body"):
            return b"".join(chunks)


async def decoded(decode: Callable[[bytes], T], body: bytes) -> T:
    """What a body says; a large one is read on another thread, so that the loop goes on meanwhile."""
    return decode(body) if len(body) <= LARGE_BODY else await asyncio.to_thread(decode, body)


async def until_gone(receive: Receive, work: Coroutine[Any, Any, None]) -> None:
    """Await `work`; as soon as the client is gone, cancel it and raise ClientGone."""
    working = asyncio.current_task()
    assert working is not None, "a coroutine runs in a task"
    gone = False

    async def watch() -> None:
        nonlocal gone
        while (await receive())["type"] != "http.disconnect":
            pass
        gone = True
        working.cancel()

    watching = asyncio.create_task(watch())
    try:
        await work
    except asyncio.CancelledError:
        if gone and not working.uncancel():  # nobody else wants us to stop
            raise ClientGone from None
        raise
    finally:
        watching.cancel()
