"""One way to a model: an address, what it calls the model, and how it wants to be left."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

from openglm.errors import InvalidRequest

Leaving = Literal["cancel", "drain", "abort"]
State = Literal["active", "draining", "disabled"]


@dataclass(frozen=True, slots=True)
class Channel:
    """`base_url` ends before /v1, or is unix:PATH for a server on this machine.

    `leaving` is what happens to an answer that nobody reads any more. "cancel" asks the server to end it,
    which ours do with a last usage; "drain" reads on, up to `drain_tokens`, for servers that bill to the end
    anyway; "abort" hangs up, and the last usage that came is the bill.

    Without `extensions` it is asked in OpenAI's documented words alone, for services that refuse all others.

    Channels of the lowest `priority` number are asked first; among equals each gets requests by its `weight`.
    """

    id: str
    base_url: str
    models: dict[str, str] = field(default_factory=dict)  # public name -> the server's own
    api_key: str | None = field(default=None, repr=False)
    leaving: Leaving = "abort"
    drain_tokens: int = 256
    weight: int = 1
    priority: int = 0
    max_in_flight: int | None = None  # more wait in line, tenant by tenant; None: no bound
    extensions: bool = True
    state: State = "active"

    def __post_init__(self) -> None:
        if not self.base_url.startswith(("http://", "https://", "unix:")):
            raise InvalidRequest(
                f"a channel's address must be http://…, https://… or unix:PATH, got {self.base_url!r}",
                param="base_url",
            )
        if self.socket is None:
            _check_address(self.base_url)
        for name, words in (
            ("leaving", ("cancel", "drain", "abort")),
            ("state", ("active", "draining", "disabled")),
        ):
            if getattr(self, name) not in words:
                raise InvalidRequest(
                    f"{name} must be one of {', '.join(words)}, got {getattr(self, name)!r}", param=name
                )
        for name, least, most in (
            ("weight", 1, 1_000_000),
            ("priority", -1_000_000, 1_000_000),
            ("drain_tokens", 0, 2**31),
            ("max_in_flight", 1, 1_000_000),
        ):
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                raise InvalidRequest(f"{name} must be in [{least}, {most}], got {value}", param=name)

    @property
    def socket(self) -> str | None:
        """The path of a Unix socket, if the channel is one."""
        return self.base_url.removeprefix("unix:") if self.base_url.startswith("unix:") else None

    def url(self, path: str) -> str:
        return f"http://model{path}" if self.socket else self.base_url.rstrip("/") + path

    def wire_name(self, model: str) -> str:
        return self.models.get(model, model)


def _check_address(url: str) -> None:
    try:
        host = urlsplit(url).netloc
    except ValueError as error:
        raise InvalidRequest(f"a channel's address cannot be read: {error}", param="base_url") from None
    if "@" in host:
        raise InvalidRequest(
            "a channel's address must hold no user and no password",
            param="base_url",
            hint="operators see addresses; a secret belongs into the channel's key, which is sealed",
        )
