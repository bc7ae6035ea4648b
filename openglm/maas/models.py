"""The models that can be called: public names, aliases, private ones, and those that servers of ours open.

The table is read every two seconds, so that a change made by another process or by `glm admin` holds soon.
A name without a row can be called too, if some channel answers to it: rows say more about a model than that.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Literal

import msgspec

from openglm.errors import Conflict, InvalidRequest, ModelNotFound, NotFound
from openglm.maas.database import Database, Row, Transaction
from openglm.maas.identity.audit import SYSTEM, Actor, note
from openglm.maas.ids import Clock, wall_clock
from openglm.maas.rounds import Rounds

if TYPE_CHECKING:
    from openglm.hub import Catalogue, Entry
    from openglm.maas.identity import Caller

READ_EVERY_S = 2.0
Load = Literal["always", "on_demand"]
State = Literal["active", "disabled"]
NAME = re.compile(r"[A-Za-z0-9][\w.:/@-]{0,127}")


@dataclass(frozen=True, slots=True)
class Model:
    """`source` is what `glm serve` opens; without one, channels alone say where the model is answered."""

    name: str
    title: str = ""
    owner_org: str | None = None  # a private model: others do not find it
    alias_of: str | None = None
    source: str | None = None
    flags: tuple[str, ...] = ()  # more words for the server's command line
    load: Load = "always"
    idle_s: int = 600  # after which a model loaded on demand is unloaded
    memory_bytes: int | None = None  # what its server took when it was last seen
    state: State = "active"
    created_at: int = 0
    base: str | None = None  # the model that this one is an adapter over
    adapter: str | None = None  # its folder, seen from the data folder


class Models:
    """Rows and what was last read of them. `changed` is called on the loop after each read that differs."""

    def __init__(self, database: Database, *, clock: Clock = wall_clock):
        self._database = database
        self._clock = clock
        self._known: dict[str, Model] = {}
        self._reading = Rounds("the models are read", self.reload, READ_EVERY_S)
        self.changed: Callable[[], None] = lambda: None

    async def start(self) -> None:
        await self.reload()
        self._reading.start()

    async def stop(self) -> None:
        await self._reading.stop()

    async def reload(self) -> None:
        known = {model.name: model for model in await self.list()}
        if known != self._known:
            self._known = known
            self.changed()

    # As requests see them

    def check(self, caller: Caller, name: str) -> None:
        """ModelNotFound for what the caller must not know of, or what is switched off."""
        model = self._known.get(name)
        if model is not None and (
            model.state == "disabled" or (model.owner_org and model.owner_org != caller.org_id)
        ):
            raise ModelNotFound(f"there is no model {name!r}", param="model", code="model_not_found")

    def target(self, name: str) -> str:
        """The name that an alias stands for; any other name itself."""
        model = self._known.get(name)
        return model.alias_of if model is not None and model.alias_of else name

    def base_of(self, name: str) -> str | None:
        """The model that an adapter lies over; None for a model of its own."""
        model = self._known.get(name)
        return model.base if model is not None else None

    def adapters_of(self, base: str) -> tuple[Model, ...]:
        return tuple(
            model for model in self._known.values() if model.base == base and model.state == "active"
        )

    def knows(self, name: str) -> bool:
        """Whether the name has a row, as far as has been read."""
        return name in self._known

    def owner_of(self, name: str) -> str | None:
        """The organisation whose private model it is."""
        model = self._known.get(name)
        return model.owner_org if model is not None else None

    def seen_by(self, caller: Caller, served: tuple[str, ...]) -> list[str]:
        """Of the names that something answers to, those that the caller may call; aliases too."""
        names = set(served)
        names |= {model.name for model in self._known.values() if model.source}
        names |= {model.name for model in self._known.values() if model.alias_of in names}
        return sorted(name for name in names if caller.sees(name) and self._open_to(caller, name))

    def _open_to(self, caller: Caller, name: str) -> bool:
        try:
            self.check(caller, name)
        except ModelNotFound:
            return False
        return True

    def about(self, name: str) -> Model:
        """What its row says; a name without one is a name alone."""
        return self._known.get(name) or Model(name)

    def entry_of(self, name: str) -> Entry | None:
        """The catalogue's word on a model that it knows, or whose base it knows."""
        model = self.about(self.root(name))
        return _catalogue().entries.get(model.source or model.name)

    def root(self, name: str) -> str:
        """The model whose weights answer: behind an alias, under an adapter."""
        target = self.target(name)
        return self.base_of(target) or target

    def created_at(self, name: str) -> int:
        model = self._known.get(name)
        return model.created_at if model else 0

    @property
    def local(self) -> tuple[Model, ...]:
        """Those that a server of ours opens."""
        return tuple(model for model in self._known.values() if model.source and model.state == "active")

    def preferred(self, names: Sequence[str]) -> str | None:
        """Of these, what somebody is offered first: a model that is loaded, before others."""
        loaded = [
            name for name in names if self.about(self.target(name)).load == "always" and self.knows(name)
        ]
        return next(iter([*loaded, *names]), None)

    # As operators see them

    async def list(self) -> list[Model]:
        rows = await self._database.read("SELECT * FROM model ORDER BY name")
        return [_model(row) for row in rows]

    async def put(self, model: Model, *, actor: Actor = SYSTEM) -> Model:
        """Add a model, or replace the row of that name."""
        _check(model)
        now = self._clock()

        def work(transaction: Transaction) -> None:
            if model.alias_of:
                target = transaction.one("SELECT alias_of FROM model WHERE name = :name", name=model.alias_of)
                if target is not None and target["alias_of"]:
                    raise Conflict(f"{model.alias_of!r} is an alias itself", hint="name the model behind it")
            transaction.run(
                "INSERT INTO model (name, title, owner_org, alias_of, source, flags, load, idle_s, state,"
                " created_at) VALUES (:name, :title, :owner_org, :alias_of, :source, :flags, :load, :idle_s,"
                " :state, :now) ON CONFLICT (name) DO UPDATE SET title = excluded.title,"
                " owner_org = excluded.owner_org, alias_of = excluded.alias_of, source = excluded.source,"
                " flags = excluded.flags, load = excluded.load, idle_s = excluded.idle_s,"
                " state = excluded.state",
                name=model.name,
                title=model.title,
                owner_org=model.owner_org,
                alias_of=model.alias_of,
                source=model.source,
                flags=msgspec.json.encode(model.flags).decode(),
                load=model.load,
                idle_s=model.idle_s,
                state=model.state,
                now=now,
            )
            details = {"source": model.source, "alias_of": model.alias_of, "owner": model.owner_org}
            note(transaction, now, actor, "model.put", model.name, org_id=None, details=details)

        await self._database.write(work, durable=True)
        await self.reload()
        return await self.get(model.name)

    async def get(self, name: str) -> Model:
        row = await self._database.read_one("SELECT * FROM model WHERE name = :name", name=name)
        if row is None:
            raise NotFound(f"there is no model {name!r}")
        return _model(row)

    async def remove(self, name: str, *, actor: Actor = SYSTEM) -> None:
        now = self._clock()

        def work(transaction: Transaction) -> None:
            if not transaction.run("DELETE FROM model WHERE name = :name", name=name):
                raise NotFound(f"there is no model {name!r}")
            note(transaction, now, actor, "model.remove", name, org_id=None)

        await self._database.write(work, durable=True)
        await self.reload()

    async def note_memory(self, name: str, memory_bytes: int) -> None:
        """What a model's server takes, for the next time that room must be found for it."""
        await self._database.write(
            lambda t: t.run(
                "UPDATE model SET memory_bytes = :bytes WHERE name = :name", bytes=memory_bytes, name=name
            )
        )


