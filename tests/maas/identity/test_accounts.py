"""Organisations, users, members, projects, sign-in, sessions, and what the audit log says of them."""

from __future__ import annotations

import asyncio

import pytest

from openglm.errors import Conflict, Forbidden, InvalidRequest, NotFound, RateLimited, Unauthorized
from openglm.maas.identity import SYSTEM, Actor, Keys
from openglm.maas.identity.audit import note
from openglm.maas.identity.roles import PERMISSIONS, as_role, require
from openglm.maas.identity.sessions import IDLE_MS, LIFE_MS, TOUCH_MS, drop_cookie, set_cookie

PASSWORD = "correct horse battery"


async def joined(world, host, name: str, role: str):
    invited = await world.accounts.invite(host.org_id, f"{name}@example.org", role, by=Actor(host.user.id))
    return await world.accounts.sign_up(
        f"{name}@example.org", PASSWORD, name, invitation=invited.token, ip=f"ip-of-{name}"
    )


async def refused(kind, awaitable):
    with pytest.raises(kind) as caught:
        await awaitable
    return caught.value


def test_the_first_user_runs_the_platform_and_each_gets_an_org_and_a_project(world):
    async def scenario():
        assert await world.accounts.is_empty()
        ann, bob = await world.person("ann"), await world.person("bob")
        assert ann.user.is_operator
        assert not bob.user.is_operator
        assert ann.org_id != bob.org_id
        assert [(entry.name, role) for entry, role in await world.accounts.orgs_of(bob.user.id)] == [
            ("bob", "owner")
        ]
        assert [entry.id for entry in await world.projects.list(bob.org_id)] == [bob.project_id]
        assert not await world.accounts.is_empty()

    asyncio.run(scenario())


def test_two_first_users_at_once_make_one_operator(world):
    async def scenario():
        made = await asyncio.gather(*(world.person(name) for name in ("ann", "bob", "cat")))
        assert sum(entry.user.is_operator for entry in made) == 1

    asyncio.run(scenario())


def test_without_the_set_up_token_nobody_makes_the_first_account(world):
    async def scenario():
        for word in ("open", "invitation", "closed"):
            error = await refused(
                Forbidden, world.with_sign_up(word).sign_up("eve@example.org", PASSWORD, "eve")
            )
            assert "glm admin user add" in str(error)
        await refused(
            Forbidden, world.accounts.sign_up("eve@example.org", PASSWORD, "eve", invitation="glmi_x")
        )
        assert await world.accounts.is_empty()

    asyncio.run(scenario())


def test_sign_up_can_be_closed_or_need_an_invitation_but_never_shuts_out_the_first(world):
    async def scenario():
        by_invitation, closed = world.with_sign_up("invitation"), world.with_sign_up("closed")
        ann = await closed.sign_up("ann@example.org", PASSWORD, "ann", is_founder=True)
        for accounts in (by_invitation, closed):
            await refused(Forbidden, accounts.sign_up("eve@example.org", PASSWORD, "eve"))
        token = (await closed.invite(ann.org_id, "bob@example.org", "viewer", by=Actor(ann.user.id))).token
        await refused(Forbidden, closed.sign_up("bob@example.org", PASSWORD, "bob", invitation=token))
        bob = await by_invitation.sign_up("bob@example.org", PASSWORD, "bob", invitation=token)
        assert (bob.org_id, bob.project_id) == (ann.org_id, ann.project_id)
        assert not bob.user.is_verified  # whoever invited them knows the token too

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "password", ["short", "x" * 257, "aaaaaaaaaaaa", "Password1234!", "ann@example.org", None]
)
def test_weak_passwords_are_refused(world, password):
    async def scenario():
        error = await refused(
            InvalidRequest, world.accounts.sign_up("ann@example.org", password, "ann", is_founder=True)
        )
        assert error.param == "password"
        assert await world.accounts.is_empty()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "email",
    [
        *("", "ann", "ann@", "@b.c", "a b@c.de", "a@b", "a@b.c\r\nx: y", "a" * 250 + "@b.cd", None),
        *("straße@b.cd", "\N{KELVIN SIGN}im@b.cd", "ann@straße.de", "ann@\uff45xample.org", "a@b.cd\x00"),
    ],
)
def test_what_is_no_address_is_refused(world, email):
    async def scenario():
        error = await refused(InvalidRequest, world.accounts.sign_up(email, PASSWORD, "ann"))
        assert error.param == "email"

    asyncio.run(scenario())


