"""A model of the catalogue is fetched from a hub of this machine: its progress outlives the page, and it can be
cancelled, fail, and go on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

from openglm.hub import Patience
from openglm.maas.operate.fetching import Fetching
from tests.hub.conftest import Hub, hub
from tests.web.console_town import SIZES, Town, button, housed, open_page

__all__ = ["hub"]


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with housed(tmp_path_factory.mktemp("town")) as made:
        yield made


@pytest.fixture
def cache(tmp_path: Path, town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty cache of models, and little patience with the hub."""
    monkeypatch.setenv("OPENGLM_CACHE", str(tmp_path))
    town.platform.fetching = Fetching(patience=Patience(tries=2, wait_s=0))


@pytest.fixture
def context(browser: Browser, town: Town, cache: None) -> Iterator[BrowserContext]:
    complaints: list[str] = []
    context = town.visit(browser, complaints)
    yield context
    context.close()
    assert complaints == []


def card(page: Page) -> Locator:
    return page.locator(".card", has_text="glm-edge-1.5b")


def test_a_download_is_seen_after_a_reload_cancelled_and_gone_on_with(context: BrowserContext, hub: Hub) -> None:
    hub.hold_after = 1_000_000
    page = open_page(context, "models")
    card(page).get_by_role("button", name="Download").click()
    expect(card(page)).to_contain_text(re.compile(r"9\d\d KB of 6 MB"))
    expect(card(page).get_by_role("progressbar")).to_have_attribute("max", re.compile(r"\d+"))
    page.reload()
    expect(card(page)).to_contain_text(re.compile(r"9\d\d KB of 6 MB"))
    card(page).get_by_role("button", name="Cancel").click()
    expect(card(page)).to_contain_text("Cancelled")
    hub.hold_after = None
    hub.release.set()
    card(page).get_by_role("button", name="Go on with it").click()
    expect(card(page)).to_contain_text("downloaded")
    expect(card(page).get_by_role("button", name="Download")).to_have_count(0)


def test_a_download_that_fails_says_why_and_is_tried_again(context: BrowserContext, hub: Hub) -> None:
    hub.drop_after = [1_500_000, 0, 0, 0, 0]
    page = open_page(context, "models")
    card(page).get_by_role("button", name="Download").click()
    failed = card(page).get_by_role("alert")
    expect(failed).to_contain_text("The download failed")
    expect(failed).to_contain_text("could not be fetched")
    hub.drop_after = []
    button(page, "Go on with it").click()
    expect(card(page)).to_contain_text("downloaded")


def test_the_catalogue_speaks_chinese_on_a_phone(browser: Browser, town: Town, cache: None, hub: Hub) -> None:
    hub.hold_after = 1_000_000
    complaints: list[str] = []
    phone = town.visit(browser, complaints, locale="zh-CN", color_scheme="dark", viewport=SIZES["phone"])
    page = open_page(phone, "models")
    expect(card(page)).to_contain_text("最小的 GLM，笔记本电脑即可运行")
    card(page).get_by_role("button", name="下载").click()
    expect(card(page).get_by_role("button", name="取消")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    hub.release.set()
    expect(card(page)).to_contain_text("已下载")
    phone.close()
    assert complaints == []
