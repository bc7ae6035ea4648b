"""What all child processes of the platform have in common: their environment, their lines, their logs."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

LOG_BYTES = 4 << 20  # of a log file, after which it begins anew
_SECRET = ("OPENGLM_SECRET_KEY", "OPENGLM_DATABASE_URL", "OPENGLM_BLOBS_URL")


def child_environment() -> dict[str, str]:
    """Our environment without what only the platform itself needs."""
    return {name: value for name, value in os.environ.items() if name not in _SECRET}


async def read_line(pipe: asyncio.StreamReader) -> bytes:
    """The next line, or a piece of one that is too long; empty at the end."""
    try:
        return await pipe.readuntil(b"\n")
    except asyncio.IncompleteReadError as end:
        return end.partial
    except asyncio.LimitOverrunError as much:
        return await pipe.readexactly(much.consumed)


def append_line(log: Path, text: str) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    begin_anew = log.exists() and log.stat().st_size > LOG_BYTES
    with log.open("w" if begin_anew else "a", encoding="utf-8") as file:
        file.write(text + "\n")