def test_an_address_has_one_account_however_it_is_spelt_and_its_password_is_hashed(world):
    async def scenario():
        await world.person("ann")
        await refused(Conflict, world.accounts.sign_up(" ANN@Example.ORG ", PASSWORD, "ann"))
        assert (await world.accounts.login("Ann@EXAMPLE.org", PASSWORD)).email == "ann@example.org"
        row = await world.database.read_one("SELECT password_hash FROM app_user")
        assert row["password_hash"].startswith("$argon2id$")

    asyncio.run(scenario())


def test_a_wrong_password_an_unknown_address_and_a_disabled_user_get_the_same_words(world):
    async def scenario():
        await world.person("root")
        ann = await world.person("ann")
        words = {
            str(await refused(Unauthorized, world.accounts.login("ann@example.org", "not the password"))),
            str(await refused(Unauthorized, world.accounts.login("who@example.org", PASSWORD))),
        }
        await world.accounts.disable_user(ann.user.id)
        words.add(str(await refused(Unauthorized, world.accounts.login("ann@example.org", PASSWORD))))
        assert len(words) == 1

    asyncio.run(scenario())


def test_sign_in_is_limited_by_account_and_address_and_opens_again_with_time(world):
    async def scenario():
        await world.person("ann")

        async def wrong(ip):
            await refused(Unauthorized, world.accounts.login("ann@example.org", "wrong password", ip=ip))

        for _ in range(5):
            await wrong("1.1.1.1")
        error = await refused(RateLimited, world.accounts.login("ann@example.org", PASSWORD, ip="1.1.1.1"))
        assert 59 <= error.retry_after_s <= 60
        await world.accounts.login("ann@example.org", PASSWORD, ip="2.2.2.2")  # others are not shut out
        world.time.pass_s(error.retry_after_s)
        await world.accounts.login("ann@example.org", PASSWORD, ip="1.1.1.1")
        for _ in range(5):  # a right password forgives the wrong ones before it
            await wrong("1.1.1.1")

    asyncio.run(scenario())


def test_one_address_cannot_try_many_accounts_nor_many_addresses_one_account(world):
    async def scenario():
        await world.person("ann")
        outcomes = []
        for number in range(31):
            with pytest.raises((Unauthorized, RateLimited)) as caught:
                await world.accounts.login(f"u{number}@example.org", "wrong password", ip="9.9.9.9")
            outcomes.append(caught.type)
        assert outcomes == [Unauthorized] * 30 + [RateLimited]
        for number in range(50):
            await refused(
                Unauthorized, world.accounts.login("ann@example.org", "wrong password", ip=f"8.8.8.{number}")
            )
        await refused(RateLimited, world.accounts.login("ann@example.org", PASSWORD, ip="7.7.7.7"))

    asyncio.run(scenario())


def test_the_addresses_of_one_ipv6_subscriber_count_as_one(world):
    async def scenario():
        await world.person("ann")
        outcomes = []
        for number in range(31):
            with pytest.raises((Unauthorized, RateLimited)) as caught:
                await world.accounts.login(
                    f"u{number}@example.org", "wrong password", ip=f"2001:db8:1:2::{number:x}"
                )
            outcomes.append(caught.type)
        assert outcomes == [Unauthorized] * 30 + [RateLimited]
        for ip in ("2001:db8:1:3::1", "::ffff:9.9.9.9", "9.9.9.9"):
            await refused(Unauthorized, world.accounts.login("ann@example.org", "wrong password", ip=ip))
        pairs = {row["bucket"] for row in await world.database.read("SELECT bucket FROM login_attempt")}
        assert (
            len([bucket for bucket in pairs if bucket.endswith(":9.9.9.9")]) == 2
        )  # one v4 address: pair, ip

    asyncio.run(scenario())


