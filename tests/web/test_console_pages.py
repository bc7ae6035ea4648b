"""Every page of the console, on a wide screen and on a phone, in both languages: it opens, fits, and says what it is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.web.console_town import SIZES, Town, housed, open_page, settled

ROOT = Path(__file__).parent.parent.parent
PAGES = re.findall(r'path: "([^"]*)"', (ROOT / "web/src/console/pages.ts").read_text(encoding="utf-8"))
LOOKS = {
    "wide, English, light": {"viewport": SIZES["wide"], "locale": "en-US", "color_scheme": "light"},
    "phone, Chinese, dark": {"viewport": SIZES["phone"], "locale": "zh-CN", "color_scheme": "dark"},
}
MISSING = re.compile(r"undefined|\[object|NaN|\bnull\b|=>")


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with housed(tmp_path_factory.mktemp("town")) as made:
        made.ask(prompt=1200, tokens=40)
        made.ask("glm-air", prompt=300, tokens=8)
        made.ask("nobody")
        yield made


@pytest.fixture(scope="module", params=LOOKS)
def visitor(request: pytest.FixtureRequest, browser: Browser, town: Town) -> Iterator[Page]:
    complaints: list[str] = []
    context = town.visit(browser, complaints, **LOOKS[request.param])
    yield open_page(context, "")
    context.close()
    assert complaints == []


@pytest.mark.parametrize("path", PAGES)
def test_a_page_opens_fits_the_screen_and_misses_no_word(visitor: Page, path: str) -> None:
    visitor.goto(f"/console/{path}".rstrip("/"))
    settled(visitor)
    language = visitor.evaluate("document.documentElement.lang")
    text = visitor.locator("#content").inner_text()
    assert not MISSING.search(text), text
    if language == "zh-CN":
        assert len(re.findall(r"[一-鿿]", text)) > 10, text
    expect(visitor.get_by_role("alert")).to_have_count(0)
    width, shown = visitor.evaluate(
        "(main => [main.scrollWidth, main.clientWidth])(document.querySelector('main'))"
    )
    assert width <= shown, f"{path} is {width} px wide, the screen shows {shown}"
    unnamed = visitor.evaluate(
        "[...document.querySelectorAll('#content button, #content input, #content select, #content textarea')]"
        ".filter(e => !(e.innerText || e.ariaLabel || e.title || e.labels?.length)).map(e => e.outerHTML)"
    )
    assert unnamed == []


def test_a_table_is_cards_on_a_phone_and_rows_on_a_wide_screen(town: Town, browser: Browser) -> None:
    for size, display in (("wide", "table-row"), ("phone", "block")):
        context = town.visit(browser, [], viewport=SIZES[size])
        page = open_page(context, "keys")
        assert page.locator("tbody tr").first.evaluate("row => getComputedStyle(row).display") == display
        context.close()


def test_members_see_only_the_pages_that_their_role_allows(town: Town, browser: Browser) -> None:
    invited = town.ann.post(f"{town.ann.org}/invitations", json={"email": "eve@example.com", "role": "viewer"})
    eve = type(town.ann)(town.url).sign_up("eve@example.com", invitation=invited.json()["token"])
    context = town.visit(browser, [], account=eve)
    page = open_page(context, "usage")
    pages = page.get_by_role("navigation", name="Console")
    expect(pages.get_by_role("link", name="Usage")).to_be_visible()
    for hidden in ("API keys", "Balance", "Channels", "Health"):
        expect(pages.get_by_role("link", name=hidden)).to_have_count(0)
    page.goto("/console/wallet")
    expect(page.get_by_text("Your role does not show this")).to_be_visible()
    context.close()


def test_a_failure_is_told_with_what_to_do_and_tried_again(town: Town, browser: Browser) -> None:
    context = town.visit(browser, [])
    context.route("**/api/console/organisations/*/keys", lambda route: route.abort())
    page = context.new_page()
    page.goto("/console/keys")
    expect(page.get_by_role("alert")).to_contain_text("The server cannot be reached")
    context.unroute("**/api/console/organisations/*/keys")
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_text("website")).to_be_visible()
    context.close()
