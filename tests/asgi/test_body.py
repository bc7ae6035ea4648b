"""Bodies up to a limit that is above or below what is read on of one that is too large."""

from __future__ import annotations

import asyncio
import threading

import pytest

from openglm.asgi.body import DRAIN_BYTES, decoded, read_body
from openglm.dialects.fields import LARGE_BODY
from openglm.errors import RequestTooLarge

PIECE = bytes(8 << 20)


def read(pieces: int, most: int, *, announced: bool) -> tuple[int, int]:
    """How long the body is, and how many pieces were taken from the client."""
    left = pieces

    async def receive() -> dict:
        nonlocal left
        left -= 1
        return {"type": "http.request", "body": PIECE, "more_body": left > 0}

    headers = [(b"content-length", str(pieces * len(PIECE)).encode())] if announced else []
    try:
        return len(asyncio.run(read_body({"headers": headers}, receive, most))), pieces - left
    except RequestTooLarge:
        return -1, pieces - left


@pytest.mark.parametrize("announced", [True, False])
def test_a_limit_above_what_is_drained_holds(announced: bool):
    most = DRAIN_BYTES + 2 * len(PIECE)
    pieces = most // len(PIECE)
    assert read(pieces, most, announced=announced) == (most, pieces)
    assert read(pieces + 1, most, announced=announced)[0] == -1


@pytest.mark.parametrize("announced", [True, False])
def test_a_body_that_is_a_little_too_large_is_read_to_its_end_and_a_huge_one_is_not(announced: bool):
    assert read(3, len(PIECE), announced=announced) == (-1, 3)
    length, taken = read(100, len(PIECE), announced=announced)
    assert (length, taken) == (-1, 0 if announced else DRAIN_BYTES // len(PIECE) + 1)


@pytest.mark.parametrize(("size", "here"), [(LARGE_BODY, True), (LARGE_BODY + 1, False)])
def test_large_bodies_are_decoded_beside_the_loop(size, here):
    async def scenario() -> bool:
        return await decoded(lambda _: threading.current_thread(), bytes(size)) is threading.current_thread()

    assert asyncio.run(scenario()) is here
