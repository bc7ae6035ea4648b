"""Which channel answers: the healthy one that met the conversation before, and the next one if it fails.

A request moves on to another channel only while nothing of its answer has been seen. Channels come and go at
run time; an answer that has begun stays where it is.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Awaitable, Callable
from typing import TypeVar

from openglm.errors import ModelNotFound, Overloaded, UpstreamFailure
from openglm.maas.ids import Clock, wall_clock
from openglm.maas.upstreams.answer import UpstreamAnswer
from openglm.maas.upstreams.channel import Channel
from openglm.maas.upstreams.client import Client
from openglm.messages import ChatRequest, CompletionRequest, EmbeddingRequest

FAILURES = 3  # in a row, after which a channel rests
REST_MS = 5_000  # and doubles with each further failure, up to
LONGEST_REST_MS = 300_000
T = TypeVar("T")


class Router:
    """The channels of this process and what is known of their health."""

    def __init__(self, client: Client, *, clock: Clock = wall_clock):
        self._client = client
        self._clock = clock
        self._channels: dict[str, Channel] = {}
        self._failures: dict[str, int] = {}
        self._resting_until: dict[str, int] = {}

    def add(self, channel: Channel) -> None:
        """Take requests for the channel's models there from now on; one of the same id is replaced."""
        self._channels[channel.id] = channel

    def remove(self, channel_id: str) -> None:
        """Send nothing more there; what runs there ends in its own time."""
        for table in (self._channels, self._failures, self._resting_until):
            table.pop(channel_id, None)

    @property
    def models(self) -> tuple[str, ...]:
        """The public names that some channel answers to."""
        return tuple(sorted({name for channel in self._channels.values() for name in channel.models}))

    async def stream(
        self, request: ChatRequest | CompletionRequest, *, request_id: str, affinity: str | None = None
    ) -> UpstreamAnswer:
        """An answer that has begun; whoever gets it must leave it."""

        async def begin(channel: Channel) -> UpstreamAnswer:
            answer = await self._client.stream(channel, request, request_id)
            try:
                await answer.begin()
            except BaseException:
                await answer.leave()
                raise
            return answer

        return await self._first_of(request.model, affinity or request_id, begin)

    async def embed(self, request: EmbeddingRequest, *, request_id: str) -> tuple[list[array[float]], int]:
        return await self._first_of(
            request.model, request_id, lambda channel: self._client.embed(channel, request, request_id)
        )

    async def count_tokens(self, request: ChatRequest | str, model: str, *, request_id: str) -> int:
        return await self._first_of(
            model,
            request_id,
            lambda channel: self._client.count_tokens(channel, request, model, request_id),
        )

    async def _first_of(self, model: str, key: str, work: Callable[[Channel], Awaitable[T]]) -> T:
        """The outcome on the first channel that does it. What the caller did wrong is wrong everywhere."""
        failure: UpstreamFailure | Overloaded | None = None
        for channel in self._order(model, key):
            try:
                outcome = await work(channel)
            except (UpstreamFailure, Overloaded) as error:
                self._note_failure(channel)
                failure = error
                continue
            self._failures.pop(channel.id, None)
            self._resting_until.pop(channel.id, None)
            return outcome
        assert failure is not None, "a model without channels is not found"
        raise failure

    def _order(self, model: str, key: str) -> list[Channel]:
        """Healthy ones first; among them, each key has its own order that other channels do not disturb."""
        channels = [channel for channel in self._channels.values() if model in channel.models]
        if not channels:
            known = ", ".join(self.models) or "none"
            raise ModelNotFound(f"no channel serves the model {model!a}; served: {known}", param="model")
        now = self._clock()
        return sorted(
            channels,
            key=lambda channel: (self._resting_until.get(channel.id, 0) > now, _draw(key, channel.id)),
        )

    def _note_failure(self, channel: Channel) -> None:
        count = self._failures.get(channel.id, 0) + 1
        self._failures[channel.id] = count
        if count >= FAILURES:
            rest = min(REST_MS * 2 ** min(count - FAILURES, 10), LONGEST_REST_MS)
            self._resting_until[channel.id] = self._clock() + rest


def _draw(key: str, channel_id: str) -> bytes:
    """Rendezvous hashing: the channel with the lowest draw answers."""
    return hashlib.blake2b(f"{key}\0{channel_id}".encode(), digest_size=8).digest()
