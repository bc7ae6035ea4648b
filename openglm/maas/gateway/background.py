"""Responses that are made behind their clients' backs: begun, told to whoever listens, stopped."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING

from openglm.asgi.events import EventStream
from openglm.dialects.responses import ResponseEvents, ResponseObject, replay
from openglm.errors import OpenGLMError
from openglm.maas.database import DatabaseDown
from openglm.maas.gateway.retold import retold
from openglm.maas.responses import RUNNING, Line

if TYPE_CHECKING:
    from openglm.maas.gateway.exchange import Exchange
    from openglm.maas.gateway.loop import Loop
    from openglm.maas.platform import Platform

logger = logging.getLogger(__name__)

LINE_S = 600.0  # how long the events of an ended response stay in memory for whoever comes again
LOOK_AGAIN_S = 1.0  # at a response that another node makes


class Background:
    """The responses that this node makes, and those that it made a while ago."""

    def __init__(self, platform: Platform):
        self._platform = platform
        self._running: dict[str, asyncio.Task[None]] = {}
        self._lines: dict[str, Line] = {}
        self._watching: asyncio.Task[None] | None = None

    def begin(self, org_id: str, exchange: Exchange | Loop, answer: ResponseObject) -> None:
        """Make a response whose first state is kept already."""
        self._lines[answer.id] = Line()
        self._running[answer.id] = self._platform.go_on(self._work(org_id, exchange, answer))
        if self._watching is None or self._watching.done():
            self._watching = self._platform.go_on(self._watch())

    def stop(self, response_id: str) -> None:
        if task := self._running.get(response_id):
            task.cancel()

    def told(
        self,
        org_id: str,
        response_id: str,
        after: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> EventStream:
        """The events of a kept response: live while it is made here, else once it has ended."""
        start = 0 if after is None else after + 1
        line = self._lines.get(response_id)
        frames = line.read(start) if line else self._late(org_id, response_id, after)
        return retold(frames, start, self._platform.streams, headers)

    async def _watch(self) -> None:
        """Stop what was cancelled or deleted on another node, for as long as anything is made here."""
        while self._running:
            await asyncio.sleep(LOOK_AGAIN_S)
            try:
                for response_id in await self._platform.responses.given_up(self._running):
                    self.stop(response_id)
            except OpenGLMError as error:
                logger.warning("cannot look whether responses are still wanted: %s", error.message)

    async def _late(self, org_id: str, response_id: str, after: int | None) -> AsyncIterator[bytes]:
        """Of one that another node makes, or that has ended."""
        while (kept := await self._platform.responses.get(org_id, response_id)).body["status"] in RUNNING:
            await asyncio.sleep(LOOK_AGAIN_S)
        yield replay(kept.body, after)

    async def _work(self, org_id: str, exchange: Exchange | Loop, answer: ResponseObject) -> None:
        status, line, events = None, self._lines[answer.id], ResponseEvents(answer)
        try:
            async for choice, step in exchange:
                line.tell(events.encode(choice, step))
                if answer.failure is not None:
                    break
        except asyncio.CancelledError:
            status = "cancelled"
        except OpenGLMError as error:
            line.tell(events.fail(error))
        finally:
            self._running.pop(answer.id, None)
            try:
                last = events.end(status)
                await self._keep(org_id, exchange, answer)
                line.tell(last)
            finally:
                exchange.close()
                line.end()
                asyncio.get_running_loop().call_later(LINE_S, self._lines.pop, answer.id, None)

    async def _keep(self, org_id: str, exchange: Exchange | Loop, answer: ResponseObject) -> None:
        """Write the end with the bill, or alone where there is none, however long the database is away."""
        body = answer.body()
        exchange.keep(self._platform.responses.finishing(org_id, body))
        if settling := exchange.close():
            await asyncio.shield(settling)
        while True:
            try:
                await self._platform.responses.finish(org_id, body)  # changes nothing where it is written
                return
            except DatabaseDown:
                logger.warning("the end of response %s is not kept yet", answer.id)
                await asyncio.sleep(LOOK_AGAIN_S)
