"""axe over the main views, in light and dark, on a wide screen and on a phone: nothing serious, nothing critical."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.web.console_town import SIZES, settled
from tests.web.deeds import button
from tests.web.gallery import Gallery, furnished
from tests.web.gallery_texts import COLLECTIONS, PARABOLA
from tests.web.house import House, housed

THEMES = ("light", "dark")
CALM = {"locale": "en-US", "reduced_motion": "reduce"}  # no colour is measured on its way to another
CONSOLE = ("", "keys", "usage", "requests", "members", "playground", "wallet", "models", "health")
OPTIONS = {"resultTypes": ["violations"]}


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gallery]:
    with furnished(tmp_path_factory.mktemp("gallery")) as made:
        yield made


@pytest.fixture
def page(browser: Browser, gallery: Gallery) -> Iterator[Page]:
    """Ann's."""
    complaints: list[str] = []
    context = gallery.visit(browser, complaints, **CALM)
    yield context.new_page()
    context.close()
    assert complaints == []


def check(page: Page) -> None:
    """What is open now, in every look."""
    found = []
    for size, viewport in SIZES.items():
        page.set_viewport_size(viewport)
        for theme in THEMES:
            page.emulate_media(color_scheme=theme)
            expect(page.locator(f'html[data-theme="{theme}"]')).to_have_count(1)
            violations = Axe().run(page, options=OPTIONS).response["violations"]
            found += [f"{size}, {theme}: {told}" for each in violations for told in tell(each)]
    assert found == []


def tell(violation: dict[str, Any]) -> list[str]:
    if violation["impact"] not in ("serious", "critical"):
        return []
    return [
        f"{violation['id']} at {node['target']}: {node['html'][:160]} ({node['failureSummary']})"
        for node in violation["nodes"]
    ]


def test_the_start_of_the_chat(page: Page) -> None:
    page.goto("/")
    expect(page.get_by_role("heading", name="What is on your mind?")).to_be_visible()
    button(page, "Account").hover()
    check(page)


@pytest.mark.parametrize("talk", [COLLECTIONS, PARABOLA], ids=["table, code, thinking", "formula, diagram"])
def test_a_conversation(page: Page, gallery: Gallery, talk: Any) -> None:
    page.goto(f"/chat/{gallery.talks[talk.title]}")
    page.locator(".answer summary, .answer [aria-expanded]").first.click()  # its thoughts
    expect(page.locator(".answer .usage")).to_be_visible()
    check(page)


def test_settings(page: Page) -> None:
    page.goto("/")
    button(page, "Account").click()
    page.get_by_role("menuitem", name="Settings").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    check(page)


def test_search(page: Page) -> None:
    page.goto("/search")
    page.get_by_role("searchbox").fill("date")
    expect(page.get_by_role("main").get_by_role("listitem").first).to_be_visible()
    check(page)


@pytest.mark.parametrize("path", ["assistants", "prompts", "projects", "memory", "archive"])
def test_a_page_beside_the_chat(page: Page, path: str) -> None:
    page.goto(f"/{path}")
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    expect(page.locator(".loading")).to_have_count(0)
    check(page)


@pytest.mark.parametrize("path", CONSOLE)
def test_a_page_of_the_console(page: Page, path: str) -> None:
    page.goto(f"/console/{path}".rstrip("/"))
    settled(page)
    check(page)


def test_signing_in(browser: Browser, gallery: Gallery) -> None:
    context = browser.new_context(base_url=gallery.url, **CALM)
    page = context.new_page()
    page.goto("/sign-in")
    expect(page.get_by_role("heading", name="Welcome back")).to_be_visible()
    check(page)
    context.close()


def test_setting_up(visit: Callable[..., Page], tmp_path: Path) -> None:
    house: House
    with housed(tmp_path) as house:
        page = visit(house.url, house.set_up, **CALM)
        expect(page.get_by_role("button", name="Create the account")).to_be_visible()
        check(page)
