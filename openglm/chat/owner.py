"""Who asks: somebody signed in, or whoever sits at the machine of a household, and what is theirs.

Every statement of this room names the owner, so what belongs to others is not found.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Depends, Query, Request

from openglm.maas import door
from openglm.maas.console import House, check_page, person_of

if TYPE_CHECKING:
    from openglm.maas.identity import Caller, User

AT_HOME = ""  # stands for the user where nobody has an account yet
OWN = "org_id = :org AND user_id = :user"


@dataclass(frozen=True, slots=True)
class Owner:
    org_id: str
    user_id: str

    @property
    def ids(self) -> dict[str, str]:
        """The parameters of `OWN`."""
        return {"org": self.org_id, "user": self.user_id}


@dataclass(frozen=True, slots=True)
class Asker:
    caller: Caller
    user: User | None

    @property
    def owner(self) -> Owner:
        return Owner(self.caller.org_id, self.caller.user_id or AT_HOME)


def room_of(request: Request) -> Any:
    return request.app.state.chat


Room = Annotated[Any, Depends(room_of)]


async def asker_of(
    request: Request,
    platform: House,
    chat: Room,
    org: Annotated[
        str | None, Query(max_length=80, description="the organisation; default: the first")
    ] = None,
) -> Asker:
    """Who asks. What changes something comes from our own page, with the session's CSRF token."""
    at_home = await door.at_home(platform, request.scope)
    if at_home is not None:
        if request.method not in ("GET", "HEAD", "OPTIONS"):
            check_page(request, platform)
        return Asker(at_home, None)
    person = await person_of(request, platform)
    asker = Asker(await platform.seated(person.user.id, org), person.user)
    await chat.takeover.by(asker)
    return asker


Asking = Annotated[Asker, Depends(asker_of)]
