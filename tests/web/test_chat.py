"""The chat on a platform: its server owns conversations and answers, and every page shows the same."""

import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, Request, expect

from tests.web.deeds import answer, box, button, fits, from_menu, of_row, rested, rows, send
from tests.web.house import PASSWORD, PHONE, WIDE, House, housed
from tests.web.relay import relayed

Enter = Callable[..., Page]
WORDS = [f"word{number} " for number in range(60)]
WHOLE = "".join(WORDS).strip()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with housed(tmp_path_factory.mktemp("house")) as house:
        house.when("Slowly", words=WORDS, pace_s=0.05)
        house.when("Cut off", words=WORDS, pace_s=0.15)
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


def test_a_network_that_is_cut_and_comes_back_goes_on_exactly_behind_the_last_event(
    visit: Callable[..., Page], house: House
) -> None:
    with relayed(house.url) as relay:
        page = visit(relay.url, **WIDE, **house.member()[1])
        streams: list[str | None] = []
        read: list[str] = []
        conversation = "/api/chat/conversations/"

        def note(asked: Request) -> None:
            path = urlsplit(asked.url).path
            if path.startswith(conversation) and path.endswith("/events"):
                streams.append(asked.headers.get("last-event-id"))
            elif path.startswith(conversation) and asked.method == "GET":
                read.append(path)

        page.on("request", note)
        send(page, "Cut off")
        expect(answer(page)).to_contain_text("word3")
        relay.cut()
        expect(page.get_by_text("Connection lost.")).to_be_visible()
        before, known = len(streams), len(read)
        kept = answer(page).inner_text()
        assert "word59" not in kept
        relay.mend()
        expect(answer(page)).to_contain_text(f"word{kept.count('word') + 1}")
        assert read[known:] == []  # the stream alone told what had been missed
        assert len(streams) > before
        assert all(streams[before:])
        expect(answer(page)).to_have_text(WHOLE)
        rested(page)
        expect(page.locator(".question")).to_have_count(1)
        expect(page.locator(".answer")).to_have_count(1)
        expect(page.get_by_text("Connection lost.")).to_have_count(0)
        page.reload()
        expect(answer(page)).to_have_text(WHOLE)


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
    send(page, "After the first")
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


def test_another_model_answers_again_and_both_stand_side_by_side(enter: Enter, house: House) -> None:
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


def test_a_conversation_goes_on_with_its_own_model(enter: Enter, house: House) -> None:
    def choose(name: str) -> None:
        button(page, "Choose a model").click()
        page.get_by_role("menuitemradio", name=re.compile(f"^{name}")).first.click()

    page = enter()
    choose("GLM Air Test")
    send(page, "Asked of Air")
    rested(page)
    choose("GLM Test")
    button(page, "New conversation").click()
    send(page, "Asked of the other")
    rested(page)
    page.get_by_role("link", name="Asked of Air").click()
    expect(button(page, "Choose a model")).to_contain_text("GLM Air Test")
    send(page, "And Air again")
    rested(page)
    assert asked(house, "And Air again", "model") == ["glm-air"]
    button(page, "New conversation").click()
    expect(button(page, "Choose a model")).to_contain_text("GLM Test")


def test_two_models_answer_at_once_and_one_is_gone_on_with(enter: Enter, house: House) -> None:
    house.when("Compare", prompt=100, cached=40, tokens=12, pace_s=0.02)
    page = enter()
    button(page, "Choose a model").click()
    page.get_by_role("menu").get_by_text("GLM Air Test").last.click()
    expect(page.get_by_role("banner")).to_contain_text("2 models side by side")
    send(page, "Compare")
    expect(page.locator(".beside > *")).to_have_count(2)
    rested(page)
    for column in page.locator(".beside > *").all():  # each its own, and not the chosen one alone
        for told in ("100 tokens read", "40 of them from the cache", "12 tokens", "tokens/s", "first after", "¥0.00"):
            expect(column.locator(".figures")).to_contain_text(told)
    page.set_viewport_size({"width": 390, "height": 844})
    fits(page)
    page.set_viewport_size(WIDE["viewport"])
    button(page, "Go on with this one").last.click()
    send(page, "And then?")
    expect(answer(page)).to_contain_text("w0 w1 w2")


def test_conversations_are_pinned_archived_deleted_and_brought_back(enter: Enter) -> None:
    page = enter()
    for text in ("Older", "Newer"):
        button(page, "New conversation").click()
        send(page, text)
        expect(answer(page)).to_contain_text("w2")
        rested(page)
    expect(rows(page)).to_have_text(["Newer", "Older"])
    of_row(page, "Older", "Pin")
    expect(rows(page)).to_have_text(["Older", "Newer"])
    expect(page.get_by_role("heading", name="Pinned")).to_be_visible()
    of_row(page, "Newer", "Archive")
    expect(rows(page)).to_have_text(["Older"])
    button(page, "Undo").click()
    expect(rows(page)).to_have_text(["Older", "Newer"])
    of_row(page, "Older", "Delete")
    button(page.get_by_role("dialog"), "Delete").click()
    expect(rows(page)).to_have_text(["Newer"])
    page.reload()
    expect(rows(page)).to_have_text(["Newer"])


