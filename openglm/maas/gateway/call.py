"""One API call after the door: who calls, with what, on which surface."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar

from openglm.asgi.body import decoded
from openglm.dialects.wire import WireError
from openglm.errors import InvalidRequest
from openglm.maas import door

if TYPE_CHECKING:
    from starlette.types import Scope

    from openglm.maas.identity.caller import Caller


T = TypeVar("T")
_KEY = re.compile(r"[\x21-\x7e]{1,128}")


@dataclass(frozen=True, slots=True)
class Surface:
    """A family of routes that speaks one dialect."""

    name: str  # as usage rows spell it
    encode_error: Callable[[Exception, str], WireError]  # the error and the request's id
    payer: Literal["wallet", "plan", "either"] = "wallet"  # see gateway/payer.py


@dataclass(frozen=True, slots=True)
class Call:
    scope: Scope
    body: bytes
    caller: Caller
    surface: Surface
    request_id: str  # ours, unique: the key of the hold
    received_ms: int
    batch: bool = False  # a row of a batch: at half price, and outside the limits of live requests
    errand: str | None = None  # the id of the row or task that this is one try at

    async def read(self, decode: Callable[[bytes], T]) -> T:
        """The body, decoded."""
        return await decoded(decode, self.body)

    def header(self, name: str) -> str | None:
        return door.header(self.scope, name)

    def name(self, client_request_id: str | None) -> str | None:
        """Of which no two may run or have been answered: the errand's id, or what the client calls it."""
        if self.errand or client_request_id:
            return self.errand or client_request_id
        key = self.header("idempotency-key")
        if key is not None and not _KEY.fullmatch(key):
            raise InvalidRequest(
                f"idempotency-key must be 1 to 128 printable ASCII characters, got {ascii(key)[:60]}",
                param="idempotency-key",
            )
        return key

    @property
    def affinity(self) -> str | None:
        """What requests of one conversation have in common, so that they meet their cached prefix again."""
        for name in ("x-session-affinity", "x-claude-code-session-id", "session_id"):
            if value := self.header(name):
                return f"{self.caller.org_id}:{value[:200]}"
        return None
