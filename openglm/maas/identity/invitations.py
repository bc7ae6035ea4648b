"""Invitations into an organisation: a token for one address, good once, until it expires or is withdrawn."""

from __future__ import annotations

from dataclasses import dataclass

from openglm.errors import Conflict, InvalidRequest, NotFound
from openglm.maas.database import Row, Transaction
from openglm.maas.identity.roles import Role, as_role
from openglm.maas.ids import new_id
from openglm.maas.secrets import fingerprint, new_token

VALID_MS = 7 * 24 * 3600 * 1000
MAX_VALID_MS = 90 * 24 * 3600 * 1000
OPEN = (
    "SELECT * FROM invitation WHERE org_id = :org AND accepted_at IS NULL AND withdrawn_at IS NULL"
    " AND expires_at > :now ORDER BY id DESC"
)


@dataclass(frozen=True, slots=True)
class Invitation:
    id: str
    org_id: str
    email: str
    role: Role
    invited_by: str | None
    expires_at: int
    created_at: int


@dataclass(frozen=True, slots=True)
class NewInvitation:
    """`token` is seen here and never again."""

    id: str
    token: str
    expires_at: int

    def __repr__(self) -> str:
        return f"NewInvitation(id={self.id!r})"


def invitation_of(row: Row) -> Invitation:
    return Invitation(
        row["id"],
        row["org_id"],
        row["email"],
        as_role(row["role"]),
        row["invited_by"],
        row["expires_at"],
        row["created_at"],
    )


def make(
    tx: Transaction, now: int, org_id: str, email: str, role: Role, *, by: str | None, valid_ms: int
) -> NewInvitation:
    """A new invitation; an older one to the same address ends."""
    if not 0 < valid_ms <= MAX_VALID_MS:
        raise InvalidRequest("an invitation is valid for at most 90 days", param="valid_ms")
    if tx.one(
        "SELECT 1 FROM member m JOIN app_user u ON u.id = m.user_id"
        " WHERE m.org_id = :org AND u.email = :email",
        org=org_id,
        email=email,
    ):
        raise Conflict(f"{email} is a member already")
    tx.run(
        "UPDATE invitation SET withdrawn_at = :now WHERE org_id = :org AND email = :email"
        " AND accepted_at IS NULL AND withdrawn_at IS NULL",
        now=now,
        org=org_id,
        email=email,
    )
    made = NewInvitation(new_id("inv", now), new_token("i"), now + valid_ms)
    tx.run(
        "INSERT INTO invitation (id, org_id, email, role, token_hash, invited_by, expires_at, created_at)"
        " VALUES (:id, :org, :email, :role, :hash, :by, :expires, :now)",
        id=made.id,
        org=org_id,
        email=email,
        role=role,
        hash=fingerprint(made.token),
        by=by,
        expires=made.expires_at,
        now=now,
    )
    return made


def take(tx: Transaction, now: int, token: str, email: str) -> Invitation:
    """Use an invitation up. Another address, a second use, a late one: all are the same refusal."""
    hashed = fingerprint(token)
    if not tx.run(
        "UPDATE invitation SET accepted_at = :now WHERE token_hash = :hash AND email = :email"
        " AND accepted_at IS NULL AND withdrawn_at IS NULL AND expires_at > :now",
        now=now,
        hash=hashed,
        email=email,
    ):
        raise NotFound(
            "this invitation is not valid for this address, or was used, withdrawn, or has expired",
            hint="ask for a new one",
        )
    row = tx.one(
        "SELECT i.* FROM invitation i JOIN org o ON o.id = i.org_id"
        " WHERE i.token_hash = :hash AND o.disabled_at IS NULL",
        hash=hashed,
    )
    if row is None:
        raise NotFound("the organisation of this invitation is closed")
    return invitation_of(row)


def withdraw(tx: Transaction, now: int, org_id: str, invitation_id: str) -> None:
    if not tx.run(
        "UPDATE invitation SET withdrawn_at = :now WHERE org_id = :org AND id = :id AND accepted_at IS NULL"
        " AND withdrawn_at IS NULL",
        now=now,
        org=org_id,
        id=invitation_id,
    ):
        raise NotFound(f"no open invitation {invitation_id!r} here")
