"""The channels that operators write down: rows that every process reads, keys sealed.

A channel is added, drained (answers that run end, nothing new is sent), disabled or removed while requests
run. The router of each process follows the table within two seconds.
"""

from __future__ import annotations

import logging
import re
from dataclasses import asdict, replace

import msgspec

from openglm.errors import InvalidRequest, NotFound, OpenGLMError
from openglm.maas.database import Database, Row, Transaction
from openglm.maas.identity.audit import SYSTEM, Actor, note
from openglm.maas.ids import Clock, wall_clock
from openglm.maas.rounds import Rounds
from openglm.maas.secrets import Secrets
from openglm.maas.upstreams.channel import Channel, State
from openglm.maas.upstreams.router import Router

logger = logging.getLogger(__name__)

READ_EVERY_S = 2.0
_PURPOSE = "channel"
_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


class Channels:
    """`start` gives the router what the table holds, and goes on doing so."""

    def __init__(self, database: Database, secrets: Secrets, router: Router, *, clock: Clock = wall_clock):
        self._database = database
        self._secrets = secrets
        self._router = router
        self._clock = clock
        self._given: dict[str, Channel] = {}
        self._reading = Rounds("the channels are read", self.reload, READ_EVERY_S)

    async def start(self) -> None:
        await self.reload()
        self._reading.start()

    async def stop(self) -> None:
        await self._reading.stop()

    async def reload(self) -> None:
        """Let the table hold from here on."""
        now = {channel.id: channel for channel in await self.list()}
        for gone in self._given.keys() - now.keys():
            self._router.remove(gone)
        for channel in now.values():
            if self._given.get(channel.id) != channel:
                self._router.add(channel)
        self._given = now

    async def list(self) -> list[Channel]:
        """All channels, with their keys in clear: not for showing."""
        rows = await self._database.read("SELECT * FROM channel ORDER BY id")
        channels = []
        for row in rows:
            try:
                channels.append(self._channel(row))
            except OpenGLMError as error:
                logger.error("channel %s is left out: %s", row["id"], error.message)
        return channels

    async def put(self, channel: Channel, *, actor: Actor = SYSTEM) -> None:
        """Add a channel, or replace the one of that id. Its key stays if none is given with the new one."""
        if not _ID.fullmatch(channel.id):
            raise InvalidRequest(
                f"a channel's id must be 1 to 64 of a-z, 0-9, '.', '_' and '-', got {channel.id[:80]!r}",
                param="id",
            )
        if not channel.models:
            raise InvalidRequest("a channel must answer to at least one model", param="models")
        sealed = None
        if channel.api_key:
            sealed = self._secrets.seal(_PURPOSE, channel.api_key.encode(), context=channel.id)
        now = self._clock()
        told = {name: value for name, value in asdict(channel).items() if name not in ("id", "api_key")}

        def work(transaction: Transaction) -> None:
            transaction.run(
                "INSERT INTO channel (id, base_url, sealed_key, models, weight, priority, max_in_flight,"
                " leaving, drain_tokens, extensions, state, created_at) VALUES (:id, :base_url, :sealed,"
                " :models, :weight, :priority, :max_in_flight, :leaving, :drain_tokens, :extensions, :state,"
                " :now)"
                " ON CONFLICT (id) DO UPDATE SET base_url = excluded.base_url,"
                " sealed_key = coalesce(excluded.sealed_key, channel.sealed_key), models = excluded.models,"
                " weight = excluded.weight, priority = excluded.priority,"
                " max_in_flight = excluded.max_in_flight, leaving = excluded.leaving,"
                " drain_tokens = excluded.drain_tokens, extensions = excluded.extensions,"
                " state = excluded.state",
                id=channel.id,
                base_url=channel.base_url,
                sealed=sealed,
                models=msgspec.json.encode(channel.models).decode(),
                weight=channel.weight,
                priority=channel.priority,
                max_in_flight=channel.max_in_flight,
                leaving=channel.leaving,
                drain_tokens=channel.drain_tokens,
                extensions=int(channel.extensions),
                state=channel.state,
                now=now,
            )
            note(transaction, now, actor, "channel.put", channel.id, org_id=None, details=told)

        await self._database.write(work, durable=True)
        await self.reload()

    async def get(self, channel_id: str) -> Channel:
        row = await self._database.read_one("SELECT * FROM channel WHERE id = :id", id=channel_id)
        if row is None:
            raise _no_channel(channel_id)
        return self._channel(row)

    async def set_state(self, channel_id: str, state: State, *, actor: Actor = SYSTEM) -> None:
        """Drain, disable, or take it back into service."""
        replace(Channel(channel_id, "http://checked"), state=state)  # an unknown word is refused
        now = self._clock()

        def work(tx: Transaction) -> None:
            if not tx.run("UPDATE channel SET state = :state WHERE id = :id", state=state, id=channel_id):
                raise _no_channel(channel_id)
            note(tx, now, actor, "channel.state", channel_id, org_id=None, details={"state": state})

        await self._database.write(work, durable=True)
        await self.reload()

    async def remove(self, channel_id: str, *, actor: Actor = SYSTEM) -> None:
        now = self._clock()

        def work(tx: Transaction) -> None:
            if not tx.run("DELETE FROM channel WHERE id = :id", id=channel_id):
                raise _no_channel(channel_id)
            note(tx, now, actor, "channel.remove", channel_id, org_id=None)

        await self._database.write(work, durable=True)
        await self.reload()

    def _channel(self, row: Row) -> Channel:
        sealed = row["sealed_key"]
        key = self._secrets.unseal(_PURPOSE, bytes(sealed), context=row["id"]).decode() if sealed else None
        return Channel(
            id=row["id"],
            base_url=row["base_url"],
            models=msgspec.json.decode(row["models"], type=dict[str, str]),
            api_key=key,
            leaving=row["leaving"],
            drain_tokens=row["drain_tokens"],
            extensions=bool(row["extensions"]),
            weight=row["weight"],
            priority=row["priority"],
            max_in_flight=row["max_in_flight"],
            state=row["state"],
        )


def _no_channel(channel_id: str) -> NotFound:
    return NotFound(f"there is no channel {channel_id[:80]!r}")
