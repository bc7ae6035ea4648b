"""Who is here: the first account, signing up, in and out, and a machine that nobody has signed up on."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.web.house import PASSWORD, PHONE, WIDE, House, aside, housed


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with housed(tmp_path) as house:
        yield house


def fill(page: Page, **fields: str) -> None:
    for label, text in fields.items():
        page.get_by_label(label.replace("_", "-"), exact=True).fill(text)


def press(page: Page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


def add_ann(house: House) -> None:
    aside(house.platform.accounts.add("ann@example.com", PASSWORD, "Ann"))


def fits(page: Page) -> None:
    """Nothing is wider than the window."""
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_printed_address_makes_the_first_account_and_leads_through_the_model_to_the_chat(
    visit: Callable[..., Page], house: House
) -> None:
    page = visit(house.url, house.set_up, **WIDE)
    fill(page, Name="Ann", E_mail="ann@example.com", Password=PASSWORD)
    press(page, "Create the account")
    page.get_by_role("radio", name="GLM Air Test").check()
    press(page, "Continue")
    press(page, "Start chatting")
    expect(page.get_by_role("heading", name="What is on your mind?")).to_be_visible()
    expect(page).to_have_url(f"{house.url}/")
    expect(page.get_by_role("complementary")).to_contain_text("Ann")
    assert [row["is_operator"] for row in house.rows("SELECT is_operator FROM app_user")] == [1]
    page.goto(f"{house.url}/{house.set_up}")
    expect(page.get_by_role("heading", name="This platform is set up already")).to_be_visible()


def test_set_up_fits_a_phone_and_speaks_chinese_in_the_dark(visit: Callable[..., Page], house: House) -> None:
    page = visit(house.url, house.set_up, **PHONE)
    fits(page)
    fill(page, 姓名="安", 邮箱="an@example.com", 密码=PASSWORD)
    press(page, "创建账号")
    expect(page.get_by_role("radio", name="GLM Test")).to_be_checked()
    fits(page)
    press(page, "继续")
    press(page, "开始聊天")
    expect(page.get_by_role("heading", name="想聊点什么？")).to_be_visible()


def test_a_wrong_token_makes_no_account_and_says_what_to_do(visit: Callable[..., Page], house: House) -> None:
    page = visit(house.url, "setup?token=glmu_wrong")
    fill(page, Name="Eve", E_mail="eve@example.com", Password=PASSWORD)
    press(page, "Create the account")
    expect(page.get_by_role("alert")).to_contain_text("glm up")
    expect(page.get_by_label("E-mail")).to_have_value("eve@example.com")
    assert house.rows("SELECT 1 FROM app_user") == []


def test_people_sign_up_sign_out_and_come_back(visit: Callable[..., Page], house: House) -> None:
    add_ann(house)
    page = visit(house.url, **WIDE)
    expect(page.get_by_role("heading", name="Welcome back")).to_be_visible()
    page.get_by_role("link", name="Create an account").click()
    fill(page, Name="Bob", E_mail="bob@example.com", Password=PASSWORD)
    press(page, "Create the account")
    expect(page.get_by_role("complementary")).to_contain_text("Bob")
    press(page, "Account")
    page.get_by_role("menuitem", name="Sign out").click()
    fill(page, E_mail="bob@example.com", Password="not that one")
    press(page, "Sign in")
    expect(page.get_by_role("alert")).to_contain_text("wrong")
    fill(page, Password=PASSWORD)
    press(page, "Sign in")
    expect(page.get_by_role("complementary")).to_contain_text("Bob")


def test_an_address_below_the_page_is_still_there_after_signing_in_and_after_a_reload(
    visit: Callable[..., Page], house: House
) -> None:
    add_ann(house)
    page = visit(house.url, "console/nothing", **WIDE)
    fill(page, E_mail="ann@example.com", Password=PASSWORD)
    press(page, "Sign in")
    expect(page.get_by_role("main")).to_contain_text("There is nothing here")
    page.goto(f"{house.url}/console")
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    page.reload()
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    page.get_by_role("link", name="Back to chat").click()
    expect(page.get_by_role("heading", name="What is on your mind?")).to_be_visible()
    page.go_back()
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()


def test_before_anybody_has_signed_up_this_machine_chats_at_once_and_the_first_account_keeps_it(
    visit: Callable[..., Page], house: House
) -> None:
    page = visit(house.url, **WIDE)
    expect(page.get_by_text("You are using this machine without an account.")).to_be_visible()
    page.get_by_role("textbox", name="Your message").fill("Hello")
    page.get_by_role("textbox", name="Your message").press("Enter")
    expect(page.locator(".answer")).to_contain_text("w0 w1 w2")
    page.reload()
    expect(page.locator(".answer")).to_contain_text("w0 w1 w2")
    page.goto(f"{house.url}/{house.set_up}")  # the first account takes over what was said before it
    fill(page, Name="Ann", E_mail="ann@example.com", Password=PASSWORD)
    press(page, "Create the account")
    press(page, "Continue")
    press(page, "Start chatting")
    page.get_by_role("complementary").get_by_role("link", name="Hello").click()
    expect(page.locator(".answer")).to_contain_text("w0 w1 w2")
