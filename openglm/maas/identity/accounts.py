"""Organisations, users, members: who signs up, who signs in, who may change whom.

Every method that takes an `org_id` touches that organisation alone. Who may call what is the caller's
question, answered by `membership(...).may(...)`; rules that no role lifts (the last owner stays, nobody hands
out more than they have) are kept here. What changes somebody's rights is audited in the same transaction.
"""

from __future__ import annotations

from collections.abc import Callable

from openglm.errors import Conflict, Forbidden, NotFound, Unauthorized
from openglm.maas.database import Database, Transaction
from openglm.maas.identity import attempts, invitations
from openglm.maas.identity.audit import SYSTEM, Actor, note
from openglm.maas.identity.names import clean_email, clean_name
from openglm.maas.identity.passwords import Passwords
from openglm.maas.identity.people import (
    MEMBER,
    Member,
    Org,
    SignedUp,
    SignUp,
    User,
    add_member,
    add_org,
    add_user,
    keep_an_owner,
    lock_org,
    member_of,
    member_row,
    must_exist,
    org_of,
    user_of,
)
from openglm.maas.identity.roles import Role, as_role
from openglm.maas.ids import Clock, wall_clock
from openglm.maas.quotas.quota import check
from openglm.maas.secrets import fingerprint

FRESH_MS = 15 * 60_000  # of a sign-in that stands for the old password


