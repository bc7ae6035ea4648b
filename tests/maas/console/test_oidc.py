"""Signing in through an identity provider, as a browser goes the way."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from openglm.asgi import Running
from openglm.errors import OpenGLMError
from openglm.maas.gateway import create_app
from openglm.maas.identity import Provider
from openglm.maas.ids import wall_clock
from openglm.maas.platform import Platform
from openglm.maas.settings import Settings, read_settings
from tests.maas.console.conftest import PASSWORD
from tests.maas.fake_provider import running_provider


def visited(database_url, tmp_path, visit, *, founded=True) -> None:
    """Runs `visit(fake, client, platform)` with a provider and a platform that knows it."""

    async def whole() -> None:
        async with running_provider(wall_clock) as fake:
            provider = Provider("corp", fake.issuer, "client", "hush", "The Company")
            platform = Platform(Settings(data=tmp_path, database_url=database_url, oidc=(provider,)))
            if founded:
                await platform.accounts.add("root@example.org", PASSWORD, "Root")
            with Running(create_app(platform)) as url:
                headers = {"origin": url}
                async with httpx.AsyncClient(base_url=f"{url}/api/console/", headers=headers) as client:
                    await visit(fake, client, platform)

    asyncio.run(whole())


async def take_token(client) -> None:
    """The page reads who is here anew, and sends that session's CSRF token from then on."""
    client.headers.pop("x-csrf-token", None)
    client.headers["x-csrf-token"] = (await client.get("session")).json()["csrf"]


async def come_back(fake, client, departure: httpx.Response) -> httpx.Response:
    return await client.get("oidc/callback", params=fake.visit(departure.headers["location"]))


def test_a_browser_signs_in_through_the_company(database_url, tmp_path):
    async def visit(fake, client, platform):
        assert (await client.get("session")).json()["providers"] == [{"name": "corp", "title": "The Company"}]
        departure = await client.get("oidc/corp", params={"return_to": "/keys"})
        assert departure.status_code == 303
        assert departure.headers["location"].startswith(fake.issuer)
        back = await come_back(fake, client, departure)
        assert (back.status_code, back.headers["location"]) == (303, "/keys")
        state = (await client.get("session")).json()
        assert state["user"]["email"] == "ann@example.org"
        assert not state["user"]["has_password"]

    visited(database_url, tmp_path, visit)


@pytest.mark.parametrize("headers", [{}, {"x-forwarded-for": "203.0.113.9"}])
def test_a_stranger_of_the_company_does_not_become_the_operator(database_url, tmp_path, headers):
    async def visit(fake, client, platform):
        client.headers.update(headers)
        back = await come_back(fake, client, await client.get("oidc/corp"))
        assert "set-up%20token" in back.headers["location"]
        assert (await client.get("session")).json()["user"] is None
        assert await platform.accounts.is_empty()

    visited(database_url, tmp_path, visit, founded=False)


def test_a_sign_in_that_began_elsewhere_comes_back_as_a_message(database_url, tmp_path):
    async def visit(fake, client, platform):
        departure = await client.get("oidc/corp")
        client.cookies.clear()
        back = await come_back(fake, client, departure)
        assert back.headers["location"].startswith("/?sign_in_error=")
        assert (await client.get("session")).json()["user"] is None

    visited(database_url, tmp_path, visit)


def test_an_identity_is_linked_to_an_account_and_taken_off_again(database_url, tmp_path):
    async def visit(fake, client, platform):
        body = {"email": "ann@example.org", "password": PASSWORD, "name": "Ann"}
        made = (await client.post("sign-up", json=body)).json()
        client.headers["x-csrf-token"] = made["csrf"]
        away = await client.post("me/identities/corp")
        await client.get("oidc/callback", params=fake.visit(away.json()["url"]))
        await take_token(client)
        (linked,) = (await client.get("me/identities")).json()
        assert (linked["provider"], linked["title"], linked["issuer"]) == ("corp", "The Company", fake.issuer)
        stranger = httpx.AsyncClient(base_url=client.base_url)
        async with stranger:
            await come_back(fake, stranger, await stranger.get("oidc/corp"))
            assert (await stranger.get("session")).json()["user"]["id"] == made["user"]["id"]
        assert (await client.delete("me/identities/corp")).status_code == 204
        assert (await client.get("me/identities")).json() == []
        assert (await client.delete("me/identities/corp")).status_code == 404
        assert (await client.delete("me/identities/nobody")).status_code == 404

    visited(database_url, tmp_path, visit)


def test_a_sign_in_closes_the_session_that_the_browser_had(database_url, tmp_path):
    async def visit(fake, client, platform):
        body = {"email": "bob@example.org", "password": PASSWORD, "name": "Bob"}
        made = (await client.post("sign-up", json=body)).json()
        for _ in range(2):
            await come_back(fake, client, await client.get("oidc/corp"))
            rows = platform.database.read_now("SELECT user_id FROM session")
            assert len(rows) == 1
            assert rows[0]["user_id"] != made["user"]["id"]

    visited(database_url, tmp_path, visit)


def test_who_has_no_password_sets_one_soon_after_signing_in(database_url, tmp_path):
    async def visit(fake, client, platform):
        async def sign_in():
            await come_back(fake, client, await client.get("oidc/corp"))
            await take_token(client)

        await sign_in()
        new = {"new": "a long and odd passphrase"}
        platform.database.write_now(lambda tx: tx.run("UPDATE session SET created_at = created_at - 900001"))
        late = await client.post("me/password", json=new)
        assert (late.status_code, "sign in again" in late.text) == (403, True)
        await sign_in()
        assert (await client.post("me/password", json=new)).status_code == 204
        assert (await client.get("session")).json()["user"]["has_password"]
        assert (await client.post("me/password", json=new)).status_code == 409
        assert (await client.delete("me/identities/corp")).status_code == 204

    visited(database_url, tmp_path, visit)


def test_providers_are_written_in_the_settings_and_their_secrets_beside(tmp_path, monkeypatch):
    (tmp_path / "platform.toml").write_text(
        'public_url = "https://glm.example.org"\n'
        '[oidc.corp]\nissuer = "https://id.example.org"\nclient_id = "glm"\n'
        'client_secret_file = "corp.secret"\n'
        '[oidc.other-one]\nissuer = "https://x.example.org"\nclient_id = "glm"\n'
    )
    (tmp_path / "corp.secret").write_text("hush\n")
    monkeypatch.setenv("OPENGLM_OIDC_OTHER_ONE_SECRET", "psst")
    settings = read_settings(tmp_path)
    assert [one.client_secret for one in settings.oidc] == ["hush", "psst"]
    assert "hush" not in repr(settings)
    assert "psst" not in repr(settings)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[oidc.corp]\nissuer = "x"\n', "needs issuer and client_id"),
        ('[oidc.corp]\nisuer = "x"\n', "isuer"),
        ('[oidc.callback]\nissuer = "x"\nclient_id = "y"\n', "callback"),
        ("oidc = 3\n", "[oidc.company]"),
        ('[oidc.a]\nissuer = "x"\nclient_id = "y"\nclient_secret_file = "none"\n', "none"),
        ('public_url = "glm.example.org"\n', "https://"),
        ('public_url = "https://glm.example.org/path"\n', "without a path"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path, text, says):
    (tmp_path / "platform.toml").write_text(text)
    with pytest.raises(OpenGLMError) as raised:
        read_settings(tmp_path)
    assert says in str(raised.value)
