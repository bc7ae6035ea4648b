"""One model server as a child process: started, watched, restarted with back-off, stopped.

The child ends with its standard input, so that no server outlives a platform that was killed. What it says
goes to a log file and is kept in part, to tell why it failed.
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
from typing import Literal

from openglm.errors import Overloaded, UpstreamFailure
from openglm.maas.servers.child import append_line, child_environment, read_line

logger = logging.getLogger(__name__)

State = Literal["stopped", "starting", "ready", "waiting", "stopping"]
FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 60.0  # before a server that ended is started again
STEADY_S = 60.0  # of service, after which the next failure counts as the first
STOP_S = 30.0  # for answers that run, before the child is killed
LOAD_S = 900.0  # how long a request waits for its model
SILENT_S = 1800.0  # of a server that loads and says nothing, after which it is killed
CHECK_EVERY_S = 5.0
ILL = 3  # checks in a row without an answer, after which the child is killed
KEPT_LINES = 40


@dataclass(frozen=True, slots=True)
class Status:
    """A server as operators see it."""

    name: str
    state: State
    pid: int | None
    restarts: int
    said: tuple[str, ...]  # its last lines


class Server:
    """`start` wants it running, `stop` does not. `ready` waits until it answers.

    `command` is asked for the command line at each start.
    """

    def __init__(
        self,
        name: str,
        command: Callable[[], Sequence[str]],
        *,
        log: Path,
        healthy: Callable[[], Awaitable[bool]],
        on_line: Callable[[str], None] = lambda line: None,
        first_wait_s: float = FIRST_WAIT_S,
        check_every_s: float = CHECK_EVERY_S,
        silent_s: float = SILENT_S,
    ):
        self.name = name
        self.state: State = "stopped"
        self.restarts = 0
        self.failures = 0  # in a row
        self._command = command
        self._log = log
        self._healthy = healthy
        self._on_line = on_line
        self._first_wait_s = first_wait_s
        self._check_every_s = check_every_s
        self._silent_s = silent_s
        self._heard_at = 0.0
        self._said: deque[str] = deque(maxlen=KEPT_LINES)
        self._child: asyncio.subprocess.Process | None = None
        self._watching: asyncio.Task[None] | None = None
        self._changed = asyncio.Condition()

    @property
    def pid(self) -> int | None:
        child = self._child
        return child.pid if child and child.returncode is None else None

    @property
    def status(self) -> Status:
        return Status(self.name, self.state, self.pid, self.restarts, tuple(self._said))

    def start(self) -> None:
        """Want it running. Returns at once."""
        if self._watching is None or self._watching.done():
            self.failures = 0
            self._watching = asyncio.create_task(self._watch(), name=f"server-{self.name}")

    async def stop(self) -> None:
        """End it: answers that run may finish, within reason."""
        watching, self._watching = self._watching, None
        if watching:
            await self._change("stopping")  # from here on requests wait for its next life
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching

    async def ready(self, timeout_s: float = LOAD_S) -> None:
        """Wait until it answers. Raises UpstreamFailure if it ended instead, saying why."""
        if self.state == "ready":
            return
        failures = self.failures
        try:
            async with asyncio.timeout(timeout_s), self._changed:
                await self._changed.wait_for(
                    lambda: self.state == "ready" or self.failures > failures or self._watching is None
                )
        except TimeoutError:
            raise Overloaded(f"the model {self.name!r} is still being loaded") from None
        if self.state != "ready":
            raise UpstreamFailure(f"the server of {self.name!r} ended: {self.last_words()}")

    async def ended(self) -> None:
        """Wait until a stop that has begun is over."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.state != "stopping")

    def last_words(self) -> str:
        return next((line for line in reversed(self._said) if line.startswith("error:")), None) or next(
            iter(reversed(self._said)), "it said nothing"
        )

    async def _watch(self) -> None:
        """Run the child for as long as it is wanted."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                await self._change("starting")
                began = loop.time()
                code = await self._survived()
                if loop.time() - began > STEADY_S:
                    self.failures = 0
                self.failures += 1
                self.restarts += 1
                wait = min(self._first_wait_s * 2 ** (self.failures - 1), LONGEST_WAIT_S)
                logger.warning(
                    "the server of %s ended with %s (%s); it is started again in %.0f s",
                    self.name,
                    code,
                    self.last_words(),
                    wait,
                )
                await self._change("waiting")
                await asyncio.sleep(wait)
        finally:
            self._child = None
            await asyncio.shield(self._change("stopped"))

    async def _survived(self) -> int | None:
        """As `_live`; whatever fails on our side ends the child's life, never the watch over it."""
        try:
            return await self._live()
        except Exception as error:
            logger.error("the watch over the server of %s failed", self.name, exc_info=error)
            self._said.append(f"error: {error}")
            return None

    async def _live(self) -> int:
        """One life of the child; its exit code."""
        child = self._child = await asyncio.create_subprocess_exec(
            *self._command(),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=child_environment(),
            start_new_session=True,  # a Ctrl-C at the terminal is the platform's to pass on
        )
        assert child.stdout is not None
        assert child.stderr is not None
        async with asyncio.TaskGroup() as group:
            hearing = [
                group.create_task(self._hear(child.stdout, announces=True)),
                group.create_task(self._hear(child.stderr)),
            ]
            checking = group.create_task(self._check(child))
            try:
                return await child.wait()
            finally:
                checking.cancel()
                await asyncio.shield(self._end(child, hearing))

    async def _hear(self, pipe: asyncio.StreamReader, *, announces: bool = False) -> None:
        while line := await read_line(pipe):
            text = line.decode(errors="replace").rstrip()
            if announces and text.startswith("ready "):
                await self._change("ready")
                continue
            self._heard_at = asyncio.get_running_loop().time()
            self._said.append(text)
            self._on_line(text)
            try:
                await asyncio.to_thread(append_line, self._log, text)
            except OSError as error:  # a full disk is no reason to end a server that answers
                logger.warning("the log %s cannot be written: %s", self._log, error)

    async def _check(self, child: asyncio.subprocess.Process) -> None:
        """A child that lives and does not answer is ended, which starts it anew."""
        missed = 0
        now = asyncio.get_running_loop().time
        self._heard_at = now()
        while True:
            await asyncio.sleep(self._check_every_s)
            if self.state != "ready":
                if now() - self._heard_at > self._silent_s:
                    self._said.append(f"it loaded for {self._silent_s:.0f} s without a word and was ended")
                    child.kill()
                    return
                continue
            missed = 0 if await self._healthy() else missed + 1
            if missed >= ILL:
                self._said.append(f"it did not answer {ILL} health checks and was ended")
                child.kill()
                return

    @staticmethod
    async def _end(child: asyncio.subprocess.Process, hearing: Sequence[asyncio.Task[None]]) -> None:
        """End the child if it still runs, and hear it out."""
        if child.returncode is None:
            child.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(child.wait(), STOP_S)
            except TimeoutError:
                child.kill()
                await child.wait()
        # What it left behind may hold its pipes open; nobody waits for that.
        await asyncio.wait(hearing, timeout=1.0)
        for task in hearing:
            task.cancel()

    async def _change(self, state: State) -> None:
        async with self._changed:
            self.state = state
            self._changed.notify_all()
