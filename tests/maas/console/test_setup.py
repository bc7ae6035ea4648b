"""The page for the first account: it opens to the set-up token alone, without a script, and only once."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from tests.maas.console.conftest import PASSWORD, Town


@pytest.fixture
def client(town: Town):
    with httpx.Client(base_url=town.url, headers={"origin": town.url}, timeout=60) as client:
        yield client


def form(town: Town, **more: str) -> dict[str, str]:
    token = town.platform.installation.setup_token
    return {"token": token, "email": "ann@example.com", "name": "Ann", "password": PASSWORD} | more


def test_the_page_makes_the_operators_account_and_signs_in(town, client):
    page = client.get("/setup", params={"token": form(town)["token"]})
    assert page.status_code == 200
    assert "<script" not in page.text
    made = client.post("/setup", data=form(town))
    assert (made.status_code, made.headers["location"]) == (303, "/")
    user = client.get("/api/console/session").json()["user"]
    assert (user["email"], user["is_operator"]) == ("ann@example.com", True)


@pytest.mark.parametrize("token", [None, "", "glmu_wrong", "é\x00"])
def test_without_the_token_there_is_no_page_and_no_account(town, client, token):
    params = {} if token is None else {"token": token}
    assert client.get("/setup", params=params).status_code == 401
    assert client.post("/setup", data=form(town, token=token or "")).status_code == 401
    assert asyncio.run(town.platform.accounts.is_empty())


def test_what_is_wrong_is_said_in_the_form_that_keeps_what_was_typed(town, client):
    answer = client.post("/setup", data=form(town, password="short", name='"><b>Ann'))
    assert answer.status_code == 400
    assert "10 to 256 characters" in answer.text
    assert "ann@example.com" in answer.text
    assert "<b>Ann" not in answer.text
    assert asyncio.run(town.platform.accounts.is_empty())


def test_a_page_of_another_site_cannot_send_the_form(town, client):
    answer = client.post("/setup", data=form(town), headers={"origin": "https://evil.example"})
    assert answer.status_code == 403


def test_once_there_is_an_account_the_token_opens_nothing(town, client, ann):
    assert client.get("/setup", params={"token": form(town)["token"]}).headers["location"] == "/"
    assert client.post("/setup", data=form(town, email="eve@example.com")).headers["location"] == "/"
    assert len(town.rows("SELECT 1 FROM app_user")) == 1
