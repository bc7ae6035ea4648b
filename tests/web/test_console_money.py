"""Money in the console: from a chart down to one request, budgets, codes, top-ups, plans, invoices. Exact to the digit."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, expect

from openglm.maas.money import ManualPayments
from tests.web.console_town import SIZES, Town, button, housed, open_page, row, settled


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with housed(tmp_path_factory.mktemp("town")) as made:
        assert made.ask(prompt=1234, tokens=7).is_success
        assert made.ask("glm-air", prompt=500, tokens=3).is_success
        yield made


@pytest.fixture(params=SIZES)
def context(request: pytest.FixtureRequest, browser: Browser, town: Town) -> Iterator[BrowserContext]:
    complaints: list[str] = []
    context = town.visit(browser, complaints, viewport=SIZES[request.param])
    yield context
    context.close()
    assert complaints == []


def test_a_chart_leads_to_a_day_a_model_and_one_requests_arithmetic(context: BrowserContext) -> None:
    page = open_page(context, "usage")
    expect(page.locator(".figures", has_text="Cost")).to_contain_text("¥0.001774")
    page.locator(".chart .column").last.click()
    expect(page).to_have_url(re.compile(r"/console/requests\?from=(\S+)&until=\1$"))
    expect(page.locator("tbody tr")).to_have_count(2)
    page.goto("/console/usage")
    settled(page)
    row(page, "glm-air").click()
    expect(page).to_have_url(re.compile(r"/console/requests\?model=glm-air"))
    expect(page.locator("tbody tr")).to_have_count(1)
    row(page, "glm-air").click()
    lines = page.get_by_label("How the price came about").inner_text()
    assert "500 uncached input x 1000000 pico = 500000000 pico" in lines
    assert "3 output x 4000000 pico = 12000000 pico" in lines
    expect(page.locator(".facts", has_text="Paid by")).to_contain_text("¥0.000512")


def test_a_chart_is_a_table_for_those_who_read_it_so(context: BrowserContext) -> None:
    page = open_page(context, "usage")
    page.get_by_text("Tokens", exact=True).click()
    button(page, "Show as a table").click()
    expect(page.locator(".chart tbody tr").last).to_contain_text("1.2K")
    expect(page.locator(".chart thead")).to_contain_text("glm-air")


def test_refused_requests_are_listed_with_their_reason(context: BrowserContext, town: Town) -> None:
    town.ask("nobody")
    page = open_page(context, "requests")
    page.get_by_role("tab", name="Refused or kept").click()
    expect(page.locator("tbody tr").first).to_contain_text("there is no model 'nobody'")


def test_a_code_and_a_paid_order_fill_the_wallet_exactly(context: BrowserContext, town: Town) -> None:
    before = town.ann.get(f"{town.ann.org}/wallet").json()["free"]
    (code,) = town.ann.post("platform/codes", json={"amount": "0.000000001"}).json()
    page = open_page(context, "wallet")
    page.get_by_label("Code", exact=True).fill(code)
    button(page, "Redeem a code").click()
    expect(page.get_by_text("The code was redeemed")).to_be_visible()
    whole, _, rest = before.partition(".")
    after = f"{whole}.{int(rest.ljust(9, '0')) + 1:09}"
    expect(page.locator(".figures")).to_contain_text(f"¥{after}")
    page.get_by_label("Code", exact=True).fill(code)
    button(page, "Redeem a code").click()
    expect(page.get_by_role("alert")).to_be_visible()  # a code is good once
    page.get_by_label("Amount").fill("20")
    button(page, "Order").click()
    said = page.get_by_text(re.compile("Ordered: ")).inner_text()
    order = re.search(r"Ordered: (\S+)\.", said)
    assert order, said
    notice = json.dumps({"order_id": order[1], "amount_nano": 20 * 10**9, "paid": True}).encode()
    signature = ManualPayments(b"a secret of the payment provider").sign(notice)
    url = f"{town.url}/api/console/payments/manual"
    assert httpx.post(url, content=notice, headers={"x-openglm-signature": signature}).is_success
    page.reload()
    expect(row(page, "¥20.00").first).to_be_visible()


def test_a_budget_is_set_shown_and_removed(context: BrowserContext) -> None:
    page = open_page(context, "limits")
    button(page, "New budget").click()
    page.get_by_label("Whose").select_option("key")
    expect(page.get_by_label("A key")).to_have_value(re.compile("."))
    page.get_by_label("At most").fill("5")
    page.get_by_label("Each").select_option("day")
    button(page, "Set the budget").click()
    card = page.locator(".card", has_text="website · Day")
    expect(card).to_contain_text("of ¥5.00")
    card.get_by_role("button", name="Remove the budget").click()
    page.get_by_role("dialog").get_by_role("button", name="Remove the budget").click()
    expect(page.get_by_text("No budget limits you")).to_be_visible()


def test_a_plan_is_bought_shows_its_meters_and_is_ended(context: BrowserContext) -> None:
    page = open_page(context, "plans")
    button(page, "Subscribe").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("¥30.00 is taken from the wallet")
    dialog.get_by_role("button", name="Subscribe").click()
    expect(page.locator(".meter", has_text="5 hours")).to_contain_text("0 of 1,000 credits")
    button(page, "End the plan").click()
    page.get_by_role("dialog").get_by_role("button", name="End the plan").click()
    expect(page.get_by_text("No plan is running")).to_be_visible()


def test_the_running_month_is_a_draft_invoice_with_its_csv(context: BrowserContext) -> None:
    page = open_page(context, "invoices")
    expect(page.locator(".figures", has_text="draft")).to_be_visible()
    expect(row(page, "glm-air")).to_contain_text("¥0.000512")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download CSV").click()
    assert download.value.suggested_filename == time.strftime("invoice-%Y-%m.csv", time.gmtime())
