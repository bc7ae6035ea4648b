"""Roles of an organisation's members and what each may do. The table is the whole rule."""

from __future__ import annotations

from typing import Literal, get_args

from openglm.errors import Forbidden, InvalidRequest

Role = Literal["owner", "admin", "developer", "billing", "viewer"]
Permission = Literal[
    "org.read",
    "org.edit",
    "members.read",
    "members.write",
    "owners.write",
    "projects.write",
    "keys.own",  # keys that end with their user
    "keys.write",  # anybody's keys, and keys of nobody
    "models.write",
    "data.write",  # files, knowledge, batches
    "usage.read",
    "billing.read",
    "billing.write",
    "audit.read",
]

_READ: frozenset[Permission] = frozenset({"org.read", "members.read", "usage.read"})
_ADMIN: frozenset[Permission] = _READ | {
    "org.edit",
    "members.write",
    "projects.write",
    "keys.own",
    "keys.write",
    "models.write",
    "data.write",
    "billing.read",
    "audit.read",
}
PERMISSIONS: dict[Role, frozenset[Permission]] = {
    "owner": frozenset(get_args(Permission)),
    "admin": _ADMIN,
    "developer": _READ | {"keys.own", "data.write"},
    "billing": _READ | {"billing.read", "billing.write"},
    "viewer": _READ,
}


def require(role: Role, permission: Permission) -> None:
    if permission not in PERMISSIONS[role]:
        able = ", ".join(name for name, granted in PERMISSIONS.items() if permission in granted)
        raise Forbidden(f"the role {role} does not allow {permission}", hint=f"roles that do: {able}")


def as_role(text: str) -> Role:
    for role in PERMISSIONS:
        if role == text:
            return role
    raise InvalidRequest(f"role must be one of {', '.join(PERMISSIONS)}, got {text!r}", param="role")
