"""axe over the main views, in light and dark, on a wide screen and on a phone, and over all that opens, in English
and Chinese: nothing serious, nothing critical."""

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
from tests.web.gallery_texts import BESIDE, COLLECTIONS, PARABOLA
from tests.web.house import House, housed

THEMES = ("light", "dark")
CALM = {"locale": "en-US", "reduced_motion": "reduce"}  # no colour is measured on its way to another
CONSOLE = ("", "keys", "usage", "requests", "members", "playground", "wallet", "models", "health")
OPTIONS = {"resultTypes": ["violations"]}
Say = Callable[[str], str]
CHINESE = {
    "Choose a model": "选择模型",
    "More for GLM-4.6": "GLM-4.6 的更多操作",
    "Thinking": "思考",
    "Knowledge": "知识库",
    "Account": "账号",
    "Settings": "设置",
    "Open the side bar": "打开侧边栏",
    "This conversation": "此对话",
    "Share": "分享",
    "Side by side": "并排显示",
}


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
            found += [f"{size}, {theme}: {told}" for told in wrong(page, theme)]
    assert found == []


def wrong(page: Page, theme: str) -> list[str]:
    expect(page.locator(f'html[data-theme="{theme}"]')).to_have_count(1)
    violations = Axe().run(page, options=OPTIONS).response["violations"]
    return [told for each in violations for told in tell(each)]


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


# What opens, by name: where, and how. Menus close when the window changes, so each look opens them anew.
def model_menu(page: Page, say: Say) -> None:
    button(page, say("Choose a model")).click()
    expect(page.get_by_role("menu")).to_be_visible()


def message_menu(page: Page, say: Say) -> None:
    page.locator(".answer-footer").last.get_by_role("button", name=say("More for GLM-4.6")).click()
    expect(page.get_by_role("menu")).to_be_visible()


def thinking_menu(page: Page, say: Say) -> None:
    button(page, say("Thinking")).click()
    expect(page.get_by_role("menu")).to_be_visible()


def settings_dialog(page: Page, say: Say) -> None:
    if not button(page, say("Account")).is_visible():
        button(page, say("Open the side bar")).click()
    button(page, say("Account")).click()
    page.get_by_role("menuitem", name=say("Settings")).click()
    expect(page.get_by_role("dialog")).to_be_visible()


def share_dialog(page: Page, say: Say) -> None:
    button(page, say("This conversation")).click()
    page.get_by_role("menuitem", name=say("Share")).click()
    expect(page.get_by_role("dialog")).to_be_visible()


def knowledge_dialog(page: Page, say: Say) -> None:
    button(page, say("Knowledge")).click()
    expect(page.get_by_role("dialog")).to_be_visible()


def slash_list(page: Page, say: Say) -> None:
    page.locator("#message").press_sequentially("/")
    expect(page.get_by_role("option").first).to_be_visible()


def side_by_side(page: Page, say: Say) -> None:
    page.locator(".answer-footer").last.get_by_role("button", name=say("Side by side")).click()
    expect(page.locator(".beside .figures")).to_have_count(2)


def nothing(page: Page, say: Say) -> None:
    expect(page.locator(".answer .usage")).to_be_visible()


OPENS = (
    model_menu,
    message_menu,
    thinking_menu,
    knowledge_dialog,
    settings_dialog,
    share_dialog,
    slash_list,
    side_by_side,
    nothing,
)
LOOKS = {"zh, light, phone": ("zh-CN", "light", "phone"), "en, dark, wide": ("en-US", "dark", "wide")}


@pytest.fixture(scope="module", params=LOOKS)
def looked(request: pytest.FixtureRequest, browser: Browser, gallery: Gallery) -> Iterator[tuple[Page, str]]:
    """Ann's page in one look, and the look's theme."""
    locale, theme, size = LOOKS[request.param]
    complaints: list[str] = []
    visitor = {**CALM, "locale": locale, "color_scheme": theme, "viewport": SIZES[size]}
    context = gallery.visit(browser, complaints, **visitor)
    yield context.new_page(), theme
    context.close()
    assert complaints == []


def words_of(page: Page) -> Say:
    """English words as this page says them."""
    return (lambda text: CHINESE[text]) if page.locator('html[lang^="zh"]').count() else (lambda text: text)


@pytest.mark.parametrize("opens", OPENS, ids=lambda opens: opens.__name__)
def test_what_opens_in_both_languages(looked: tuple[Page, str], gallery: Gallery, opens: Any) -> None:
    page, theme = looked
    page.goto(f"/chat/{gallery.talks[BESIDE.title]}")
    expect(page.locator(".answer .markdown").last).to_be_visible()
    opens(page, words_of(page))
    found = wrong(page, theme)
    page.locator("#message").fill("", force=True)  # no draft for the next
    assert found == []


@pytest.mark.parametrize("path", ["", "usage", "keys"])
def test_pages_of_the_console_in_both_languages(looked: tuple[Page, str], path: str) -> None:
    page, theme = looked
    page.goto(f"/console/{path}".rstrip("/"))
    settled(page)
    assert wrong(page, theme) == []
