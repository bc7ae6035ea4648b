"""One life of a trainer: `glm train RECIPE --json` as a child that is nicer than any server and ends with us.

Its rows come on standard output; it stops in order on SIGTERM, with a checkpoint, and goes on from there when
it is started again. Its standard input is held open and ends it when we end, also by a SIGKILL.
It inherits the lock of its folder: while it lives, no other trainer can work there.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import psutil

from openglm.maas.servers.child import append_line, child_environment, read_line
from openglm.maas.servers.servers import memory_of

logger = logging.getLogger(__name__)

NICENESS = 10
STOPPED = 128 + signal.SIGTERM  # the exit code of a trainer that stopped in order
LOOK_EVERY_S = 1.0  # at the memory that it takes, and at each row
KEPT_LINES = 40
LINE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Life:
    """How a trainer's life ended. `answer` is its last word in JSON: the end of a training, or a plan."""

    code: int
    answer: dict[str, Any] | None
    said: tuple[str, ...]
    memory_bytes: int

    @property
    def trained_tokens(self) -> int | None:
        """Of a training that came to its end."""
        if self.code or self.answer is None or self.answer.get("status") != "done":
            return None
        return int(self.answer["trained_tokens"])

    @property
    def stopped(self) -> bool:
        return self.code in (STOPPED, -signal.SIGTERM)

    def last_words(self) -> str:
        """Its complaint, with what belongs to it, or its last line."""
        at = next((at for at, line in enumerate(self.said) if line.startswith("error:")), None)
        lines = self.said[at:] if at is not None else self.said[-1:]
        return "; ".join(lines)[:2000] or "it said nothing"


OnRow = Callable[[dict[str, Any]], Awaitable[None]]


async def _unheard(row: dict[str, Any]) -> None:
    pass


class Trainer:
    """`live` once; `stop` at any time, from the same loop."""

    def __init__(self, trainer: Sequence[str], recipe: Path, flags: Sequence[str] = (), *, stop_s: float):
        self._command = (*trainer, str(recipe), "--json", "--until-eof", *flags)
        self._folder = recipe.parent
        self._stop_s = stop_s
        self._stop = asyncio.Event()

    def stop(self) -> None:
        """End it in order: it finishes its step and writes a checkpoint."""
        self._stop.set()

    async def live(self, lock: int, on_row: OnRow = _unheard) -> Life:
        """Start the child and hear it until it ends. `lock`: the open file that locks its folder."""
        child = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=child_environment(),
            limit=LINE_BYTES,
            pass_fds=(lock,),
            start_new_session=True,  # a Ctrl-C at the terminal is the platform's to pass on
        )
        with contextlib.suppress(psutil.Error):
            psutil.Process(child.pid).nice(NICENESS)
        try:
            return await self._hear(child, on_row)
        finally:
            if child.returncode is None:
                child.kill()
                await asyncio.shield(child.wait())

    async def _hear(self, child: asyncio.subprocess.Process, on_row: OnRow) -> Life:
        assert child.stdout is not None
        assert child.stderr is not None
        said: deque[str] = deque(maxlen=KEPT_LINES)
        answer: dict[str, Any] | None = None
        memory, log = 0, self._folder / "log"

        def look() -> None:
            nonlocal memory
            memory = max(memory, memory_of(child.pid))

        async def rows(pipe: asyncio.StreamReader) -> None:
            nonlocal answer
            while line := await read_line(pipe):
                row = _object(line)
                if row is None:
                    await say(line)
                elif "step" in row:
                    look()
                    await on_row(row)
                else:
                    answer = row

        async def words(pipe: asyncio.StreamReader) -> None:
            while line := await read_line(pipe):
                await say(line)

        async def say(line: bytes) -> None:
            text = line.decode(errors="replace").rstrip()
            said.append(text)
            await asyncio.to_thread(append_line, log, text)

        async def watch() -> None:
            while True:
                look()
                await asyncio.sleep(LOOK_EVERY_S)

        async with asyncio.TaskGroup() as group:
            hearing = [group.create_task(rows(child.stdout)), group.create_task(words(child.stderr))]
            around = [group.create_task(watch()), group.create_task(self._end(child))]
            code = await child.wait()
            # What it left behind may hold its pipes open; nobody waits long for that.
            await asyncio.wait(hearing, timeout=10.0)
            for task in (*hearing, *around):
                task.cancel()
        return Life(code, answer, tuple(said), memory)

    async def _end(self, child: asyncio.subprocess.Process) -> None:
        await self._stop.wait()
        with contextlib.suppress(ProcessLookupError):  # it has just ended by itself
            child.terminate()
            await asyncio.sleep(self._stop_s)
            logger.warning("a trainer did not stop within %.0f s and was killed", self._stop_s)
            child.kill()


def _object(line: bytes) -> dict[str, Any] | None:
    """A line of JSON that is an object; None for any other line."""
    try:
        row = msgspec.json.decode(line)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None
