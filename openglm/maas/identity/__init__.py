"""Who is who: API keys, organisations and their people, browser sessions, OIDC, and the audit log."""

from openglm.maas.identity.accounts import Accounts
from openglm.maas.identity.audit import SYSTEM, Actor, Audit, AuditPage, AuditRow
from openglm.maas.identity.caller import Caller
from openglm.maas.identity.invitations import Invitation, NewInvitation
from openglm.maas.identity.keys import Key, Keys, NewKey
from openglm.maas.identity.oidc import Oidc, Provider
from openglm.maas.identity.people import Member, Org, Project, SignedUp, User
from openglm.maas.identity.projects import Projects
from openglm.maas.identity.seats import SEAT, seated, still_seated
from openglm.maas.identity.sessions import OpenSession, Session, Sessions, SignedIn

__all__ = [
    "SEAT",
    "SYSTEM",
    "Accounts",
    "Actor",
    "Audit",
    "AuditPage",
    "AuditRow",
    "Caller",
    "Invitation",
    "Key",
    "Keys",
    "Member",
    "NewInvitation",
    "NewKey",
    "Oidc",
    "OpenSession",
    "Org",
    "Project",
    "Projects",
    "Provider",
    "Session",
    "Sessions",
    "SignedIn",
    "SignedUp",
    "User",
    "seated",
    "still_seated",
]
