"""The twelve pictures of docs/screenshots, taken of a platform that gallery.py furnishes.

.venv/bin/python -m tests.web.screenshots
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright

from tests.web.conftest import ARGUMENTS, CHROMIUM
from tests.web.console_town import SIZES
from tests.web.gallery import Gallery, furnished
from tests.web.gallery_texts import BESIDE, COLLECTIONS, PAGE, PARABOLA, SHORT, WEEK, Talk

FOLDER = Path(__file__).parent.parent.parent / "docs/screenshots"
MAX_BYTES = 150_000


def nothing(page: Page) -> None:
    """The view is what its address shows."""


def top(page: Page) -> None:
    page.locator(".scroll").evaluate("element => element.scrollTo(0, 0)")


def run(page: Page) -> None:
    press("Open as artifact")(page)
    expect(page.frame_locator(".artifact iframe").get_by_role("button")).to_be_visible()
    expect(page.locator(".artifact .loading")).to_have_count(0)


def press(name: str) -> Callable[[Page], None]:
    return lambda page: page.get_by_role("button", name=name, exact=True).first.click()


def think(page: Page) -> None:
    page.locator(".answer summary").first.click()
    top(page)


def ask(page: Page) -> None:
    page.get_by_label("Message").fill(SHORT.asked)
    page.get_by_role("button", name="Send", exact=True).click()
    expect(page.locator(".said")).to_have_text(SHORT.answer)


def search(page: Page) -> None:
    page.get_by_role("searchbox").fill("small")
    expect(page.locator("main li").first).to_be_visible()


@dataclass(frozen=True)
class View:
    name: str
    path: str | Talk
    shows: str  # what is there when the view is
    theme: str = "light"
    language: str = "en-US"
    size: str = "wide"
    do: Callable[[Page], None] = nothing

    def take(self, gallery: Gallery, page: Page) -> None:
        path = f"chat/{gallery.talks[self.path.title]}" if isinstance(self.path, Talk) else self.path
        page.goto(f"/{path}")
        expect(page.locator(self.shows).first).to_be_visible()
        expect(page.locator(".loading")).to_have_count(0)
        self.do(page)
        page.mouse.move(0, 0)
        page.wait_for_function("document.fonts.ready.then(() => [...document.images].every(image => image.complete))")
        target = FOLDER / f"{self.name}.png"
        page.screenshot(path=target, animations="disabled", caret="hide")
        if target.stat().st_size > MAX_BYTES:
            raise SystemExit(f"{target.name}: {target.stat().st_size:,} bytes, at most {MAX_BYTES:,}")


VIEWS = (
    View("chat", "", ".suggestions"),
    View("conversation", COLLECTIONS, ".usage", do=think),
    View("conversation-zh", PARABOLA, "img.diagram", "dark", "zh-CN", do=top),
    View("side-by-side", BESIDE, ".usage", "dark", do=press("Side by side")),
    View("artifact", PAGE, ".usage", do=run),
    View("assistants-zh", "assistants", "main li", language="zh-CN"),
    View("search", "search", "main input", "dark", do=search),
    View("console", "console", ".chart"),
    View("usage-zh", "console/usage", ".chart", "dark", "zh-CN"),
    View("playground", "console/playground?model=glm-4.6", "textarea", do=ask),
    View("phone-zh", WEEK, ".usage", "dark", "zh-CN", "phone", do=top),
    View("phone-keys", "console/keys", "tbody tr", size="phone"),
)


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as data, furnished(Path(data)) as gallery, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        for view in VIEWS:
            looks = {"locale": view.language, "color_scheme": view.theme, "viewport": SIZES[view.size]}
            looks["is_mobile"] = looks["has_touch"] = view.size == "phone"
            context = gallery.visit(browser, [], **looks)
            view.take(gallery, context.new_page())
            context.close()
        browser.close()


if __name__ == "__main__":
    main()
