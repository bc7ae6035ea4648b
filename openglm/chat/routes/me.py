"""Who is here, and what there is to choose from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter

from openglm.chat.attachments import BYTES
from openglm.chat.owner import Asking, Room
from openglm.chat.pictures import draws
from openglm.chat.routes.bodies import ATTACHMENTS, MESSAGE_BYTES
from openglm.errors import OpenGLMError

router = APIRouter(tags=["me"])


@dataclass(frozen=True, slots=True)
class Person:
    id: str
    name: str
    email: str


@dataclass(frozen=True, slots=True)
class Place:
    """An organisation."""

    id: str
    name: str
    role: str


@dataclass(frozen=True, slots=True)
class ModelCard:
    """A model. `context` (tokens), `sees_images` and `thinks` are its server's word, else the catalogue's;
    null where neither knows. Prices are exact decimals of the currency for a million tokens; null: none."""

    id: str
    name: str
    context: int | None
    sees_images: bool | None
    thinks: bool | None
    draws: bool  # it answers with pictures
    price: dict[str, str] | None


@dataclass(frozen=True, slots=True)
class Me:
    household: bool
    user: Person | None
    org: str
    orgs: list[Place]
    currency: str
    models: list[ModelCard]
    default_model: str | None
    features: dict[str, bool]
    limits: dict[str, int]


@router.get("/me")
async def who_am_i(chat: Room, asker: Asking) -> Me:
    """Who asks, the models they may call, and what this platform offers."""
    platform, user = chat.platform, asker.user
    orgs = await platform.accounts.orgs_of(user.id) if user else ()
    cards = [await _card(platform, name) for name in platform.models_of(asker.caller)]
    return Me(
        household=user is None,
        user=Person(user.id, user.name, user.email) if user else None,
        org=asker.caller.org_id,
        orgs=[Place(org.id, org.name, role) for org, role in orgs],
        currency=platform.settings.currency,
        models=cards,
        default_model=await chat.default_model(asker.caller) or None,
        features={
            "web_search": True,
            "reader": True,
            "images": any(one.draws for one in cards),
            "voice": False,
        },
        limits={"message_bytes": MESSAGE_BYTES, "attachments": ATTACHMENTS, "attachment_bytes": BYTES},
    )


async def _card(platform: Any, name: str) -> ModelCard:
    known = platform.models.about(name)
    price = None
    try:
        found = await platform.prices.current(platform.models.target(name), platform.models.base_of(name))
        price = found.shown()
    except OpenGLMError:
        pass
    drawing = await draws(platform, name)
    context, sees, thinks = (None, False, False) if drawing else _abilities(platform, name)
    return ModelCard(name, known.title or name, context, sees, thinks, drawing, price)


def _abilities(platform: Any, name: str) -> tuple[int | None, bool | None, bool | None]:
    """Its window, whether it sees images, whether it thinks."""
    told = platform.servers.card_of(platform.models.root(name))
    if told is not None:
        return told.max_model_len, told.sees_images, told.thinks
    entry = platform.models.entry_of(name)
    if entry is not None:
        return entry.context, False, entry.thinks  # all models of the catalogue read text alone
    return None, None, None