def test_a_temporary_chat_is_never_listed_and_is_gone_when_it_is_left(enter: Enter, house: House) -> None:
    page = enter()
    button(page, "Temporary chat").click()
    expect(page.get_by_text("This chat is temporary")).to_be_visible()
    send(page, "A secret")
    expect(answer(page)).to_contain_text("w2")
    rested(page)
    expect(rows(page)).to_have_count(0)
    with page.expect_response(lambda response: response.request.method == "DELETE"):
        button(page, "New conversation").click()
    assert house.rows("SELECT 1 FROM chat_conversation WHERE temporary = 1") == []


def test_what_is_typed_survives_a_reload_and_a_session_that_ends(
    visit: Callable[..., Page], house: House
) -> None:
    email, state = house.member()
    page = visit(house.url, **WIDE, **state)
    box(page).fill("Not lost")
    page.reload()
    expect(box(page)).to_have_value("Not lost")
    page.context.clear_cookies()
    box(page).press("Enter")
    dialog = page.get_by_role("dialog", name="You have been signed out")
    expect(dialog.get_by_label("E-mail")).to_have_value(email)
    dialog.get_by_label("Password", exact=True).fill(PASSWORD)
    button(dialog, "Sign in").click()
    expect(page.locator(".bubble")).to_have_text("Not lost")
    expect(answer(page)).to_contain_text("w2")
    expect(box(page)).to_have_value("")


def test_thinking_is_shown_while_it_goes_on_and_folds_with_its_time(enter: Enter, house: House) -> None:
    house.when("Think", words=["Hmm. ", "Let me see. ", "It is ", "42."], reasoning=2, pace_s=0.4)
    page = enter()
    button(page, "Thinking").click()
    page.get_by_role("menuitemradio", name="High").click()
    send(page, "Think")
    expect(page.get_by_text("Hmm.")).to_be_visible()
    expect(answer(page)).to_have_text("It is 42.")
    expect(page.get_by_text("Hmm.")).to_have_count(0)
    page.get_by_text(re.compile(r"Thought for \d")).click()
    expect(page.get_by_text("Hmm. Let me see.")).to_be_visible()
    assert [told["reasoning_effort"] for told in asked(house, "Think", "chat_template_kwargs")] == ["high"]


def test_every_answer_tells_its_tokens_times_and_cost(enter: Enter, house: House) -> None:
    house.when("Count", prompt=100, cached=40, tokens=12, pace_s=0.02)
    page = enter()
    send(page, "Count")
    expect(page.locator(".usage")).to_contain_text("12 tokens")
    page.locator(".usage").click()
    figures = page.locator(".figures")
    for told in ("100 tokens read", "40 of them from the cache", "tokens/s", "first after", "s in all"):
        expect(figures).to_contain_text(told)


def test_a_refusal_is_explained_and_can_be_tried_again(enter: Enter, house: House) -> None:
    house.when("Fail", status=400, message="no such thing")
    page = enter()
    send(page, "Fail")
    expect(page.locator(".answer").get_by_role("alert")).to_be_visible()
    house.when("Fail", words=["Better."])
    button(page, "Try again").click()
    expect(answer(page)).to_have_text("Better.")


def test_the_chat_fits_a_phone_in_chinese_and_in_the_dark(enter: Enter, house: House) -> None:
    text = ["## 标题\n\n", "**注意：**请看 `code`。\n\n", "|a|b|\n|-|-|\n|1|2|\n"]
    house.when("你好", words=text)
    page = enter(**PHONE)
    send(page, "你好")
    expect(answer(page).get_by_role("heading", name="标题")).to_be_visible()
    expect(answer(page).locator("strong")).to_have_text("注意：")
    fits(page)
    button(page, "打开侧边栏").click()
    expect(page.get_by_role("complementary").get_by_role("link", name="你好")).to_be_visible()
    button(page, "新对话").last.click()
    expect(page.get_by_role("heading", name="想聊点什么？")).to_be_visible()
    fits(page)


def test_diagrams_and_formulas_are_drawn_and_a_mistake_in_one_is_told(enter: Enter, house: House) -> None:
    house.when(
        "Draw",
        words=[
            "```mermaid\ngraph LR\n  A[Ask] --> B[Answer]\n```\n\n",
            "```mermaid\ngraph LR\n  A[\n```\n\n",
            "The mass is $m$, and $$E = mc^2$$\n\nIt costs $5 or $6.\n",
        ],
    )
    page = enter()
    send(page, "Draw")
    shown = answer(page)
    expect(shown.locator("img.diagram")).to_have_count(1)
    assert shown.locator("img.diagram").evaluate("image => image.naturalWidth") > 50
    expect(shown.get_by_text("The diagram has a mistake")).to_have_count(1)
    expect(shown.locator(".katex")).to_have_count(2)
    expect(shown).to_contain_text("It costs $5 or $6.")


def test_the_archive_lists_what_was_put_there_and_gives_it_back(enter: Enter) -> None:
    page = enter()
    send(page, "Put away")
    rested(page)
    of_row(page, "Put away", "Archive")
    expect(rows(page)).to_have_count(0)
    from_menu(page, "More", "Archive")
    expect(page.get_by_role("heading", name="Archive")).to_be_visible()
    page.get_by_role("main").get_by_role("link", name="Put away").click()
    expect(answer(page)).to_contain_text("w2")
    page.go_back()
    button(page, "Take out of the archive").click()
    expect(page.get_by_text("The archive is empty")).to_be_visible()
    expect(rows(page)).to_have_text(["Put away"])


def asked(house: House, text: str, name: str) -> list[Any]:
    """What stood under this name in the requests that the model's server got for this text."""
    bodies = [body for body in house.upstream.bodies if body["messages"][-1]["content"] == text]
    return [body[name] for body in bodies]
