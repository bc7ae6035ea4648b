"""Sign-in through a provider that we run here: a real server, real keys, and every way to cheat it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from openglm.errors import Conflict, Forbidden, NotFound, RateLimited, Unauthorized, UpstreamFailure
from openglm.maas.identity import Actor, Oidc, Provider
from openglm.maas.identity.attempts import DEPARTURES
from openglm.maas.identity.oidc import LOGIN_MS
from tests.maas.fake_provider import KEYS, running_provider

PASSWORD = "correct horse battery"
BACK = "https://glm.example.org/oidc/back"


@asynccontextmanager
async def running(world, accounts=None):
    async with running_provider(world.time) as fake:
        provider = Provider("corp", fake.issuer, "client", "hush")
        oidc = Oidc(world.database, world.secrets, accounts or world.accounts, (provider,), clock=world.time)
        try:
            yield fake, oidc
        finally:
            await oidc.close()


async def sign_in(fake, oidc, **begin):
    departure = await oidc.begin("corp", BACK, **begin)
    return await oidc.complete(**fake.visit(departure.url), browser=departure.browser, ip="1.1.1.1")


def run(world, scenario, **options):
    async def whole():
        async with running(world, **options) as (fake, oidc):
            await scenario(fake, oidc)

    asyncio.run(whole())


def test_a_new_identity_signs_up_and_comes_back_to_the_same_account(world):
    async def scenario(fake, oidc):
        await world.person("root")
        first = await sign_in(fake, oidc, return_to="/chat")
        assert first.is_new
        assert first.return_to == "/chat"
        assert (first.user.email, first.user.name, first.user.is_verified) == ("ann@example.org", "Ann", True)
        fake.claims = {"email": "ann.new@example.org"}  # the subject counts, not the address
        second = await sign_in(fake, oidc)
        assert (second.user.id, second.is_new) == (first.user.id, False)
        assert fake.reads == 1
        with pytest.raises(Unauthorized):
            await world.accounts.login("ann@example.org", "")

    run(world, scenario)


def test_a_verified_address_joins_its_account_and_an_unverified_one_must_link_by_hand(world):
    async def scenario(fake, oidc):
        root = await world.person("root")  # verified: it runs the place
        ann = await world.accounts.sign_up("ann@example.org", PASSWORD, "ann")
        with pytest.raises(Conflict, match="never verified"):
            await sign_in(fake, oidc)
        linked = await sign_in(fake, oidc, user_id=ann.user.id)
        assert (linked.user.id, linked.is_new) == (ann.user.id, False)
        assert (await sign_in(fake, oidc)).user.id == ann.user.id
        with pytest.raises(Conflict):
            await sign_in(fake, oidc, user_id=root.user.id)
        fake.claims = {"sub": "subject-2", "email": "Root@example.org"}
        assert (await sign_in(fake, oidc)).user.id == root.user.id
        fake.claims = {"sub": "subject-3", "email": "root@example.org"}
        with pytest.raises(Conflict, match="another identity"):
            await sign_in(fake, oidc)
        await world.accounts.disable_user(ann.user.id)
        fake.claims = {}
        with pytest.raises(Unauthorized, match="disabled"):
            await sign_in(fake, oidc)

    run(world, scenario)


@pytest.mark.parametrize("verified", [False, None, "true", 1])
def test_an_address_that_the_provider_did_not_verify_opens_nothing(world, verified):
    async def scenario(fake, oidc):
        fake.claims = {"email_verified": verified}
        with pytest.raises(Forbidden):
            await sign_in(fake, oidc)
        assert await world.accounts.is_empty()

    run(world, scenario)


def test_a_provider_never_makes_the_first_account(world):
    async def scenario(fake, oidc):
        with pytest.raises(Forbidden, match="set-up token"):
            await sign_in(fake, oidc)
        assert await world.accounts.is_empty()

    for word in ("open", "invitation", "closed"):
        run(world, scenario, accounts=world.with_sign_up(word))


def test_who_waits_in_an_invited_account_under_a_strangers_address_gets_no_identity_of_theirs(world):
    async def scenario(fake, oidc):
        await world.person("root")
        mallory = await world.person("mallory")
        invited = await world.accounts.invite(
            mallory.org_id, "ann@example.org", "viewer", by=Actor(mallory.user.id)
        )
        squatter = await world.accounts.sign_up("ann@example.org", PASSWORD, "x", invitation=invited.token)
        assert not squatter.user.is_verified
        with pytest.raises(Conflict, match="never verified"):
            await sign_in(fake, oidc)
        assert not await world.database.read("SELECT * FROM oidc_link")

    run(world, scenario)


def test_closed_sign_up_is_closed_to_new_identities_too(world):
    async def scenario(fake, oidc):
        await world.person("root")
        with pytest.raises(Forbidden):
            await sign_in(fake, oidc)

    run(world, scenario, accounts=world.with_sign_up("closed"))


@pytest.mark.parametrize(
    "claims",
    [
        {"nonce": "another"},
        {"nonce": None},
        {"aud": "other"},
        {"aud": ["client", "other"], "azp": "other"},
        {"iss": "https://evil.example.org"},
        {"exp": 1},
        {"exp": None},
        {"iat": 2**40},
        {"sub": None},
        {"sub": ""},
        {"sub": 7},
    ],
)
def test_an_identity_token_for_anything_else_is_refused(world, claims):
    async def scenario(fake, oidc):
        fake.claims = claims
        with pytest.raises(Unauthorized):
            await sign_in(fake, oidc)
        assert await world.accounts.is_empty()

    run(world, scenario)


def test_a_token_that_another_key_signed_is_refused_and_a_new_key_is_read_once_a_minute(world):
    async def scenario(fake, oidc):
        await world.person("root")
        await sign_in(fake, oidc)
        fake.key, fake.header = KEYS[1], {"alg": "RS256", "kid": "k0"}
        with pytest.raises(Unauthorized):
            await sign_in(fake, oidc)
        fake.published, fake.header = KEYS[1], {"alg": "RS256", "kid": "k1"}
        with pytest.raises(Unauthorized):
            await sign_in(fake, oidc)
        assert fake.reads == 1
        world.time.pass_s(61)
        await sign_in(fake, oidc)
        assert fake.reads == 2

    run(world, scenario)


@pytest.mark.parametrize("token", ["", "a.b.c", "eyJhbGciOiJub25lIn0.e30.", None, 7])
def test_what_is_no_signed_token_is_refused(world, token):
    async def scenario(fake, oidc):
        departure = await oidc.begin("corp", BACK)
        back = fake.visit(departure.url)
        fake.token_answer = web.json_response({"id_token": token})
        with pytest.raises((Unauthorized, UpstreamFailure)):
            await oidc.complete(**back, browser=departure.browser)

    run(world, scenario)


def test_state_is_good_once_in_its_own_browser_and_not_for_long(world):
    async def scenario(fake, oidc):
        one, two = await oidc.begin("corp", BACK), await oidc.begin("corp", BACK)
        first, second = fake.visit(one.url), fake.visit(two.url)
        for browser in (two.browser, None):
            with pytest.raises((Forbidden, Unauthorized)):
                await oidc.complete(**first, browser=browser)
        with pytest.raises(Unauthorized):
            await oidc.complete(**first, browser=one.browser)  # used up by the tries
        for state in (None, "", "made-up"):
            with pytest.raises(Unauthorized):
                await oidc.complete(state=state, code="c", browser=two.browser)
        world.time.pass_s(601)
        with pytest.raises(Unauthorized):
            await oidc.complete(**second, browser=two.browser)
        rows = await world.database.read("SELECT * FROM oidc_login")
        assert first["state"] not in repr([dict(row) for row in rows])

    run(world, scenario)


def test_a_code_of_another_sign_in_fails_by_pkce_and_a_refusal_is_told(world):
    async def scenario(fake, oidc):
        one, two = await oidc.begin("corp", BACK), await oidc.begin("corp", BACK)
        first, second = fake.visit(one.url), fake.visit(two.url)
        with pytest.raises(UpstreamFailure):
            await oidc.complete(state=first["state"], code=second["code"], browser=one.browser)
        with pytest.raises(Unauthorized):
            await oidc.complete(state=second["state"], code=None, error="access_denied", browser=two.browser)
        three = await oidc.begin("corp", BACK)
        with pytest.raises(Unauthorized, match="another identity provider"):
            await oidc.complete(
                **fake.visit(three.url), browser=three.browser, issuer="https://evil.example.org"
            )
        with pytest.raises(NotFound):
            await oidc.begin("unknown", BACK)

    run(world, scenario)


@pytest.mark.parametrize(
    "path", ["https://evil.example.org", "//evil.example.org", "/\\evil", "javascript:x", "/a\r\nb", ""]
)
def test_the_way_back_leads_to_us_only(world, path):
    async def scenario(fake, oidc):
        await world.person("root")
        assert (await sign_in(fake, oidc, return_to=path)).return_to == "/"

    run(world, scenario)


@pytest.mark.parametrize(
    "metadata",
    [{"issuer": "https://evil.example.org"}, {"jwks_uri": "file:///etc/passwd"}, {"token_endpoint": None}],
)
def test_a_provider_that_contradicts_itself_is_not_used(world, metadata):
    async def scenario(fake, oidc):
        fake.metadata = metadata
        with pytest.raises(UpstreamFailure):
            await oidc.begin("corp", BACK)

    run(world, scenario)


def test_a_provider_that_is_down_is_an_upstream_failure(world):
    async def scenario(fake, oidc):
        fake.metadata = {"jwks_uri": "http://127.0.0.1:1/keys"}
        with pytest.raises(UpstreamFailure):
            await oidc.begin("corp", BACK)

    run(world, scenario)


def test_the_only_way_to_sign_in_cannot_be_unlinked(world):
    async def scenario(fake, oidc):
        await world.person("root")
        arrival = await sign_in(fake, oidc)
        user, by = arrival.user.id, Actor(arrival.user.id)
        with pytest.raises(Conflict):
            await oidc.unlink(user, fake.issuer, actor=by)
        await world.accounts.reset_password(user, PASSWORD, actor=by)
        await oidc.unlink(user, fake.issuer, actor=by)
        with pytest.raises(NotFound):
            await oidc.unlink(user, fake.issuer, actor=by)
        assert "hush" not in repr(oidc.providers)

    run(world, scenario)


def test_an_address_departs_only_so_often_and_old_departures_go(world):
    async def scenario(fake, oidc):
        def waiting() -> int:
            return world.database.read_now("SELECT count(*) AS n FROM oidc_login")[0]["n"]

        for _ in range(DEPARTURES.burst):
            await oidc.begin("corp", BACK, ip="2001:db8::1")
        with pytest.raises(RateLimited):
            await oidc.begin("corp", BACK, ip="2001:db8::2")  # the same subscriber
        await oidc.begin("corp", BACK, ip="192.0.2.1")
        assert waiting() == DEPARTURES.burst + 1
        world.time.pass_s(LOGIN_MS / 1000)
        await oidc.begin("corp", BACK, ip="192.0.2.1")
        assert waiting() == 1

    run(world, scenario)
