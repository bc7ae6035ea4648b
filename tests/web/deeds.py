"""What a reader of the chat does, in words that the browser tests share."""

from playwright.sync_api import Locator, Page, expect


def box(page: Page) -> Locator:
    return page.locator("#message")


def send(page: Page, text: str) -> None:
    box(page).fill(text)
    box(page).press("Enter")


def answer(page: Page) -> Locator:
    """The text of the last answer."""
    return page.locator(".answer").last.locator("> .markdown")


def button(page: Page | Locator, name: str) -> Locator:
    return page.get_by_role("button", name=name, exact=True)


def from_menu(page: Page, menu: str, deed: str) -> None:
    button(page, menu).click()
    page.get_by_role("menuitem", name=deed, exact=True).or_(
        page.get_by_role("menuitemradio", name=deed, exact=True)
    ).click()


def of_row(page: Page, title: str, deed: str) -> None:
    """A deed of a conversation's menu in the list."""
    page.get_by_role("link", name=title).hover()
    from_menu(page, f"More for {title}", deed)


def rows(page: Page) -> Locator:
    return page.get_by_role("navigation", name="Conversations").get_by_role("listitem")


def new_project(page: Page, name: str, instructions: str) -> None:
    """From the page of all projects to the one that is made."""
    button(page, "New project").click()
    page.get_by_label("Name").fill(name)
    button(page, "Create").click()
    page.get_by_label("Instructions").fill(instructions)
    button(page, "Save").click()
    expect(page.get_by_text("Saved")).to_be_visible()


def rested(page: Page) -> None:
    """Everything was sent, and no answer is being written."""
    expect(page.get_by_role("log")).to_have_attribute("aria-busy", "false")


def fits(page: Page) -> None:
    """Nothing is wider than the window."""
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.locator(".scroll").evaluate_all("all => all.every(e => e.scrollWidth <= e.clientWidth)")