def publish_adapter(tx: Transaction, model: Model, now: int) -> None:
    """Add a private model inside a transaction; again, it is there already."""
    _check(model)
    tx.run(
        "INSERT INTO model (name, title, owner_org, base, adapter, created_at)"
        " VALUES (:name, :title, :owner_org, :base, :adapter, :now) ON CONFLICT (name) DO NOTHING",
        name=model.name,
        title=model.title,
        owner_org=model.owner_org,
        base=model.base,
        adapter=model.adapter,
        now=now,
    )


def _check(model: Model) -> None:
    if not NAME.fullmatch(model.name):
        raise InvalidRequest(
            f"a model's name must be 1 to 128 letters, digits or any of . _ : / @ -, got {model.name[:80]!r}",
            param="name",
        )
    if model.load not in ("always", "on_demand"):
        raise InvalidRequest(f"load must be always or on_demand, got {model.load!r}", param="load")
    if model.state not in ("active", "disabled"):
        raise InvalidRequest(f"state must be active or disabled, got {model.state!r}", param="state")
    if not 1 <= model.idle_s <= 10**9:
        raise InvalidRequest(f"idle_s must be at least 1 second, got {model.idle_s}", param="idle_s")
    if model.alias_of == model.name or (model.alias_of and model.source):
        raise InvalidRequest("an alias names another model and has no source of its own", param="alias_of")


def _model(row: Row) -> Model:
    return Model(
        row["name"],
        row["title"],
        row["owner_org"],
        row["alias_of"],
        row["source"],
        tuple(msgspec.json.decode(row["flags"], type=list[str])),
        row["load"],
        row["idle_s"],
        row["memory_bytes"],
        row["state"],
        row["created_at"],
        row["base"],
        row["adapter"],
    )


@cache
def _catalogue() -> Catalogue:
    from openglm.hub import catalogue

    return catalogue()
