"""People and machines in the console: members, projects, one's account, channels, models, prices, health."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, expect

from tests.maas.console.conftest import PASSWORD
from tests.web.console_town import SIZES, Town, button, housed, open_page, row


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with housed(tmp_path_factory.mktemp("town")) as made:
        yield made


@pytest.fixture
def context(browser: Browser, town: Town) -> Iterator[BrowserContext]:
    complaints: list[str] = []
    context = town.visit(browser, complaints)
    yield context
    context.close()
    assert complaints == []


def test_an_invitation_link_brings_a_member_whose_role_can_be_changed(
    context: BrowserContext, town: Town, browser: Browser
) -> None:
    page = open_page(context, "members")
    button(page, "Invite somebody").click()
    page.get_by_label("E-mail").fill("bob@example.com")
    page.get_by_role("dialog").get_by_label("Role").select_option("billing")
    button(page, "Make the invitation").click()
    link = page.get_by_label("Invitation link", exact=True).last.inner_text().strip()
    button(page, "Done").click()
    expect(row(page, "bob@example.com")).to_contain_text("Billing")
    bob = browser.new_context(locale="en-US", viewport=SIZES["phone"])
    visit = bob.new_page()
    visit.goto(link)
    for label, text in (("Name", "Bob"), ("E-mail", "bob@example.com"), ("Password", PASSWORD)):
        visit.get_by_label(label, exact=True).fill(text)
    button(visit, "Create the account").click()
    expect(visit.get_by_label("Password", exact=True)).to_have_count(0)
    bob.close()
    page.reload()
    with page.expect_response("**/members/*"):
        page.get_by_label("Change the role: Bob").select_option("developer")
    members = town.ann.get(f"{town.ann.org}/members").json()
    assert {one["name"]: one["role"] for one in members} == {"ann": "owner", "Bob": "developer"}
    button(page, "Take out: Bob").click()
    button(page, "Take out").click()
    expect(row(page, "Bob")).to_have_count(0)


def test_a_project_is_begun_keeps_whole_requests_and_shows_them_and_is_archived(
    context: BrowserContext, town: Town
) -> None:
    page = open_page(context, "projects")
    button(page, "New project").click()
    page.get_by_label("Name", exact=True).fill("Research")
    page.get_by_label("Keep whole requests for so many days").fill("7")
    button(page, "Make the project").click()
    expect(row(page, "Research")).to_contain_text("kept for 7 days")
    project = next(one["id"] for one in town.ann.get(f"{town.ann.org}/projects").json() if one["name"] == "Research")
    key = town.ann.post(f"{town.ann.org}/keys", json={"name": "lab", "project_id": project}).json()["key"]
    request = town.ask("glm", key, words=["deep ", "winter"]).headers["x-request-id"]
    page.goto(f"/console/requests/{request}")
    expect(page.get_by_label("What went out")).to_contain_text("deep winter")
    page.goto("/console/projects")
    button(page, "Archive: Research").click()
    button(page, "Archive").click()
    expect(row(page, "Research")).to_contain_text("archived")
    assert town.ask("glm", key).status_code == 401


def test_the_audit_log_tells_who_did_it(context: BrowserContext) -> None:
    page = open_page(context, "audit")
    expect(row(page, "key.").first).to_contain_text("ann")
    page.get_by_text("The whole platform").click()
    expect(page.locator("tbody tr").first).to_be_visible()


def test_a_password_is_changed_and_other_sessions_end(town: Town, browser: Browser) -> None:
    eve = type(town.ann)(town.url).sign_up("eve@example.com")
    other = type(town.ann)(town.url).login("eve@example.com")
    context = town.visit(browser, [], account=eve, viewport=SIZES["phone"])
    page = open_page(context, "account")
    expect(page.locator("tbody tr")).to_have_count(2)
    page.get_by_label("Old password").fill("not this one at all")
    page.get_by_label("New password").fill("another long passphrase")
    button(page, "Change the password").click()
    expect(page.get_by_role("alert")).to_be_visible()
    page.get_by_label("Old password").fill(PASSWORD)
    button(page, "Change the password").click()
    expect(page.get_by_text("The password is changed")).to_be_visible()
    assert other.get("sessions").status_code == 401
    page.get_by_label("Name", exact=True).fill("Eve Winter")
    button(page, "Save").click()
    expect(page.get_by_text("Your name is changed")).to_be_visible()
    context.close()


def test_a_channel_is_added_tested_drained_and_removed(context: BrowserContext, town: Town) -> None:
    page = open_page(context, "channels")
    button(page, "New channel").click()
    page.get_by_label("Id", exact=True).fill("second")
    page.get_by_label("Address").fill("ftp://nowhere")
    page.get_by_label("Models", exact=True).fill("glm\nglm-long = wire")
    button(page, "Save the channel").click()
    expect(page.get_by_role("alert")).to_contain_text("must be http://")
    page.get_by_label("Address").fill(town.upstream.url)
    button(page, "Save the channel").click()
    expect(row(page, "second")).to_contain_text("glm, glm-long")
    row(page, "second").get_by_role("button", name="Test").click()
    expect(page.get_by_text("second is well")).to_be_visible()
    states = {one["id"]: one["state"] for one in town.ann.get("platform/channels").json()}
    assert states["second"] == "active"
    button(page, "More for second").click()
    page.get_by_role("menuitem", name="Drain").click()
    expect(row(page, "second")).to_contain_text("drains")
    button(page, "More for second").click()
    page.get_by_role("menuitem", name="Remove").click()
    button(page, "Remove").click()
    expect(row(page, "second")).to_have_count(0)


def test_a_model_of_the_catalogue_is_found_with_its_fit_and_a_row_is_changed(context: BrowserContext, town: Town) -> None:
    page = open_page(context, "models")
    expect(page.locator(".card", has_text="tiny").first).to_contain_text("ready")
    page.get_by_label("Find").fill("glm-4.5-air")
    card = page.locator(".card", has_text="GLM-4.5-Air")
    expect(card).to_contain_text(re.compile("too large for this machine|fits"))
    expect(card.get_by_role("button", name="Serve")).to_be_visible()
    button(page, "New model").click()
    page.get_by_label("Name", exact=True).fill("best")
    page.get_by_label("Alias of").fill("glm")
    button(page, "Save").click()
    expect(row(page, "best")).to_contain_text("alias of glm")
    button(page, "Remove the model: best").click()
    button(page, "Remove the model").click()
    expect(row(page, "best")).to_have_count(0)


def test_a_price_a_limit_a_quota_and_codes_are_set(context: BrowserContext, town: Town) -> None:
    page = open_page(context, "pricing")
    button(page, "Set a price: glm").click()
    page.get_by_label("Output tokens").fill("8.000001")
    button(page, "Set the price").click()
    expect(row(page, "version 2")).to_contain_text("¥8.000001")
    button(page, "New limit").click()
    page.get_by_label("Requests a minute").fill("600")
    button(page, "Set the limit").click()
    expect(row(page, "each organisation")).to_contain_text("600")
    button(page, "Set a quota").click()
    page.get_by_role("dialog").get_by_label("Quota").select_option("files")
    page.get_by_label("At most").fill("7")
    page.get_by_role("dialog").get_by_role("button", name="Set a quota").click()
    expect(row(page, "Files").first).to_contain_text("*: 7")
    page.get_by_label("Amount").fill("5")
    page.get_by_label("How many").fill("3")
    button(page, "Make codes").click()
    codes = page.get_by_label("New codes", exact=True).last.inner_text().split()
    assert len(codes) == 3
    assert town.ann.post(f"{town.ann.org}/wallet/redeem", json={"code": codes[0]}).is_success


def test_a_user_is_added_and_an_organisation_gets_money(context: BrowserContext, town: Town) -> None:
    page = open_page(context, "people")
    button(page, "Add a user").click()
    for label, text in (("Name", "Carl"), ("E-mail", "carl@example.com"), ("Password", PASSWORD)):
        page.get_by_role("dialog").get_by_label(label, exact=True).fill(text)
    page.get_by_role("dialog").get_by_role("button", name="Add a user").click()
    expect(row(page, "carl@example.com")).to_contain_text("active")
    page.get_by_role("tab", name="Organisations").click()
    button(page, "More for Carl").click()
    page.get_by_role("menuitem", name="Book a top-up").click()
    page.get_by_label("Amount").fill("12.5")
    button(page, "Book").click()
    expect(page.get_by_text("The top-up is booked")).to_be_visible()
    carl = type(town.ann)(town.url).login("carl@example.com")
    assert carl.get(f"{carl.org}/wallet").json()["balance"] == "12.5"


def test_health_shows_the_throughput_of_answers_as_they_come(context: BrowserContext, town: Town) -> None:
    page = open_page(context, "health")
    assert httpx.get(f"{town.url}/health").is_success
    town.ask("glm-air", prompt=10, tokens=90)
    expect(page.locator(".chart", has_text="Output, tokens/s")).to_be_visible()
    answered = row(page, "glm-air")
    expect(answered).to_contain_text("90")
