"""Which channel answers: the healthy one that met the conversation before, and the next one if it fails.

A request moves on to another channel only while nothing of its answer has been seen. Channels come and go at
run time; an answer that has begun stays where it is. A full channel is passed over while another has room;
where all are full, tenants take turns.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
from array import array
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from openglm.dialects.openai.images import ImageAnswer
from openglm.errors import ModelNotFound, NotOffered, Overloaded, UpstreamFailure
from openglm.maas.ids import Clock, wall_clock
from openglm.maas.limits import FairQueue
from openglm.maas.rounds import Rounds
from openglm.maas.upstreams.answer import UpstreamAnswer
from openglm.maas.upstreams.channel import Channel
from openglm.maas.upstreams.client import Client
from openglm.messages import ChatRequest, CompletionRequest, EmbeddingRequest, ImageRequest

FAILURES = 3  # in a row, after which a channel rests
REST_MS = 5_000  # and doubles with each further failure, up to
LONGEST_REST_MS = 300_000
PREFIX_CHARS = 2048  # of a message or prompt that tell conversations apart
PROBE_EVERY_S = 2.0  # of channels that rest
T = TypeVar("T")


@dataclass(slots=True)
class _Way:
    """A channel and what is known of it here."""

    channel: Channel
    queue: FairQueue
    failures: int = 0
    resting_until: int = 0
    used_at: int = 0
    wake: Callable[[str], Awaitable[None]] | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Health:
    """A channel as this process sees it."""

    channel_id: str
    healthy: bool
    in_flight: int
    waiting: int
    used_at_ms: int


class Router:
    """The channels of this process and what is known of their health. Use it on one event loop."""

    def __init__(self, client: Client, *, clock: Clock = wall_clock):
        self._client = client
        self._clock = clock
        self._ways: dict[str, _Way] = {}
        self._probing = Rounds("resting channels are probed", self.probe, PROBE_EVERY_S)

    def start(self) -> None:
        """Look after channels that rest, so that they serve again as soon as they can."""
        self._probing.start()

    async def stop(self) -> None:
        await self._probing.stop()

    def add(self, channel: Channel, *, wake: Callable[[str], Awaitable[None]] | None = None) -> None:
        """Take requests for the channel's models there from now on; one of the same id is replaced.

        `wake` is awaited before each request, with its model, for a server that may have to be started, or an
        adapter that may have to be loaded first.
        """
        way = self._ways.get(channel.id)
        if way is None or way.channel.base_url != channel.base_url:
            way = self._ways[channel.id] = _Way(channel, FairQueue(channel.max_in_flight))
        way.channel, way.wake, way.queue.places = channel, wake, channel.max_in_flight
        way.queue.admit()

    def remove(self, channel_id: str) -> None:
        """Send nothing more there; what runs there ends in its own time."""
        self._ways.pop(channel_id, None)

    @property
    def models(self) -> tuple[str, ...]:
        """The public names that some channel in service answers to."""
        return tuple(
            sorted(
                {
                    name
                    for way in self._ways.values()
                    if way.channel.state == "active"
                    for name in way.channel.models
                }
            )
        )

    def health(self) -> list[Health]:
        now = self._clock()
        return [
            Health(name, way.resting_until <= now, way.queue.taken, way.queue.waiting, way.used_at)
            for name, way in sorted(self._ways.items())
        ]

    async def stream(
        self,
        request: ChatRequest | CompletionRequest,
        *,
        request_id: str,
        affinity: str | None = None,
        tenant: str = "",
    ) -> UpstreamAnswer:
        """An answer that has begun; whoever gets it must leave it.

        Raises Abandoned, a CancelledError, if nobody waits any more for what may have begun.
        """

        async def begin(way: _Way) -> UpstreamAnswer:
            await way.queue.enter(tenant)
            try:
                answer = await self._client.stream(way.channel, request, request_id)
            except BaseException:
                way.queue.leave(tenant)
                raise
            answer.on_leave = lambda: self._left(way, tenant)
            return answer

        if affinity is None:
            several = len(self._serving(request.model)) > 1
            affinity = prefix_of(request) if several else request_id
        return await self._first_of(request.model, affinity, begin)

    async def embed(
        self, request: EmbeddingRequest, *, request_id: str, tenant: str = ""
    ) -> tuple[list[array[float]], int]:
        async def work(way: _Way) -> tuple[list[array[float]], int]:
            await way.queue.enter(tenant)
            try:
                return await self._client.embed(way.channel, request, request_id)
            finally:
                self._left(way, tenant)

        return await self._first_of(request.model, request_id, work)

    async def draw(self, request: ImageRequest, *, request_id: str, tenant: str = "") -> ImageAnswer:
        async def work(way: _Way) -> ImageAnswer:
            await way.queue.enter(tenant)
            try:
                return await self._client.draw(way.channel, request, request_id)
            finally:
                self._left(way, tenant)

        return await self._first_of(request.model, request_id, work)

    async def count_tokens(self, request: ChatRequest | str, model: str, *, request_id: str) -> int:
        return await self._first_of(
            model,
            request_id,
            lambda way: self._client.count_tokens(way.channel, request, model, request_id),
        )

    def _left(self, way: _Way, tenant: str) -> None:
        way.used_at = self._clock()
        way.queue.leave(tenant)

    async def _first_of(self, model: str, key: str, work: Callable[[_Way], Awaitable[T]]) -> T:
        """The outcome on the first channel that does it. What the caller did wrong is wrong everywhere."""
        failure: UpstreamFailure | Overloaded | ModelNotFound | NotOffered | None = None
        for way in self._order(model, key):
            way.used_at = self._clock()
            try:
                if way.wake:
                    await way.wake(model)
                outcome = await work(way)
            except (Overloaded, ModelNotFound, NotOffered) as error:
                # Busy is not ill; nor is one that lost its model, or cannot count tokens.
                failure = failure or error
                continue
            except UpstreamFailure as error:
                self._note_failure(way)
                failure = error
                continue
            way.failures = way.resting_until = 0
            return outcome
        assert failure is not None, "a model without channels is not found"
        raise failure

    def check(self, model: str) -> None:
        """Raise ModelNotFound if no channel in service answers to the name."""
        self._serving(model)

    def _serving(self, model: str) -> list[_Way]:
        ways = [
            way
            for way in self._ways.values()
            if model in way.channel.models and way.channel.state == "active"
        ]
        if not ways:
            # Those that there are, are not told: some are private.
            raise ModelNotFound(
                f"there is no model {model!a}",
                param="model",
                code="model_not_found",
                hint="GET /v1/models lists those that a key may call",
            )
        return ways

    def _order(self, model: str, key: str) -> list[_Way]:
        """Healthy ones first, then by priority, then those with room; among equals each key has its own
        order, which other channels do not disturb."""
        ways = self._serving(model)
        if len(ways) == 1:
            return ways
        now = self._clock()
        return sorted(
            ways,
            key=lambda way: (
                way.resting_until > now,
                way.channel.priority,
                way.queue.full,
                _draw(key, way.channel),
            ),
        )

    def _note_failure(self, way: _Way) -> None:
        way.failures += 1
        if way.failures >= FAILURES:
            rest = min(REST_MS * 2 ** min(way.failures - FAILURES, 10), LONGEST_REST_MS)
            way.resting_until = self._clock() + rest

    async def probe(self) -> None:
        """Ask every channel that rests whether it is well again."""
        now = self._clock()
        resting = [way for way in self._ways.values() if way.resting_until > now]
        answers = await asyncio.gather(*(self._client.healthy(way.channel) for way in resting))
        for way, well in zip(resting, answers, strict=True):
            if well:
                way.failures, way.resting_until = FAILURES - 1, 0  # one more failure, and it rests again


def prefix_of(request: ChatRequest | CompletionRequest) -> str:
    """What the turns of one conversation have in common, and two conversations hardly: how it begins."""
    begins = hashlib.blake2b(request.cache_salt.encode(), digest_size=12)
    if isinstance(request, CompletionRequest):
        begins.update(str(request.prompts[0])[:PREFIX_CHARS].encode("utf-8", "replace"))
        return begins.hexdigest()
    for message in request.messages:
        begins.update(f"\0{message.role}\0{message.text[:PREFIX_CHARS]}".encode("utf-8", "replace"))
        if message.role == "user":
            break
    return begins.hexdigest()


def _draw(key: str, channel: Channel) -> float:
    """Weighted rendezvous hashing: the lowest draw answers, twice as often at twice the weight."""
    digest = hashlib.blake2b(f"{key}\0{channel.id}".encode(), digest_size=8).digest()
    chance = (int.from_bytes(digest) + 1) / (2**64 + 1)
    return -math.log(chance) / channel.weight
