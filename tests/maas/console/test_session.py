"""Signing up, in and out; sessions, CSRF, other sites' pages."""

from __future__ import annotations

import httpx
import pytest

from tests.maas.console.conftest import PASSWORD


def test_a_stranger_learns_how_to_begin(town):
    state = town.browser().get("session").json()
    assert state["user"] is None
    assert state["needs_first_account"] is True
    assert state["sign_up"] == "open"


def test_who_signs_up_is_signed_in_and_owns_an_organisation(town, ann):
    state = ann.get("session").json()
    assert state["user"]["email"] == "ann@example.com"
    assert state["user"]["is_operator"] is True
    assert state["organisations"][0]["role"] == "owner"
    assert state["needs_first_account"] is False
    assert state["csrf"] == ann.headers["x-csrf-token"]


@pytest.mark.parametrize("setup", [{}, {"setup": None}, {"setup": ""}, {"setup": "glmu_" + "0" * 64}])
def test_the_first_account_needs_the_set_up_token(town, setup):
    body = {"email": "eve@example.com", "password": PASSWORD, "name": "Eve"}
    answer = town.browser().post("sign-up", json=body | setup)
    assert answer.status_code == 403
    assert "glm admin user add" in answer.json()["error"]["message"]
    assert not town.rows("SELECT 1 FROM app_user")


def test_who_has_the_set_up_token_founds_the_platform_from_anywhere_and_only_once(town):
    setup = town.platform.installation.setup_token
    far = town.browser()
    far.headers["x-forwarded-for"] = "203.0.113.9"
    assert far.sign_up("ann@example.com", setup=setup).state["user"]["is_operator"]
    assert not town.browser().sign_up("bob@example.com", setup=setup).state["user"]["is_operator"]


def test_the_cookie_is_closed_to_scripts_and_other_sites(town, ann):
    answer = town.browser().post(
        "sign-up", json={"email": "bob@example.com", "password": PASSWORD, "name": "Bob"}
    )
    assert "HttpOnly" in answer.headers["set-cookie"]
    assert "SameSite=Lax" in answer.headers["set-cookie"]
    assert answer.headers["cache-control"] == "no-store"


def test_a_wrong_password_and_an_unknown_address_read_the_same(town, ann):
    stranger = town.browser()
    wrong = stranger.post("login", json={"email": "ann@example.com", "password": "nope nope nope"})
    unknown = stranger.post("login", json={"email": "nobody@example.com", "password": "nope nope nope"})
    assert wrong.status_code == unknown.status_code == 401
    assert wrong.json() == unknown.json()


def test_who_tries_too_often_waits(town, ann):
    stranger = town.browser()
    answers = [
        stranger.post("login", json={"email": "ann@example.com", "password": "nope nope nope"})
        for _ in range(6)
    ]
    assert answers[-1].status_code == 429
    assert int(answers[-1].headers["retry-after"]) > 0


def test_a_change_needs_the_csrf_token(ann):
    assert ann.patch("me", json={"name": "Anna"}).status_code == 204
    del ann.headers["x-csrf-token"]
    answer = ann.patch("me", json={"name": "Mallory"})
    assert answer.status_code == 403
    assert "x-csrf-token" in answer.json()["error"]["message"]
    assert ann.get("session").json()["user"]["name"] == "Anna"


@pytest.mark.parametrize(
    "headers", [{"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}, {"origin": "null"}]
)
def test_a_page_of_another_site_changes_nothing(town, ann, headers):
    assert ann.patch("me", json={"name": "Mallory"}, headers=headers).status_code == 403
    login = {"email": "ann@example.com", "password": PASSWORD}
    assert town.browser().post("login", json=login, headers=headers).status_code == 403


def test_a_form_of_another_site_is_not_json_and_is_refused(town, ann):
    answer = httpx.post(
        f"{town.url}/api/console/login",
        content=b'{"email": "ann@example.com", "password": "x"}',
        headers={"content-type": "text/plain"},
    )
    assert answer.status_code == 422


def test_who_signs_out_is_a_stranger(ann):
    assert ann.post("logout").status_code == 204
    assert ann.get("session").json()["user"] is None
    assert ann.get("sessions").status_code == 401


def test_other_browsers_can_be_signed_out(town, ann):
    other = town.browser().login("ann@example.com")
    third = town.browser().login("ann@example.com")
    assert len(ann.get("sessions").json()) == 3
    assert ann.delete(f"sessions/{other.state['session_id']}").status_code == 204
    assert other.get("sessions").status_code == 401
    assert ann.delete("sessions").status_code == 204
    assert third.get("sessions").status_code == 401
    assert len(ann.get("sessions").json()) == 1


def test_a_new_password_ends_the_other_sessions(town, ann):
    other = town.browser().login("ann@example.com")
    new = "quite another passphrase"
    assert ann.post("me/password", json={"old": "wrong wrong wrong", "new": new}).status_code == 403
    assert ann.post("me/password", json={"old": PASSWORD, "new": new}).status_code == 204
    assert other.get("sessions").status_code == 401
    assert ann.get("sessions").status_code == 200
    town.browser().login("ann@example.com", new)


def test_a_login_ends_the_older_session_of_that_browser(town, ann):
    ann.login("ann@example.com")
    assert len(ann.get("sessions").json()) == 1


def test_a_wrong_field_is_named(ann):
    answer = ann.patch("me", json={"nmae": "Anna"})
    assert answer.status_code == 422
    assert answer.json()["error"]["param"] in ("name", "nmae")


@pytest.mark.parametrize("body", [b'{"name": "a\\u0000b"}', b'{"name": "\\ud800"}', b"{", b"[1]", b"\xff"])
def test_text_that_cannot_be_kept_is_refused(ann, body):
    answer = ann.patch("me", content=body, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 422)
    assert answer.json()["error"]["message"]


def test_a_body_beyond_the_limit_is_refused(ann):
    answer = ann.patch("me", json={"name": "x" * (1 << 20)})
    assert answer.status_code == 413


def test_an_unknown_path_answers_in_json(ann):
    answer = ann.get("nothing/here")
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "not_found"
    assert ann.put("session").status_code == 405


def test_the_reference_needs_no_script_and_no_other_host(town):
    page = town.browser().get("docs")
    assert "<script" not in page.text
    assert "https://" not in page.text.replace("https://glm", "")
    assert "/api/console/organisations/{org_id}/keys" in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    document = town.browser().get("openapi.json").json()
    assert document["servers"] == [{"url": "/api/console"}]
