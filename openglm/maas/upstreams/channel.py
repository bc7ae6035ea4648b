"""One way to a model: an address, what it calls the model, and how it wants to be left."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from openglm.errors import InvalidRequest

Leaving = Literal["cancel", "drain", "abort"]


@dataclass(frozen=True, slots=True)
class Channel:
    """`base_url` ends before /v1, or is unix:PATH for a server on this machine.

    `leaving` is what happens to an answer that nobody reads any more. "cancel" asks the server to end it,
    which ours do with a last usage; "drain" reads on, up to `drain_tokens`, for servers that bill to the end
    anyway; "abort" hangs up, and the last usage that came is the bill.
    """

    id: str
    base_url: str
    models: dict[str, str] = field(default_factory=dict)  # public name -> the server's own
    api_key: str | None = field(default=None, repr=False)
    leaving: Leaving = "abort"
    drain_tokens: int = 256

    def __post_init__(self) -> None:
        if not self.base_url.startswith(("http://", "https://", "unix:")):
            raise InvalidRequest(
                f"a channel's address must be http://…, https://… or unix:PATH, got {self.base_url!r}",
                param="base_url",
            )

    @property
    def socket(self) -> str | None:
        """The path of a Unix socket, if the channel is one."""
        return self.base_url.removeprefix("unix:") if self.base_url.startswith("unix:") else None

    def url(self, path: str) -> str:
        return f"http://model{path}" if self.socket else self.base_url.rstrip("/") + path

    def wire_name(self, model: str) -> str:
        return self.models.get(model, model)