class Accounts:
    """`changed` is called after anything that a remembered key may depend on: pass `keys.forget`."""

    def __init__(
        self,
        database: Database,
        *,
        sign_up: SignUp = "open",
        passwords: Passwords | None = None,
        changed: Callable[[], None] | None = None,
        clock: Clock = wall_clock,
    ):
        self._database = database
        self._sign_up: SignUp = sign_up
        self._passwords = passwords or Passwords()
        self._changed = changed
        self._clock = clock

    # Users

    async def is_empty(self) -> bool:
        """Has nobody signed up yet?"""
        return await self._database.read_one("SELECT 1 FROM app_user LIMIT 1") is None

    async def sign_up(
        self,
        email: str,
        password: str,
        name: str,
        *,
        invitation: str | None = None,
        is_founder: bool = False,
        ip: str | None = None,
    ) -> SignedUp:
        """A new user: with an invitation into its organisation, else with one of their own.

        Only a founder, who has proven to hold the set-up token, makes the first account, the operator's. An
        invitation proves nothing about an address: who invites sees the token.
        """
        email, name = clean_email(email), clean_name(name)
        if not await self.is_empty():
            self._check_open(invited=invitation is not None)
        elif not is_founder:
            raise _no_founder()
        now = self._clock()
        # The attempt is counted by itself: a refusal below must not undo it.
        await self._database.write(lambda tx: attempts.to_sign_up(tx, now, ip))
        hashed = await self._passwords.hash(password, email=email)

        def work(tx: Transaction) -> SignedUp:
            invited = invitations.take(tx, now, invitation, email) if invitation else None
            user = add_user(tx, now, email, name, hashed, verified=False)
            if not user.is_operator:
                self._check_open(invited=invited is not None)
            elif not is_founder:
                raise _no_founder()
            return self._settle_in(tx, now, user, invited, ip)

        lock = await self._inviting(invitation) if invitation else None
        return await self._database.write(work, durable=True, lock=lock)

    async def add(self, email: str, password: str, name: str, *, actor: Actor = SYSTEM) -> SignedUp:
        """By an operator: a new user with an organisation of their own, whatever strangers may do."""
        email, name, now = clean_email(email), clean_name(name), self._clock()
        hashed = await self._passwords.hash(password, email=email)

        def work(tx: Transaction) -> SignedUp:
            user = add_user(tx, now, email, name, hashed, verified=True)
            made = self._settle_in(tx, now, user, None, None)
            note(tx, now, actor, "user.add", user.id, org_id=None)
            return made

        return await self._database.write(work, durable=True)

    async def sign_up_proven(self, email: str, name: str, *, ip: str | None = None) -> SignedUp:
        """A new user whose address an identity provider vouches for; they have no password. Never the first:
        a provider knows many people, and says of none that the platform is theirs."""
        email, name, now = clean_email(email), clean_name(name), self._clock()

        def work(tx: Transaction) -> SignedUp:
            user = add_user(tx, now, email, name, None, verified=True)
            if user.is_operator:
                raise _no_founder()
            self._check_open()
            return self._settle_in(tx, now, user, None, ip)

        return await self._database.write(work, durable=True)

    async def login(self, email: str, password: str, *, ip: str | None = None) -> User:
        """The user, or Unauthorized in the same words whatever was wrong, or RateLimited."""
        email, now = clean_email(email), self._clock()
        await self._database.write(lambda tx: attempts.to_sign_in(tx, now, email, ip))
        row = await self._database.read_one("SELECT * FROM app_user WHERE email = :email", email=email)
        known = row["password_hash"] if row is not None else None
        right = await self._passwords.matches(password, known)
        if row is None or known is None or not right or row["disabled_at"] is not None:
            if row is not None:
                self._note_failure(row["id"], ip)
            raise Unauthorized("the e-mail address or the password is wrong", reason="rejected")
        better = await self._passwords.hash(password, email="") if self._passwords.outdated(known) else known

        def work(tx: Transaction) -> None:
            attempts.forgive(tx, email, ip)
            note(tx, now, Actor(row["id"], ip), "user.sign_in", row["id"], org_id=None)
            if better != known:
                tx.run(
                    "UPDATE app_user SET password_hash = :new WHERE id = :id AND password_hash = :old",
                    new=better,
                    old=known,
                    id=row["id"],
                )

        await self._database.write(work)
        return user_of(row)

    async def user(self, user_id: str) -> User:
        row = await self._database.read_one("SELECT * FROM app_user WHERE id = :id", id=user_id)
        if row is None:
            raise NotFound(f"no user {user_id!r}")
        return user_of(row)

    async def rename_user(self, user_id: str, name: str) -> None:
        name = clean_name(name)
        if not await self._database.write(
            lambda tx: tx.run("UPDATE app_user SET name = :name WHERE id = :id", name=name, id=user_id)
        ):
            raise NotFound(f"no user {user_id!r}")

    async def change_password(
        self, user_id: str, old: str, new: str, *, actor: Actor = SYSTEM, keep_session: str | None = None
    ) -> None:
        """A new password for whoever knows the old one; every session but `keep_session` ends."""
        user, now = await self.user(user_id), self._clock()
        await self._database.write(lambda tx: attempts.to_sign_in(tx, now, user.email, actor.ip))
        row = await self._database.read_one("SELECT * FROM app_user WHERE id = :id", id=user_id)
        if not await self._passwords.matches(old, row["password_hash"] if row is not None else None):
            raise Forbidden("the old password is wrong")
        await self._put_password(user, new, actor, keep_session)

    async def set_first_password(
        self,
        user_id: str,
        new: str,
        *,
        proven_at: int,
        actor: Actor = SYSTEM,
        keep_session: str | None = None,
    ) -> None:
        """A password for somebody who has signed in by an identity provider alone. There is no old one to ask
        for, so they must have signed in lately: a browser left open must not become a password."""
        user = await self.user(user_id)
        if user.has_password:
            raise Conflict("this account has a password", hint="change it with the old one")
        if self._clock() - proven_at > FRESH_MS:
            raise Forbidden("this sign-in is too old to set a password", hint="sign in again first")
        await self._put_password(user, new, actor, keep_session)

    async def reset_password(self, user_id: str, new: str, *, actor: Actor = SYSTEM) -> None:
        """By an operator: a new password, and every session of the user ends."""
        await self._put_password(await self.user(user_id), new, actor, None)

    async def disable_user(self, user_id: str, *, actor: Actor = SYSTEM) -> None:
        """Sessions end, keys that belong to the user stop. The last operator stays."""
        await self._switch_user(user_id, self._clock(), actor)

    async def enable_user(self, user_id: str, *, actor: Actor = SYSTEM) -> None:
        await self._switch_user(user_id, None, actor)

    async def set_operator(self, user_id: str, is_operator: bool, *, actor: Actor = SYSTEM) -> None:
        now = self._clock()

        def work(tx: Transaction) -> None:
            if not is_operator:
                _keep_an_operator(tx, user_id)
            must_exist(
                tx.run(
                    "UPDATE app_user SET is_operator = :value WHERE id = :id",
                    value=int(is_operator),
                    id=user_id,
                ),
                "user",
                user_id,
            )
            note(tx, now, actor, "user.operator", user_id, org_id=None, details={"is_operator": is_operator})

        await self._database.write(work, durable=True)

    async def users(self, *, after: str = "", limit: int = 100) -> tuple[User, ...]:
        """All users in order of age: for operators only."""
        rows = await self._database.read(
            "SELECT * FROM app_user WHERE id > :after ORDER BY id LIMIT :count", after=after, count=limit
        )
        return tuple(user_of(row) for row in rows)

    # Organisations

    async def create_org(self, name: str, owner_id: str, *, actor: Actor = SYSTEM) -> Org:
        name, now = clean_name(name), self._clock()

        def work(tx: Transaction) -> Org:
            if not tx.one("SELECT 1 FROM app_user WHERE id = :id AND disabled_at IS NULL", id=owner_id):
                raise NotFound(f"no user {owner_id!r}")
            check(tx, owner_id, now, organisations=1)
            org_id, _ = add_org(tx, now, name, owner_id)
            note(tx, now, actor, "org.create", org_id, org_id=org_id, details={"name": name})
            return Org(org_id, name, "default", False, now)

        return await self._database.write(work, durable=True, lock=owner_id)

    async def org(self, org_id: str) -> Org:
        row = await self._database.read_one("SELECT * FROM org WHERE id = :id", id=org_id)
        if row is None:
            raise NotFound(f"no organisation {org_id!r} here")
        return org_of(row)

    async def orgs(self, *, after: str = "", limit: int = 100) -> tuple[Org, ...]:
        """All organisations in order of age: for operators only."""
        rows = await self._database.read(
            "SELECT * FROM org WHERE id > :after ORDER BY id LIMIT :count", after=after, count=limit
        )
        return tuple(org_of(row) for row in rows)

    async def orgs_of(self, user_id: str) -> tuple[tuple[Org, Role], ...]:
        rows = await self._database.read(
            "SELECT o.*, m.role FROM org o JOIN member m ON m.org_id = o.id"
            " WHERE m.user_id = :user ORDER BY o.id",
            user=user_id,
        )
        return tuple((org_of(row), as_role(row["role"])) for row in rows)

    async def rename_org(self, org_id: str, name: str, *, actor: Actor = SYSTEM) -> None:
        name = clean_name(name)
        await self._put_org(org_id, "name", name, actor, "org.rename")

    async def set_tier(self, org_id: str, tier: str, *, actor: Actor = SYSTEM) -> None:
        """By an operator: the limits that the organisation lives under."""
        tier = clean_name(tier, "tier")
        await self._put_org(org_id, "tier", tier, actor, "org.tier")

    async def disable_org(self, org_id: str, *, actor: Actor = SYSTEM) -> None:
        """All its keys stop: at once here, within two seconds elsewhere. Nothing is deleted."""
        await self._put_org(org_id, "disabled_at", self._clock(), actor, "org.disable")

    async def enable_org(self, org_id: str, *, actor: Actor = SYSTEM) -> None:
        await self._put_org(org_id, "disabled_at", None, actor, "org.enable")

    # Members

    async def membership(self, org_id: str, user_id: str) -> Member:
        """The member, or NotFound: who is not one cannot tell whether the organisation exists."""
        row = await self._database.read_one(
            f"{MEMBER} WHERE m.org_id = :org AND m.user_id = :user AND u.disabled_at IS NULL",
            org=org_id,
            user=user_id,
        )
        if row is None:
            raise NotFound(f"no organisation {org_id!r} here")
        return member_of(row)

    async def members(self, org_id: str) -> tuple[Member, ...]:
        rows = await self._database.read(f"{MEMBER} WHERE m.org_id = :org ORDER BY u.email", org=org_id)
        return tuple(member_of(row) for row in rows)

    async def set_role(self, org_id: str, user_id: str, role: str, *, by: Actor) -> None:
        """Change a member's role. Only owners make owners, and only owners unmake them."""
        now, wanted = self._clock(), as_role(role)

        def work(tx: Transaction) -> None:
            lock_org(tx, org_id)
            member = member_row(tx, org_id, user_id)
            _may_change(tx, org_id, by, member.role, wanted)
            if member.role == "owner" and wanted != "owner":
                keep_an_owner(tx, org_id, user_id)
            tx.run(
                "UPDATE member SET role = :role WHERE org_id = :org AND user_id = :user",
                role=wanted,
                org=org_id,
                user=user_id,
            )
            details = {"from": member.role, "to": wanted}
            note(tx, now, by, "member.role", user_id, org_id=org_id, details=details)

        await self._database.write(work, durable=True, then=self._changed)

    async def remove_member(self, org_id: str, user_id: str, *, by: Actor) -> None:
        """Take somebody out, or leave oneself. Keys that belong to them stop."""
        now = self._clock()

        def work(tx: Transaction) -> None:
            lock_org(tx, org_id)
            member = member_row(tx, org_id, user_id)
            if by.user_id != user_id:
                _may_change(tx, org_id, by, member.role, member.role)
            if member.role == "owner":
                keep_an_owner(tx, org_id, user_id)
            tx.run("DELETE FROM member WHERE org_id = :org AND user_id = :user", org=org_id, user=user_id)
            tx.run(
                "UPDATE api_key SET revoked_at = :now"
                " WHERE org_id = :org AND user_id = :user AND revoked_at IS NULL",
                now=now,
                org=org_id,
                user=user_id,
            )
            note(tx, now, by, "member.remove", user_id, org_id=org_id, details={"role": member.role})

        await self._database.write(work, durable=True, then=self._changed)

    async def invite(
        self, org_id: str, email: str, role: str, *, by: Actor, valid_ms: int = invitations.VALID_MS
    ) -> invitations.NewInvitation:
        """An invitation for one address; its token is seen here and never again."""
        email, wanted, now = clean_email(email), as_role(role), self._clock()

        def work(tx: Transaction) -> invitations.NewInvitation:
            lock_org(tx, org_id)
            _may_change(tx, org_id, by, wanted, wanted)
            check(tx, org_id, now, invitations=1)
            made = invitations.make(tx, now, org_id, email, wanted, by=by.user_id, valid_ms=valid_ms)
            note(tx, now, by, "member.invite", email, org_id=org_id, details={"role": wanted})
            return made

        return await self._database.write(work, durable=True, lock=org_id)

    async def open_invitations(self, org_id: str) -> tuple[invitations.Invitation, ...]:
        """Those that can still be accepted."""
        rows = await self._database.read(invitations.OPEN, org=org_id, now=self._clock())
        return tuple(invitations.invitation_of(row) for row in rows)

    async def withdraw(self, org_id: str, invitation_id: str, *, actor: Actor = SYSTEM) -> None:
        now = self._clock()

        def work(tx: Transaction) -> None:
            invitations.withdraw(tx, now, org_id, invitation_id)
            note(tx, now, actor, "member.withdraw", invitation_id, org_id=org_id)

        await self._database.write(work)

    async def accept(self, user_id: str, token: str, *, actor: Actor = SYSTEM) -> Member:
        """Somebody with an account joins the organisation that invited them."""
        user, now = await self.user(user_id), self._clock()

        def work(tx: Transaction) -> Member:
            invited = invitations.take(tx, now, token, user.email)
            check(tx, invited.org_id, now, members=1)
            if tx.one(
                "SELECT 1 FROM member WHERE org_id = :org AND user_id = :user",
                org=invited.org_id,
                user=user_id,
            ):
                raise Conflict("you are a member already")
            add_member(tx, now, invited.org_id, user_id, invited.role)
            details = {"role": invited.role}
            note(tx, now, actor, "member.join", user_id, org_id=invited.org_id, details=details)
            return member_row(tx, invited.org_id, user_id)

        return await self._database.write(work, durable=True, lock=await self._inviting(token))

    # Inside

    def _note_failure(self, user_id: str, ip: str | None) -> None:
        """Of unknown addresses nothing is written: what strangers type there may be a password, and they
        could fill the log, which nobody can empty. Nobody waits for it: time must not tell who is known.
        """
        now = self._clock()
        self._database.submit(
            lambda tx: note(tx, now, Actor(None, ip), "user.sign_in_failed", user_id, org_id=None)
        )

    async def _inviting(self, token: str) -> str | None:
        """The organisation behind an invitation, whose members are counted when it is taken up."""
        row = await self._database.read_one(
            "SELECT org_id FROM invitation WHERE token_hash = :hash", hash=fingerprint(token)
        )
        return row["org_id"] if row else None

    def _check_open(self, *, invited: bool = False) -> None:
        if self._sign_up == "open" or (self._sign_up == "invitation" and invited):
            return
        if self._sign_up == "invitation":
            raise Forbidden("sign-up needs an invitation here", hint="ask an organisation's owner for one")
        raise Forbidden("sign-up is closed here", hint="ask the platform's operator")

    def _settle_in(
        self, tx: Transaction, now: int, user: User, invited: invitations.Invitation | None, ip: str | None
    ) -> SignedUp:
        if invited is None:
            org_id, project_id = add_org(tx, now, user.name, user.id)
        else:
            org_id = invited.org_id
            check(tx, org_id, now, members=1)
            add_member(tx, now, org_id, user.id, invited.role)
            row = tx.one(
                "SELECT id FROM project WHERE org_id = :org AND archived_at IS NULL ORDER BY id", org=org_id
            )
            project_id = row["id"] if row else ""
        note(tx, now, Actor(user.id, ip), "user.sign_up", user.id, org_id=org_id)
        return SignedUp(user, org_id, project_id)

    async def _put_password(self, user: User, new: str, actor: Actor, keep_session: str | None) -> None:
        hashed, now = await self._passwords.hash(new, email=user.email), self._clock()

        def work(tx: Transaction) -> None:
            tx.run("UPDATE app_user SET password_hash = :hash WHERE id = :id", hash=hashed, id=user.id)
            tx.run(
                "DELETE FROM session WHERE user_id = :id AND id <> :keep", id=user.id, keep=keep_session or ""
            )
            note(tx, now, actor, "user.password", user.id, org_id=None)

        await self._database.write(work, durable=True)

    async def _switch_user(self, user_id: str, disabled_at: int | None, actor: Actor) -> None:
        now = self._clock()

        def work(tx: Transaction) -> None:
            if disabled_at is not None:
                _keep_an_operator(tx, user_id)
                tx.run("DELETE FROM session WHERE user_id = :id", id=user_id)
            must_exist(
                tx.run("UPDATE app_user SET disabled_at = :at WHERE id = :id", at=disabled_at, id=user_id),
                "user",
                user_id,
            )
            action = "user.enable" if disabled_at is None else "user.disable"
            note(tx, now, actor, action, user_id, org_id=None)

        await self._database.write(work, durable=True, then=self._changed)

    async def _put_org(
        self, org_id: str, column: str, value: str | int | None, actor: Actor, action: str
    ) -> None:
        now = self._clock()

        def work(tx: Transaction) -> None:
            touched = tx.run(f"UPDATE org SET {column} = :value WHERE id = :id", value=value, id=org_id)
            must_exist(touched, "organisation", org_id)
            note(tx, now, actor, action, org_id, org_id=org_id, details={column: value})

        await self._database.write(work, durable=True, then=self._changed)


def _no_founder() -> Forbidden:
    return Forbidden(
        "the first account, the operator's, needs the set-up token",
        hint="open the address that glm up prints at its start, or use: glm admin user add",
    )


def _may_change(tx: Transaction, org_id: str, by: Actor, role: Role, wanted: Role) -> None:
    """May they give or take these roles? Without a user it is the platform itself, which may."""
    if by.user_id is None:
        return
    theirs = member_row(tx, org_id, by.user_id)
    theirs.may("members.write")
    if "owner" in (role, wanted):
        theirs.may("owners.write")


def _keep_an_operator(tx: Transaction, leaving: str) -> None:
    if tx.kind == "postgres":
        tx.run("LOCK TABLE app_user IN SHARE ROW EXCLUSIVE MODE")
    if not tx.one(
        "SELECT 1 FROM app_user WHERE is_operator = 1 AND disabled_at IS NULL AND id <> :id", id=leaving
    ):
        raise Conflict("the platform must keep one operator", hint="make somebody else an operator first")
