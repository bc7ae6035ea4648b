"""The rows of organisations and their people, and the statements that several verbs share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from openglm.errors import Conflict, NotFound
from openglm.maas.database import Row, Transaction
from openglm.maas.identity.roles import Permission, Role, as_role, require
from openglm.maas.ids import new_id

FIRST_PROJECT = "default"
SignUp = Literal["open", "invitation", "closed"]


@dataclass(frozen=True, slots=True)
class User:
    id: str
    email: str
    name: str
    is_verified: bool
    is_operator: bool  # of the whole platform
    is_disabled: bool
    has_password: bool
    created_at: int


@dataclass(frozen=True, slots=True)
class Org:
    id: str
    name: str
    tier: str
    is_disabled: bool
    created_at: int


@dataclass(frozen=True, slots=True)
class Member:
    """One user in one organisation."""

    org_id: str
    user_id: str
    role: Role
    email: str
    name: str
    created_at: int

    def may(self, permission: Permission) -> None:
        require(self.role, permission)


@dataclass(frozen=True, slots=True)
class Project:
    id: str
    org_id: str
    name: str
    is_archived: bool
    body_days: int  # for how long whole requests are kept; 0: not at all
    created_at: int


@dataclass(frozen=True, slots=True)
class SignedUp:
    """A new user with the organisation and project they start in."""

    user: User
    org_id: str
    project_id: str


def user_of(row: Row) -> User:
    return User(
        id=row["id"],
        email=row["email"],
        name=row["name"],
        is_verified=bool(row["is_verified"]),
        is_operator=bool(row["is_operator"]),
        is_disabled=row["disabled_at"] is not None,
        has_password=row["password_hash"] is not None,
        created_at=row["created_at"],
    )


def org_of(row: Row) -> Org:
    return Org(row["id"], row["name"], row["tier"], row["disabled_at"] is not None, row["created_at"])


def project_of(row: Row) -> Project:
    return Project(
        row["id"],
        row["org_id"],
        row["name"],
        row["archived_at"] is not None,
        row["body_days"],
        row["created_at"],
    )


MEMBER = (
    "SELECT m.org_id, m.user_id, m.role, m.created_at, u.email, u.name"
    " FROM member m JOIN app_user u ON u.id = m.user_id"
)


def member_of(row: Row) -> Member:
    return Member(
        row["org_id"], row["user_id"], as_role(row["role"]), row["email"], row["name"], row["created_at"]
    )


def add_user(
    tx: Transaction, now: int, email: str, name: str, password_hash: str | None, *, verified: bool
) -> User:
    """A new user; the first one of all becomes the platform's operator."""
    if tx.kind == "postgres":  # two nodes must not both see an empty table
        tx.run("LOCK TABLE app_user IN SHARE ROW EXCLUSIVE MODE")
    # This tells a stranger that the address has an account. Whoever signs up is signed in at once, and no
    # mail is sent, so no answer could hide it; sign-ups are limited by address instead.
    if tx.one("SELECT 1 FROM app_user WHERE email = :email", email=email):
        raise Conflict("this e-mail address has an account already", hint="sign in instead")
    first = tx.one("SELECT 1 FROM app_user LIMIT 1") is None
    user_id = new_id("user", now)
    tx.run(
        "INSERT INTO app_user (id, email, name, password_hash, is_verified, is_operator, created_at)"
        " VALUES (:id, :email, :name, :hash, :verified, :operator, :now)",
        id=user_id,
        email=email,
        name=name,
        hash=password_hash,
        verified=int(verified or first),
        operator=int(first),
        now=now,
    )
    return User(user_id, email, name, verified or first, first, False, password_hash is not None, now)


def add_org(tx: Transaction, now: int, name: str, owner_id: str) -> tuple[str, str]:
    """A new organisation with its owner and its first project; returns both ids."""
    org_id, project_id = new_id("org", now), new_id("proj", now)
    tx.run(
        "INSERT INTO org (id, name, founder, created_at) VALUES (:id, :name, :founder, :now)",
        id=org_id,
        name=name,
        founder=owner_id,
        now=now,
    )
    add_member(tx, now, org_id, owner_id, "owner")
    tx.run(
        "INSERT INTO project (id, org_id, name, created_at) VALUES (:id, :org, :name, :now)",
        id=project_id,
        org=org_id,
        name=FIRST_PROJECT,
        now=now,
    )
    return org_id, project_id


def add_member(tx: Transaction, now: int, org_id: str, user_id: str, role: Role) -> None:
    tx.run(
        "INSERT INTO member (org_id, user_id, role, created_at) VALUES (:org, :user, :role, :now)",
        org=org_id,
        user=user_id,
        role=role,
        now=now,
    )


def must_exist(found: object, what: str, name: str) -> None:
    """What a statement touched or found, or NotFound."""
    if not found:
        raise NotFound(f"no {what} {name!r} here")


def lock_org(tx: Transaction, org_id: str) -> None:
    """Whoever changes members takes the organisation's row first, so that owners are counted rightly."""
    lock = " FOR UPDATE" if tx.kind == "postgres" else ""
    if not tx.one(f"SELECT 1 FROM org WHERE id = :id{lock}", id=org_id):
        raise NotFound(f"no organisation {org_id!r} here")


def member_row(tx: Transaction, org_id: str, user_id: str) -> Member:
    row = tx.one(f"{MEMBER} WHERE m.org_id = :org AND m.user_id = :user", org=org_id, user=user_id)
    if row is None:
        raise NotFound(f"no member {user_id!r} here")
    return member_of(row)


def keep_an_owner(tx: Transaction, org_id: str, leaving: str) -> None:
    """Refuse what would leave an organisation without an owner who can sign in."""
    if not tx.one(
        "SELECT 1 FROM member m JOIN app_user u ON u.id = m.user_id"
        " WHERE m.org_id = :org AND m.role = 'owner' AND m.user_id <> :user AND u.disabled_at IS NULL",
        org=org_id,
        user=leaving,
    ):
        raise Conflict("the last owner cannot leave", hint="make somebody else an owner first")
