"""The console as an ASGI app: its routes and the parts of its OpenAPI document."""

from __future__ import annotations

from typing import TYPE_CHECKING

from openglm.maas.console import (
    audit,
    finetuning,
    keys,
    limits,
    machine,
    money,
    orgs,
    people,
    quotas,
    requests,
    serving,
    session,
    usage,
)
from openglm.maas.console.api import create_api

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from openglm.maas.platform import Platform

PATH = "/api/console"
_TAGS = {
    "session": "Sign up, sign in, sign out, and what one may change about oneself.",
    "organisations": "Organisations, members, invitations, projects.",
    "keys": "API keys: the secret is shown once, when the key is made.",
    "money": "Wallet, budgets, plans, invoices. Amounts are exact decimals of the currency, as text.",
    "usage": "What was used and what it cost, in sums and down to single requests.",
    "fine-tuning": "Jobs that train private models, with their curves; and those models.",
    "audit": "Who did what.",
    "people": "For operators: all users and organisations.",
    "serving": "For operators: models, channels, servers.",
    "machine": "For operators: what fits this machine, and how it does.",
    "limits": "For operators: prices, limits, quotas, redeem codes.",
}
_PARTS = (
    session,
    orgs,
    keys,
    money,
    usage,
    requests,
    finetuning,
    audit,
    people,
    serving,
    machine,
    limits,
    quotas,
)


def create_console(platform: Platform) -> ASGIApp:
    """Mount it at `PATH`."""
    return create_api(
        platform,
        path=PATH,
        title="OpenGLM console",
        description="Sign in first; what changes something needs the header x-csrf-token of GET /session.",
        tags=_TAGS,
        routers=[part.router for part in _PARTS],
    )