def test_sign_ups_are_limited_by_address_alone_and_say_so(world):
    async def scenario():
        await world.person("root")

        async def sign_up(name, ip):
            await world.accounts.sign_up(f"{name}@example.org", "password12", name, ip=ip)

        for number in range(100):  # the password is refused, after the attempt was counted
            await refused(InvalidRequest, sign_up(f"u{number}", "9.9.9.9"))
        error = await refused(RateLimited, sign_up("last", "9.9.9.9"))
        assert "accounts are being made from your network" in str(error)
        assert "password" not in str(error)
        await refused(InvalidRequest, sign_up("elsewhere", "8.8.8.8"))
        assert (await world.person("ann")).user.email == "ann@example.org"
        await refused(Unauthorized, world.accounts.login("ann@example.org", "wrong password", ip="9.9.9.9"))

    asyncio.run(scenario())


def test_attempts_at_once_are_counted_one_by_one(world):
    async def scenario():
        await world.person("ann")
        logins = (world.accounts.login("ann@example.org", "wrong password", ip="1.1.1.1") for _ in range(12))
        outcomes = await asyncio.gather(*logins, return_exceptions=True)
        assert sum(isinstance(entry, Unauthorized) for entry in outcomes) == 5
        assert sum(isinstance(entry, RateLimited) for entry in outcomes) == 7

    asyncio.run(scenario())


def test_a_changed_password_ends_other_sessions(world):
    async def scenario():
        ann = await world.person("ann")
        here, there = [await world.sessions.open(ann.user.id) for _ in range(2)]
        await refused(
            Forbidden, world.accounts.change_password(ann.user.id, "wrong one", "a new long password")
        )
        await world.accounts.change_password(
            ann.user.id, PASSWORD, "a new long password", keep_session=here.id
        )
        await world.sessions.whose(here.cookie)
        await refused(Unauthorized, world.sessions.whose(there.cookie))
        await refused(Unauthorized, world.accounts.login("ann@example.org", PASSWORD))
        await world.accounts.login("ann@example.org", "a new long password")

    asyncio.run(scenario())


def test_an_invitation_is_good_once_for_its_address_until_it_expires_or_is_withdrawn(world):
    async def scenario():
        ann, bob = await world.person("ann"), await world.person("bob")
        by = Actor(ann.user.id)

        async def invite(name, **options):
            return await world.accounts.invite(
                ann.org_id, f"{name}@example.org", "developer", by=by, **options
            )

        first, second = await invite("bob"), await invite("bob")
        await refused(NotFound, world.accounts.accept(bob.user.id, first.token))  # the later one replaced it
        await refused(NotFound, world.accounts.accept(bob.user.id, "glmi_made-up"))
        member = await world.accounts.accept(bob.user.id, second.token)
        assert (member.org_id, member.role) == (ann.org_id, "developer")
        await refused(NotFound, world.accounts.accept(bob.user.id, second.token))
        await refused(Conflict, invite("bob"))
        for_cat = await invite("cat", valid_ms=1000)
        await refused(
            NotFound, world.accounts.sign_up("eve@example.org", PASSWORD, "eve", invitation=for_cat.token)
        )
        assert [entry.id for entry in await world.accounts.open_invitations(ann.org_id)] == [for_cat.id]
        world.time.ms += 1000
        await refused(
            NotFound, world.accounts.sign_up("cat@example.org", PASSWORD, "cat", invitation=for_cat.token)
        )
        for_dan = await invite("dan")
        await refused(NotFound, world.accounts.withdraw(bob.org_id, for_dan.id))
        await world.accounts.withdraw(ann.org_id, for_dan.id)
        await refused(
            NotFound, world.accounts.sign_up("dan@example.org", PASSWORD, "dan", invitation=for_dan.token)
        )
        rows = await world.database.read("SELECT token_hash FROM invitation")
        assert not {row["token_hash"] for row in rows} & {first.token, second.token, for_cat.token}
        assert for_dan.token not in repr(for_dan)

    asyncio.run(scenario())


def test_the_last_owner_neither_leaves_nor_steps_down_even_when_two_go_at_once(world):
    async def scenario():
        ann = await world.person("ann")
        bob = await joined(world, ann, "bob", "owner")
        org, by = ann.org_id, Actor(ann.user.id)
        leaving = [
            world.accounts.remove_member(org, person.user.id, by=Actor(person.user.id))
            for person in (ann, bob)
        ]
        outcomes = await asyncio.gather(*leaving, return_exceptions=True)
        assert sorted(type(entry).__name__ for entry in outcomes) == ["Conflict", "NoneType"]
        left = (await world.accounts.members(org))[0]
        await refused(Conflict, world.accounts.set_role(org, left.user_id, "admin", by=Actor(left.user_id)))
        await refused(Conflict, world.accounts.set_role(org, left.user_id, "admin", by=Actor()))
        assert by.user_id == ann.user.id

    asyncio.run(scenario())


