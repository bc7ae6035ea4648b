"""One serving process for a data folder: a second one would start its models and answer for it once more.

The lock is the operating system's: it ends with the process, however that ends. `glm admin` does not need it.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from openglm.errors import OpenGLMError

NAME = "lock"


def take(data: Path) -> int:
    """Lock the folder until the file that is returned is closed; OpenGLMError names who holds it."""
    handle = os.open(data / NAME, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        other = os.read(handle, 20).decode("ascii", "replace").strip()
        os.close(handle)
        raise OpenGLMError(
            f"the data folder {data} is served by another process" + (f", number {other}" if other else ""),
            hint="stop it first, or name another folder with --data",
        ) from None
    os.truncate(handle, 0)
    os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
    return handle
