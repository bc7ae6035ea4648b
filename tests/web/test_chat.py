"""The chat on a platform: its server owns conversations and answers, and every page shows the same."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.web.deeds import answer, box, button, fits, from_menu, of_row, rested, rows, send
from tests.web.house import PASSWORD, PHONE, WIDE, House, housed

Enter = Callable[..., Page]
WORDS = [f"word{number} " for number in range(60)]
WHOLE = "".join(WORDS).strip()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with housed(tmp_path_factory.mktemp("house")) as house:
        house.when("Slowly", words=WORDS, pace_s=0.05)
        house.when("For ever", words=["more "] * 2000, pace_s=0.05)
        yield house


@pytest.fixture
def enter(visit: Callable[..., Page], house: House) -> Enter:
    """The page of a new member."""

    def enter(path: str = "", **visitor: Any) -> Page:
        return visit(house.url, path, **{**WIDE, **house.member()[1], **visitor})

    return enter


def test_an_answer_goes_on_when_its_tab_is_closed_and_is_whole_in_the_next(enter: Enter) -> None:
    page = enter()
    send(page, "Slowly")
    expect(answer(page)).to_contain_text("word3")
    there, context = page.url, page.context
    page.close()
    page = context.new_page()
    page.goto(there)
    expect(answer(page)).to_have_text(WHOLE)
    rested(page)


def test_a_reload_in_the_middle_of_an_answer_loses_and_doubles_nothing(enter: Enter) -> None:
    page = enter()
    send(page, "Slowly")
    expect(answer(page)).to_contain_text("word3")
    page.reload()
    expect(answer(page)).to_have_text(WHOLE)
    expect(page.locator(".question")).to_have_count(1)
    expect(page.locator(".usage")).to_contain_text("60 tokens")


def test_a_lost_network_is_told_and_the_view_catches_up(enter: Enter) -> None:
    page = enter()
    send(page, "Slowly")
    expect(answer(page)).to_contain_text("word2")
    page.context.set_offline(True)
    page.context.set_offline(False)
    expect(answer(page)).to_have_text(WHOLE)
    rested(page)
    expect(page.get_by_text("Connection lost.")).to_have_count(0)


def test_stop_ends_the_answer_at_the_models_server_too(enter: Enter, house: House) -> None:
    page = enter()
    send(page, "For ever")
    expect(answer(page)).to_contain_text("more more")
    button(page, "Stop").click()
    expect(page.get_by_text("Stopped.")).to_be_visible()
    assert house.upstream.open == 0
    kept = answer(page).inner_text()
    page.reload()
    expect(answer(page)).to_have_text(kept, use_inner_text=True)
    expect(page.get_by_text("Stopped.")).to_be_visible()


def test_two_tabs_show_the_same_answer_and_the_same_list(enter: Enter) -> None:
    page = enter()
    other = page.context.new_page()
    other.goto(page.url)
    send(page, "Slowly")
    other.get_by_role("link", name="Slowly").click()
    expect(answer(other)).to_contain_text("word3")
    expect(answer(other)).to_have_text(WHOLE)
    expect(answer(page)).to_have_text(WHOLE)
    rested(page)
    of_row(other, "Slowly", "Rename")
    other.get_by_role("textbox", name="Rename").fill("In the other tab")
    other.get_by_role("textbox", name="Rename").press("Enter")
    expect(rows(page)).to_have_text(["In the other tab"])
    send(page, "And on")
    expect(other.locator(".question")).to_have_count(2)
    expect(answer(other)).to_contain_text("w0 w1 w2")


def test_a_question_in_other_words_is_a_branch_and_arrows_lead_between_them(enter: Enter) -> None:
    page = enter()
    send(page, "First")
    rested(page)
    send(page,, "After the first") if False else send(page, "After the first")
    rested(page)
    button(page.locator(".question").first, "Edit").click()
    editor = page.get_by_role("textbox", name="You are editing")
    editor.fill("Second")
    editor.press("Enter")
    expect(page.locator(".bubble")).to_have_text(["Second"])
    rested(page)
    button(page, "Previous version").click()
    expect(page.locator(".bubble")).to_have_text(["First", "After the first"])
    page.reload()
    expect(page.locator(".bubble")).to_have_text(["First", "After the first"])
    expect(page.locator(".question").first).to_contain_text("1 / 2")


def test__another_model_answers_again_and_both_stand_side_by_side(enter: Enter, house: House) -> None:
    page = enter()
    send(page, "Who are you?")
    rested(page)
    from_menu(page, "More for GLM Test", "GLM Air Test")
    expect(page.get_by_text("2 / 2")).to_be_visible()
    expect(page.locator(".usage")).to_contain_text("GLM Air Test")
    assert asked(house, "Who are you?", "model") == ["glm", "glm-air"]
    button(page, "Side by side").click()
    expect(page.locator(".beside > *")).to_have_count(2)
    page.set_viewport_size({"width": 390, "height": 844})
    fits(page)


def test__two_models_answer_at_once_and_one_is_gone_on_with(enter: Enter) -> None:
    page = enter()
    button(page, "Choose a model").click()
    page.get_by_role("menu").get_by_text("GLM Air Test").last.click()
    expect(page.get_by_role("banner")).to_contain_text("2 models side by side")
    send(page, "Compare")
    expect(page.locator(".beside > *")).to_have_count(2)
    rested(page)
    button(page, "Go on with this one").last.click()
    send(page, "And then?")
    expect(answer(page)).to_contain_text("w0 w1 w2")


def test__conversations_are_pinned_archived_deleted_and_brought_back(enter: Enter) -> None:
    page = enter()
    for text in ("Older", "Newer"):
        button(page,, "New conversation").click() if False else button(page, "New conversation").click()
        send(page,, text) if False else send(page, text)
        expect(answ(page)).to_contain_text("w2") if False else expect(answ(page)).to_contain_text("w2")
        rested(page)