def test_only_owners_make_and_unmake_owners_and_only_admins_change_members(world):
    async def scenario():
        ann = await world.person("ann")
        bob = await joined(world, ann, "bob", "admin")
        cat = await joined(world, ann, "cat", "developer")
        eve = await world.person("eve")
        org, accounts = ann.org_id, world.accounts
        admin, developer, stranger = Actor(bob.user.id), Actor(cat.user.id), Actor(eve.user.id)
        for deed in (
            accounts.set_role(org, bob.user.id, "owner", by=admin),
            accounts.set_role(org, ann.user.id, "viewer", by=admin),
            accounts.remove_member(org, ann.user.id, by=admin),
            accounts.invite(org, "x@example.org", "owner", by=admin),
            accounts.set_role(org, cat.user.id, "admin", by=developer),
            accounts.remove_member(org, bob.user.id, by=developer),
            accounts.invite(org, "x@example.org", "viewer", by=developer),
        ):
            await refused(Forbidden, deed)
        for deed in (
            accounts.set_role(org, cat.user.id, "viewer", by=stranger),
            accounts.remove_member(org, cat.user.id, by=stranger),
            accounts.invite(org, "x@example.org", "viewer", by=stranger),
            accounts.set_role(eve.org_id, cat.user.id, "viewer", by=stranger),
        ):
            await refused(NotFound, deed)
        await accounts.set_role(org, cat.user.id, "billing", by=admin)
        await accounts.remove_member(org, cat.user.id, by=developer)  # one may always leave
        assert {member.role for member in await accounts.members(org)} == {"owner", "admin"}

    asyncio.run(scenario())


def test_roles_permit_what_the_table_says_and_refusals_name_who_may():
    assert set(PERMISSIONS) == {"owner", "admin", "developer", "billing", "viewer"}
    require("billing", "billing.write")
    with pytest.raises(Forbidden, match="owner"):
        require("admin", "owners.write")
    with pytest.raises(Forbidden):
        require("viewer", "keys.own")
    with pytest.raises(InvalidRequest):
        as_role("root")


def test_nobody_reaches_anything_of_another_organisation(world):
    async def scenario():
        ann, eve = await world.person("ann"), await world.person("eve")
        accounts, theirs = world.accounts, eve.org_id
        for attempt in (
            accounts.membership(ann.org_id, eve.user.id),
            world.projects.get(theirs, ann.project_id),
            world.projects.rename(theirs, ann.project_id, "mine"),
            world.projects.archive(theirs, ann.project_id),
            accounts.remove_member(theirs, ann.user.id, by=Actor(eve.user.id)),
            accounts.set_role(theirs, ann.user.id, "viewer", by=Actor(eve.user.id)),
            world.sessions.close_one(eve.user.id, (await world.sessions.open(ann.user.id)).id),
        ):
            await refused(NotFound, attempt)
        assert ann.project_id not in {entry.id for entry in await world.projects.list(theirs)}
        assert {entry.user_id for entry in await accounts.members(theirs)} == {eve.user.id}
        assert {row.org_id for row in (await world.audit.page(theirs)).rows} == {theirs}
        assert (await world.projects.get(ann.org_id, ann.project_id)).name == "default"
        for unknown in (
            accounts.org("org_none"),
            accounts.user("user_none"),
            accounts.rename_org("org_none", "x"),
            world.projects.create("org_none", "x"),
            accounts.create_org("x", "user_none"),
            accounts.disable_user("user_none"),
        ):
            await refused(NotFound, unknown)

    asyncio.run(scenario())


