"""Models that draw: chosen in the menu, their pictures in the answer, large, saved, exported, and not shared."""

import re
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page, expect

from openglm.maas.upstreams import Channel
from tests.maas.conftest import wait_until
from tests.maas.fake_upstream import picture
from tests.web.deeds import answer, button, from_menu, rested, send
from tests.web.house import PHONE, WIDE, House, aside, housed

__all__ = ["wait_until"]
EACH = 60_000_000  # nano


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with housed(tmp_path_factory.mktemp("house")) as house:
        house.platform.router.add(Channel("draws", house.upstream.url, {"cogview": "wire", "easel": "wire"}))
        for model in ("cogview", "easel"):
            aside(house.platform.prices.set(model, per_image_nano=EACH))
        yield house


@pytest.fixture
def painter(visit: Callable[..., Page], house: House) -> Callable[..., Page]:
    """A member with money, before the page."""

    def enter(money: int = 10**10, **visitor: object) -> Page:
        email, state = house.member()

        async def give() -> None:
            (found,) = await house.platform.database.read(
                "SELECT m.org_id FROM member m JOIN app_user u ON u.id = m.user_id WHERE u.email = :email",
                email=email,
            )
            await house.platform.wallet.adjust(
                found["org_id"], money, idempotency_key=email, reason="test"
            )

        if money:
            aside(give())
        return visit(house.url, **visitor, **state)

    return enter


def choose(page: Page, name: str) -> None:
    button(page, "Choose a model").click()
    page.get_by_role("menuitemradio", name=re.compile(f"^{name}")).first.click()


def test_a_picture_is_drawn_shown_large_and_saved(
    painter: Callable[..., Page], house: House
) -> None:
    page = painter(**WIDE)
    button(page, "Choose a model").click()
    expect(page.get_by_role("menuitemradio", name="cogview Draws pictures").first).to_be_visible()
    page.get_by_role("menuitemradio", name=re.compile("^cogview")).first.click()
    from_menu(page, "How many pictures", "2 pictures")
    send(page, "A lighthouse")
    drawn = page.locator(".answer").last.get_by_role("img")
    expect(drawn).to_have_count(2)
    expect(drawn.first).to_have_attribute("alt", "better 0")
    page.wait_for_function("() => [...document.querySelectorAll('.drawn img')].every(e => e.naturalWidth > 0)")
    rested(page)
    expect(page.locator(".answer-footer .usage")).to_contain_text("2 pictures")
    button(page, "Large view: better 0").click()
    view = page.get_by_role("dialog", name="Picture")
    expect(view.get_by_role("img")).to_have_attribute("alt", "better 0")
    button(view, "Next picture").click()
    expect(view.get_by_role("img")).to_have_attribute("alt", "better 1")
    with page.expect_download() as saved:
        button(view, "Save the picture").click()
    assert saved.value.path().read_bytes() == picture(1)
    page.keyboard.press("Escape")
    expect(view).to_have_count(0)
    page.reload()
    expect(page.locator(".answer").last.get_by_role("img")).to_have_count(2)


def test_a_share_says_that_pictures_stay_at_home(
    painter: Callable[..., Page], visit: Callable[..., Page], house: House
) -> None:
    page = painter(**WIDE)
    choose(page, "cogview")
    send(page, "A cat")
    expect(page.locator(".answer").last.get_by_role("img")).to_have_count(1)
    rested(page)
    from_menu(page, "This conversation", "Share")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Pictures stay with you")
    button(dialog, "Make a link").click()
    link = dialog.get_by_role("textbox", name="Link").input_value()
    shared = visit(house.url, link.removeprefix(house.url + "/"), **WIDE)
    expect(shared.get_by_text("A picture was here. Pictures are not shared.")).to_be_visible()
    expect(shared.locator(".answer img")).to_have_count(0)


def test_another_model_draws_it_again_and_two_are_compared(
    painter: Callable[..., Page], house: House
) -> None:
    house.when("A boat", words=["A boat in words."])
    page = painter(**WIDE)
    choose(page, "GLM Test")
    send(page, "A boat")
    expect(answer(page)).to_have_text("A boat in words.")
    rested(page)
    from_menu(page, "More for GLM Test", "easel")
    expect(page.locator(".answer").last.get_by_role("img")).to_have_count(1)
    rested(page)
    button(page, "Side by side").click()
    expect(page.locator(".beside .column")).to_have_count(2)
    expect(page.locator(".beside").get_by_role("img")).to_have_count(1)


def test_without_money_the_answer_says_why_there_is_no_picture(painter: Callable[..., Page]) -> None:
    page = painter(0, **WIDE)
    choose(page, "cogview")
    send(page, "A cat")
    expect(page.locator(".answer").last.get_by_role("alert")).to_contain_text("The answer failed")
    button(page, "Try again")


def test_a_drawing_is_stopped_on_a_phone_in_chinese(
    painter: Callable[..., Page], house: House, wait_until: Callable
) -> None:
    page = painter(**PHONE)
    button(page, "选择模型").click()
    page.get_by_role("menuitemradio", name=re.compile("^cogview")).first.click()
    asked = len(house.upstream.bodies)
    send(page, '{"pace_s": 3}')
    expect(page.get_by_text("正在画…")).to_be_visible()
    wait_until(lambda: len(house.upstream.bodies) > asked)
    button(page, "停止").click()
    expect(page.get_by_text("已停止。")).to_be_visible()
    expect(page.locator(".answer").last.get_by_role("img")).to_have_count(1)  # it was paid for
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
