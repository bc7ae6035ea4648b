"""One streamed answer of a model's server: its steps, its last usage, and how it is left.

A reader may be cancelled at any moment and the answer still be left in order: no state lives in the reader.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import aiohttp

from openglm.errors import LATER, OpenGLMError, UpstreamFailure
from openglm.maas.upstreams.channel import Channel
from openglm.messages import Event, Usage

if TYPE_CHECKING:
    from openglm.dialects.openai.upstream import UpstreamEvents

    Step = tuple[int, list[Event]]

LEAVE_S = 10.0  # how long the end of an answer may take that we asked to end
DRAIN_S = 600.0  # how long one that is read on may take


class Abandoned(asyncio.CancelledError):
    """Cancelled before the first step was read. `answer` has been left, and its usage is still the bill."""

    def __init__(self, answer: UpstreamAnswer):
        super().__init__("nobody waits for the answer any more")
        self.answer = answer


class UpstreamAnswer:
    """`step` gives the next one, or None at the end; then, or earlier, `leave` it. Leaving twice is once."""

    def __init__(
        self,
        response: aiohttp.ClientResponse,
        channel: Channel,
        abort: Callable[[], Awaitable[None]],
        events: UpstreamEvents,
    ):
        self.channel = channel
        self._response = response
        self._abort = abort
        self._events = events
        self._steps: deque[Step] = deque()
        self._broken: UpstreamFailure | None = None  # what comes after the steps
        self._ended = False
        self._left = False
        self.on_leave: Callable[[], None] = lambda: None  # once, when it has been let go of

    @property
    def usage(self) -> Usage | None:
        """The last usage that came, also of steps nobody has read yet."""
        return self._events.usage

    async def begin(self) -> None:
        """Wait for the first step, which stays to be read. A server that dies before it has said nothing."""
        while not self._steps and not self._ended:
            await self._read()

    async def step(self) -> Step | None:
        """The next step. Raises UpstreamFailure where the answer breaks off."""
        while not self._steps:
            if self._ended:
                return None
            await self._read()
        return self._steps.popleft()

    async def leave(self) -> None:
        """Let go, as the channel wants it: afterwards `usage` is the bill. Never raises for the upstream."""
        if self._left:
            return
        self._left = True
        try:
            if not self._ended and self.channel.leaving != "abort":
                with contextlib.suppress(OpenGLMError, TimeoutError):
                    await asyncio.wait_for(
                        self._run_out(), DRAIN_S if self.channel.leaving == "drain" else LEAVE_S
                    )
        finally:
            # Only a connection whose body was read to its end can serve again.
            if self._ended:
                self._response.release()
            else:
                self._response.close()
            self.on_leave()

    async def _run_out(self) -> None:
        most = None
        if self.channel.leaving == "cancel":
            await self._abort()
        else:
            most = (self.usage.completion_tokens if self.usage else 0) + self.channel.drain_tokens
        while not self._ended:
            await self._read()
            self._steps.clear()
            if most is not None and self.usage and self.usage.completion_tokens >= most:
                return

    async def _read(self) -> None:
        if self._broken:
            raise self._broken
        try:
            data = await self._response.content.readany()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise UpstreamFailure("the connection to the model's server was lost", hint=LATER) from error
        steps: list[Step] = []
        try:
            if data:
                self._events.feed(data, steps)
            else:
                self._events.done(steps)
                self._ended = True
        except UpstreamFailure as error:  # the same, however the network cuts the body
            if not steps:
                raise
            self._broken = error
        self._steps.extend(steps)