def test_projects_are_named_renamed_and_archived(world):
    async def scenario():
        ann = await world.person("ann")
        made = await world.projects.create(ann.org_id, "  research  ")
        assert made.name == "research"
        await refused(InvalidRequest, world.projects.create(ann.org_id, "research"))
        await refused(InvalidRequest, world.projects.rename(ann.org_id, made.id, "default"))
        await refused(InvalidRequest, world.projects.rename(ann.org_id, made.id, "a\nb"))
        await world.projects.rename(ann.org_id, made.id, "研究")
        await world.projects.archive(ann.org_id, made.id)
        assert (await world.projects.get(ann.org_id, made.id)).is_archived
        await refused(NotFound, Keys(world.database, world.secrets).create(ann.org_id, made.id, "k"))

    asyncio.run(scenario())


def test_the_platform_keeps_one_operator(world):
    async def scenario():
        ann, bob = await world.person("ann"), await world.person("bob")
        await refused(Conflict, world.accounts.disable_user(ann.user.id))
        await refused(Conflict, world.accounts.set_operator(ann.user.id, False))
        await world.accounts.set_operator(bob.user.id, True)
        await world.accounts.disable_user(ann.user.id)
        assert (await world.accounts.user(ann.user.id)).is_disabled

    asyncio.run(scenario())


def test_a_session_knows_its_user_and_is_kept_hashed(world):
    async def scenario():
        ann = await world.person("ann")
        opened = await world.sessions.open(ann.user.id, ip="1.1.1.1", agent="Browser\r\n1")
        who = await world.sessions.whose(opened.cookie)
        assert (who.user.id, who.session_id, who.csrf) == (ann.user.id, opened.id, opened.csrf)
        row = await world.database.read_one("SELECT * FROM session")
        assert opened.cookie not in repr(dict(row))
        assert opened.csrf not in repr(dict(row))
        assert opened.cookie not in repr(opened)
        assert [(entry.ip, entry.agent) for entry in await world.sessions.list(ann.user.id)] == [
            ("1.1.1.1", "Browser1")
        ]

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("cookie", "reason"),
    [
        (None, "missing"),
        ("", "missing"),
        ("glms_made-up", "rejected"),
        ("x" * 500, "malformed"),
        ("é", "malformed"),
    ],
)
def test_cookies_that_are_no_session_are_refused(world, cookie, reason):
    async def scenario():
        assert (await refused(Unauthorized, world.sessions.whose(cookie))).reason == reason

    asyncio.run(scenario())


def test_a_write_needs_the_csrf_token_of_its_own_session(world):
    async def scenario():
        ann = await world.person("ann")
        one, two = [await world.sessions.open(ann.user.id) for _ in range(2)]
        await world.sessions.whose(one.cookie, one.csrf, writes=True)
        for csrf in (None, "", "x", two.csrf, one.csrf.upper(), "\udcff"):
            await refused(Forbidden, world.sessions.whose(one.cookie, csrf, writes=True))
        await refused(Forbidden, world.sessions.whose(one.cookie, two.csrf))

    asyncio.run(scenario())


def test_a_session_slides_while_it_is_used_ends_when_idle_and_ends_in_any_case(world):
    async def scenario():
        ann = await world.person("ann")
        idle = await world.sessions.open(ann.user.id)
        used = await world.sessions.open(ann.user.id)
        started = world.time.ms
        world.time.ms += IDLE_MS - 1
        await world.sessions.whose(used.cookie)
        world.time.ms += 1
        assert (await refused(Unauthorized, world.sessions.whose(idle.cookie))).reason == "expired"
        while world.time.ms + IDLE_MS // 2 < started + LIFE_MS:
            world.time.ms += IDLE_MS // 2
            await world.sessions.whose(used.cookie)
        world.time.ms = started + LIFE_MS
        assert (await refused(Unauthorized, world.sessions.whose(used.cookie))).reason == "expired"

    asyncio.run(scenario())


def test_the_use_of_a_session_is_written_now_and_then_only(world):
    async def scenario():
        ann = await world.person("ann")
        opened = await world.sessions.open(ann.user.id)
        first = world.time.ms
        world.time.ms += TOUCH_MS - 1
        await world.sessions.whose(opened.cookie)
        assert (await world.sessions.list(ann.user.id))[0].seen_at == first
        world.time.ms += 1
        await world.sessions.whose(opened.cookie)
        assert (await world.sessions.list(ann.user.id))[0].seen_at == first + TOUCH_MS

    asyncio.run(scenario())


