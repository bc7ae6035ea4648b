"""`glm admin`: users, keys, money, limits, models and channels of a platform, from its own machine.

What it does is audited as done at the machine, by nobody's account.
"""

from __future__ import annotations

import getpass
import secrets
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter

from openglm.commands.office import Office, moment, org_of, user_of
from openglm.errors import InvalidRequest

if TYPE_CHECKING:
    from openglm.maas.platform import Platform

admin = App(
    "admin",
    "Look after a platform: users, keys, money, limits, models, channels, backups.",
    help_format="plaintext",
)
user, org, key, wallet, price, plan, budget, invoice, limit, channel, model = (
    App(name, summary, help_format="plaintext")
    for name, summary in (
        ("user", "People who may sign in."),
        ("org", "Organisations: their tiers, and whether they are open."),
        ("key", "API keys; a key is shown once, when it is made."),
        ("wallet", "Prepaid money of an organisation."),
        ("price", "Prices per million tokens; each change is a new version."),
        ("plan", "Plans with windows, and who has subscribed."),
        ("budget", "What may be spent in a window, by organisation, project, key or user."),
        ("invoice", "A month's bill; what was issued never changes."),
        ("limit", "Answers in flight, requests and tokens a minute, by tier and model."),
        ("channel", "Where models are answered: remote servers that speak OpenAI."),
        ("model", "Public names: aliases, private models, and those that a server here opens."),
    )
)
for group in (user, org, key, wallet, price, plan, budget, invoice, limit, channel, model):
    admin.command(group)

Org = Annotated[str | None, Parameter(help="id or name; not needed while there is one organisation")]
PasswordFile = Annotated[
    Path | None, Parameter(help="file with the password; - is standard input", allow_leading_hyphen=True)
]
Amount = Annotated[str, Parameter(help="in the platform's currency, as 12.50")]


@user.command(name="add")
def add_user(
    email: str,
    /,
    *,
    name: str = "",
    password_file: PasswordFile = None,
    office: Office = Office(),
) -> None:
    """Add a user with an organisation of their own. The first one is the platform's operator."""
    password = read_password(password_file)

    async def work(platform: Platform) -> None:
        made = await platform.accounts.add(email, password, name or email.partition("@")[0])
        office.say({"user": made.user.id, "organisation": made.org_id, "project": made.project_id})

    office.run(work, begins=True)


@user.command(name="list")
def list_users(*, office: Office = Office()) -> None:
    """List all users."""

    async def work(platform: Platform) -> None:
        rows = []
        after = ""
        while page := await platform.accounts.users(after=after):
            rows += [asdict(one) for one in page]
            after = page[-1].id
        office.show(rows, ("email", "name", "is_operator", "is_disabled", "id"))

    office.run(work)


@user.command(name="disable")
def disable_user(email: str, /, *, office: Office = Office()) -> None:
    """Let a user in no more; their sessions end, their keys stop."""

    async def work(platform: Platform) -> None:
        await platform.accounts.disable_user((await user_of(platform, email)).id)

    office.run(work)


@user.command(name="enable")
def enable_user(email: str, /, *, office: Office = Office()) -> None:
    """Let a user in again."""

    async def work(platform: Platform) -> None:
        await platform.accounts.enable_user((await user_of(platform, email)).id)

    office.run(work)


@user.command(name="operator")
def set_operator(email: str, state: Literal["on", "off"], /, *, office: Office = Office()) -> None:
    """Make a user an operator of the whole platform, or one no more. One operator stays."""

    async def work(platform: Platform) -> None:
        await platform.accounts.set_operator((await user_of(platform, email)).id, state == "on")

    office.run(work)


@user.command(name="reset-password")
def reset_password(email: str, /, *, password_file: PasswordFile = None, office: Office = Office()) -> None:
    """Give a user a new password."""
    password = read_password(password_file)

    async def work(platform: Platform) -> None:
        await platform.accounts.reset_password((await user_of(platform, email)).id, password)

    office.run(work)


@key.command(name="create")
def create_key(
    name: str,
    /,
    *,
    org: Org = None,
    project: Annotated[str | None, Parameter(help="id or name; default: the first one")] = None,
    models: Annotated[tuple[str, ...], Parameter(help="names or prefix*; default: all")] = (),
    endpoints: Annotated[
        tuple[str, ...], Parameter(help="chat, embeddings, files …; a wrong word lists them; default: all")
    ] = (),
    cidrs: Annotated[tuple[str, ...], Parameter(help="networks that it may come from; default: all")] = (),
    days: Annotated[int | None, Parameter(help="until it expires; default: never")] = None,
    office: Office = Office(),
) -> None:
    """Make an API key and show it, this once."""
    expires = None if days is None else int(time.time() * 1000) + days * 86_400_000

    async def work(platform: Platform) -> None:
        org_id = (await org_of(platform, org)).id
        projects = await platform.projects.list(org_id)
        chosen = next((one for one in projects if project in (None, one.id, one.name)), None)
        if chosen is None:
            known = ", ".join(one.name for one in projects)
            raise InvalidRequest(f"there is no project {project!r}; known: {known}", param="project")
        made = await platform.keys.create(
            org_id,
            chosen.id,
            name,
            models=models,
            endpoints=endpoints,
            cidrs=cidrs,
            expires_at_ms=expires,
        )
        office.say({"id": made.id, "key": made.key})

    office.run(work)


@key.command(name="list")
def list_keys(*, org: Org = None, office: Office = Office()) -> None:
    """List the keys of an organisation."""

    async def work(platform: Platform) -> None:
        keys = await platform.keys.list((await org_of(platform, org)).id)
        rows = [
            {
                **asdict(one),
                "created": moment(one.created_at),
                "used": moment(one.last_used_at),
                "revoked": moment(one.revoked_at),
            }
            for one in keys
        ]
        office.show(rows, ("id", "name", "created", "used", "revoked"))

    office.run(work)


@key.command(name="revoke")
def revoke_key(key_id: str, /, *, org: Org = None, office: Office = Office()) -> None:
    """Refuse a key from now on."""

    async def work(platform: Platform) -> None:
        await platform.keys.revoke((await org_of(platform, org)).id, key_id)

    office.run(work)


def read_password(file: Path | None) -> str:
    """From a file, from standard input, or asked for twice on the terminal."""
    if file is not None:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
        return text.rstrip("\r\n")
    if not sys.stdin.isatty():
        raise InvalidRequest("there is no terminal to ask for the password", hint="use --password-file -")
    first = getpass.getpass("password: ")
    if not secrets.compare_digest(first.encode(), getpass.getpass("again: ").encode()):
        raise InvalidRequest("the two passwords differ")
    return first


# Each adds its verbs to the groups above.
from openglm.commands import (  # noqa: E402
    admin_models,  # noqa: F401
    admin_money,  # noqa: F401
    admin_orgs,  # noqa: F401
    admin_quotas,  # noqa: F401
    admin_search,  # noqa: F401
    admin_upkeep,  # noqa: F401
)