def test_one_can_sign_out_here_there_and_everywhere_and_a_disabled_user_is_out(world):
    async def scenario():
        await world.person("root")
        ann = await world.person("ann")
        a, b, c, d = [await world.sessions.open(ann.user.id) for _ in range(4)]
        await world.sessions.close(a.cookie)
        await world.sessions.close_one(ann.user.id, b.id)
        assert await world.sessions.close_all(ann.user.id, but=d.id) == 1
        for gone in (a, b, c):
            await refused(Unauthorized, world.sessions.whose(gone.cookie))
        await world.sessions.whose(d.cookie)
        await world.accounts.disable_user(ann.user.id)
        await refused(Unauthorized, world.sessions.whose(d.cookie))
        await refused(NotFound, world.sessions.open(ann.user.id))

    asyncio.run(scenario())


def test_a_user_has_only_so_many_sessions_and_the_oldest_goes(world, monkeypatch):
    monkeypatch.setattr("openglm.maas.identity.sessions.MAX_PER_USER", 2)

    async def scenario():
        ann = await world.person("ann")
        opened = []
        for _ in range(3):
            world.time.ms += 1
            opened.append(await world.sessions.open(ann.user.id))
        await refused(Unauthorized, world.sessions.whose(opened[0].cookie))
        for kept in opened[1:]:
            await world.sessions.whose(kept.cookie)

    asyncio.run(scenario())


def test_the_cookie_is_out_of_reach_for_scripts_and_for_other_sites():
    plain, secure = set_cookie("glms_x", secure=False), set_cookie("glms_x", secure=True)
    assert plain.startswith("glm_session=glms_x; Path=/; Max-Age=")
    assert secure.startswith("__Host-glm_session=glms_x; Path=/; ")
    for text in (plain, secure):
        assert "; HttpOnly; SameSite=Lax" in text
        assert "Domain" not in text
    assert secure.endswith("; Secure")
    assert "Secure" not in plain
    assert "Max-Age=0" in drop_cookie(secure=True)


def test_the_audit_log_tells_who_did_what_from_where_page_by_page(world):
    async def scenario():
        ann = await world.person("ann")
        by = Actor(ann.user.id, "1.2.3.4")
        for number in range(5):
            world.time.ms += 1
            await world.accounts.rename_org(ann.org_id, f"name {number}", actor=by)
        first = await world.audit.page(ann.org_id, limit=2)
        assert [row.details["name"] for row in first.rows] == ["name 4", "name 3"]
        row = first.rows[0]
        assert (row.actor_id, row.ip, row.action, row.target) == (
            ann.user.id,
            "1.2.3.4",
            "org.rename",
            ann.org_id,
        )
        seen, after = len(first.rows), first.next
        while after:
            page = await world.audit.page(ann.org_id, limit=2, after=after)
            seen, after = seen + len(page.rows), page.next
        assert seen == 6
        assert len((await world.audit.page_of_platform()).rows) == 6
        for limit in (0, 201):
            await refused(InvalidRequest, world.audit.page(ann.org_id, limit=limit))

    asyncio.run(scenario())


def test_audit_rows_cannot_be_changed_or_deleted_and_mask_secrets(world):
    async def scenario():
        details = {"note": "Bearer abcdefgh12345678"}
        await world.database.write(lambda tx: note(tx, 1, SYSTEM, "x.y", "z", org_id=None, details=details))
        assert "abcdefgh12345678" not in repr(await world.audit.page_of_platform())
        for sql in ("UPDATE audit_log SET action = 'no'", "DELETE FROM audit_log"):
            with pytest.raises(Exception, match="append-only"):
                await world.database.write(lambda tx, sql=sql: tx.run(sql))
        assert len((await world.audit.page_of_platform()).rows) == 1

    asyncio.run(scenario())


def test_what_fails_is_not_audited(world):
    async def scenario():
        ann = await world.person("ann")
        before = len((await world.audit.page(ann.org_id)).rows)
        await refused(NotFound, world.projects.archive(ann.org_id, "proj_none"))
        await refused(Conflict, world.accounts.set_role(ann.org_id, ann.user.id, "viewer", by=Actor()))
        assert len((await world.audit.page(ann.org_id)).rows) == before

    asyncio.run(scenario())
