"""Beside the chat: search, projects, assistants, prompts, memory, files, tools, links and exports."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from openglm.maas.models import Model
from openglm.maas.quotas.quotas import Limit
from openglm.maas.search import Document
from openglm.maas.upstreams import Channel
from tests.maas.fake_upstream import picture
from tests.web.deeds import answer, box, button, fits, from_menu, new_project, of_row, rested, rows, send
from tests.web.house import PHONE, WIDE, House, aside, housed

Enter = Callable[..., Page]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with housed(tmp_path_factory.mktemp("house")) as house:
        yield house


@pytest.fixture
def enter(visit: Callable[..., Page], house: House) -> Enter:
    """The page of a new member."""

    def enter(path: str = "", **visitor: Any) -> Page:
        return visit(house.url, path, **{**WIDE, **house.member()[1], **visitor})

    return enter


def told_the_model(house: House, text: str) -> str:
    """All that the model's server read when it was asked this last."""
    bodies = [body for body in house.upstream.bodies if body["messages"][-1]["content"] == text]
    return json.dumps(bodies[-1]["messages"], ensure_ascii=False)


def test_a_word_finds_its_message_and_the_page_opens_there(enter: Enter, house: House) -> None:
    house.when("Tell me of otters", words=["## About otters\n\n- Otters ", "**hold hands**. ", "They sleep `afloat`."])
    page = enter()
    send(page, "Tell me of otters")
    rested(page)
    page.get_by_role("link", name="Search").click()
    page.get_by_label("Search all conversations").fill("afloat")
    found = page.locator(".result")
    expect(found.locator("mark")).to_have_text("afloat")
    expect(found.locator("p")).to_have_text("About otters Otters hold hands. They sleep afloat.")
    found.click()
    expect(answer(page)).to_contain_text("They sleep afloat.")
    page.goto(f"{house.url}/search")
    page.get_by_label("Search all conversations").fill("walrus")
    expect(page.get_by_text("Nothing was found")).to_be_visible()


def test_a_project_gives_its_conversations_instructions_and_keeps_them_together(
    enter: Enter, house: House
) -> None:
    page = enter("projects")
    new_project(page, "Garden", "Answer as a gardener.")
    button(page.get_by_role("main"), "New conversation").click()
    expect(page.get_by_role("heading", name="Garden")).to_be_visible()
    send(page, "When do I plant?")
    rested(page)
    assert "Answer as a gardener." in told_the_model(house, "When do I plant?")
    page.get_by_role("link", name="Projects").click()
    page.get_by_role("link", name="Garden").click()
    expect(page.get_by_role("main").get_by_role("link", name="When do I plant?")).to_be_visible()
    button(page.get_by_role("main"), "Delete").click()
    button(page.get_by_role("dialog"), "Delete").click()
    expect(rows(page)).to_have_text(["When do I plant?"])


def test_an_assistant_is_made_talked_to_changed_and_taken_away(enter: Enter, house: House) -> None:
    page = enter("assistants")
    button(page, "New assistant").click()
    page.get_by_label("Name").fill("Chef")
    page.get_by_label("Instructions").fill("You cook.")
    page.get_by_label("Example prompts").fill("What is for dinner?\nAnd for lunch?")
    button(page, "Save").click()
    page.locator(".card").click()
    expect(page.get_by_role("heading", name="Chef")).to_be_visible()
    button(page, "What is for dinner?").click()
    expect(answer(page)).to_contain_text("w2")
    rested(page)
    assert "You cook." in told_the_model(house, "What is for dinner?")
    page.goto(f"{house.url}/assistants")
    with page.expect_download() as download:
        from_menu(page, "More for Chef", "Export")
    kept = json.loads(Path(download.value.path()).read_text())
    assert kept["assistant"]["instructions"] == "You cook."
    from_menu(page, "More for Chef", "Edit")
    page.get_by_label("Name").fill("Cook")
    button(page, "Save").click()
    expect(page.locator(".card")).to_contain_text("Cook")
    with page.expect_file_chooser() as chooser:
        button(page, "Import").click()
    chooser.value.set_files(download.value.path())
    expect(page.locator(".card")).to_have_count(2)
    from_menu(page, "More for Cook", "Delete")
    button(page.get_by_role("dialog"), "Delete").click()
    expect(page.locator(".card")).to_have_count(1)


def test_a_slash_offers_prompts_and_asks_for_their_words(enter: Enter) -> None:
    page = enter("prompts")
    button(page, "New prompt").click()
    page.get_by_label("Command").fill("translate")
    page.get_by_label("Title").fill("Translate a text")
    page.get_by_label("Text", exact=True).fill("Translate {{text}} into {{language}}.")
    button(page, "Save").click()
    expect(page.get_by_text("/translate")).to_be_visible()
    button(page, "New conversation").click()
    box(page).press_sequentially("/tra")
    expect(page.get_by_role("option", name="Translate a text")).to_be_visible()
    box(page).press("Enter")
    page.get_by_label("text", exact=True).last.fill("tea")
    page.get_by_label("language").fill("Welsh")
    button(page, "Fill in").click()
    expect(box(page)).to_have_value("Translate tea into Welsh.")


def test_memory_is_read_changed_and_switched_off(enter: Enter, house: House) -> None:
    page = enter("memory")
    page.get_by_label("Add a fact").fill("I live in Oslo.")
    button(page, "Save").click()
    expect(page.get_by_text("I live in Oslo.")).to_be_visible()
    button(page, "New conversation").click()
    send(page, "Where am I?")
    rested(page)
    assert "I live in Oslo." in told_the_model(house, "Where am I?")
    from_menu(page, "More", "Memory")
    page.get_by_role("switch", name="Use memory").uncheck(force=True)
    button(page, "New conversation").click()
    send(page, "Where am I now?")
    rested(page)
    assert "Oslo" not in told_the_model(house, "Where am I now?")
    from_menu(page, "More", "Memory")
    expect(page.get_by_role("switch", name="Use memory")).not_to_be_checked()
    expect(page.get_by_role("switch", name="Let models add to it")).to_be_disabled()
    button(page, "Delete: I live in Oslo.").click()
    expect(page.get_by_text("Nothing is remembered yet")).to_be_visible()


def test_a_full_house_says_so_in_the_readers_words_and_keeps_what_was_typed(enter: Enter, house: House) -> None:
    page = enter(**PHONE)
    aside(house.platform.quotas.set(Limit("*", "conversations", 0)))
    try:
        send(page, "不会丢")
        expect(page.get_by_text("对话数量已达上限。")).to_be_visible()
        expect(box(page)).to_have_value("不会丢")
    finally:
        aside(house.platform.quotas.remove("*", "conversations"))
    box(page).press("Enter")
    expect(answer(page)).to_contain_text("w2")


def test_a_file_goes_with_a_question_and_is_read(enter: Enter, house: House) -> None:
    page = enter()
    with page.expect_file_chooser() as chooser:
        button(page, "Attach files").click()
    note = b"The code word is heliotrope."
    chooser.value.set_files({"name": "note.txt", "mimeType": "text/plain", "buffer": note})
    expect(page.locator(".attachment-bar")).to_contain_text("28")
    send(page, "What is the code word?")
    expect(page.locator(".question")).to_contain_text("note.txt")
    rested(page)
    read = json.dumps([body["messages"] for body in house.upstream.bodies])
    assert "heliotrope" in read
    page.reload()
    expect(page.locator(".question")).to_contain_text("note.txt")


def test_of_an_image_it_is_said_that_the_model_reads_text_alone(
    visit: Callable[..., Page], tmp_path: Path
) -> None:
    with housed(tmp_path) as house:
        aside(house.platform.models.put(Model("glm-4.6", title="GLM 4.6")))  # the catalogue knows it
        house.platform.router.add(Channel("text", house.upstream.url, {"glm-4.6": "wire"}))
        page = visit(house.url, **WIDE, **house.member()[1])
        with page.expect_file_chooser() as chooser:
            button(page, "Attach files").click()
        chooser.value.set_files({"name": "dot.png", "mimeType": "image/png", "buffer": picture(7)})
        bar = page.locator(".attachment-bar")
        for name, told in (("GLM 4.6", "GLM 4.6 does not see images"), ("GLM Test", "B")):
            button(page, "Choose a model").click()
            page.get_by_role("menuitemradio", name=re.compile(f"^{name}")).first.click()
            expect(bar.locator("small")).to_contain_text(told)
        expect(bar).not_to_contain_text("does not see images")


HEARS = """window.SpeechRecognition = window.webkitSpeechRecognition = class {
  start() { this.onresult({ results: [[{ transcript: "said aloud" }]] }) }
  stop() { this.onend() }
}"""  # Chromium's own asks a server of its maker


def test_what_is_said_aloud_goes_behind_what_is_written(enter: Enter) -> None:
    page = enter()
    page.add_init_script(HEARS)
    page.reload()
    box(page).fill("Written and")
    button(page, "Speak").click()
    expect(box(page)).to_have_value("Written and said aloud")
    button(page, "Listening… press to end").click()
    expect(button(page, "Speak")).to_be_visible()


def test_tools_are_shown_as_cards_and_sources_open_at_what_was_used(enter: Enter, house: House) -> None:
    call = {"id": "c", "name": "remember", "arguments": json.dumps({"fact": "Likes tea."})}
    house.when(
        "I like tea",
        turns=[{"words": ["Noted. "], "calls": [call], "finish": "tool_calls"}, {"words": ["Done."]}],
    )
    page = enter("memory")
    grows = page.get_by_role("switch", name="Let models add to it")
    expect(grows).not_to_be_checked()
    with page.expect_response("**/memory*"):
        grows.check(force=True)
    page.reload()
    expect(grows).to_be_checked()
    button(page, "New conversation").click()
    send(page, "I like tea")
    card = page.locator(".tool-call")
    expect(card).to_contain_text("Remember")
    expect(card).to_contain_text("Done")
    card.locator("summary").click()
    expect(card).to_contain_text("Likes tea.")
    rested(page)
    expect(page.locator(".answer")).to_contain_text("Noted.")
    from_menu(page, "More", "Memory")
    expect(page.get_by_text("Likes tea.")).to_be_visible()


def test_a_web_search_is_switched_on_and_its_sources_open_at_what_was_used(
    enter: Enter, house: House
) -> None:
    found = Document("https://example.org/tea", "About tea", "Tea is a drink made of leaves.")
    aside(house.platform.search.add([found]))
    aside(house.platform.prices.set_if_none("search_std"))
    call = {"id": "c", "name": "web_search", "arguments": json.dumps({"query": "tea"})}
    house.when(
        "What is tea?",
        turns=[{"words": [""], "calls": [call], "finish": "tool_calls"}, {"words": ["Leaves [1]."]}],
    )
    page = enter()
    button(page, "Search the web").click()
    send(page, "What is tea?")
    expect(page.locator(".tool-call")).to_contain_text("Web search")
    expect(page.locator(".answer")).to_contain_text("Leaves [1].")
    rested(page)
    button(page, "[1]").click()
    expect(page.get_by_role("dialog")).to_contain_text("Tea is a drink")
    page.keyboard.press("Escape")
    page.locator(".source").click()
    expect(page.get_by_role("dialog")).to_contain_text("Tea is a drink")
    link = page.get_by_role("dialog").get_by_role("link", name="Open the source")
    expect(link).to_have_attribute("href", "https://example.org/tea")


def test_a_link_shows_what_was_there_until_it_is_revoked(
    enter: Enter, visit: Callable[..., Page], house: House
) -> None:
    page = enter()
    send(page, "Shown to others")
    rested(page)
    from_menu(page, "This conversation", "Share")
    button(page, "Make a link").click()
    link = page.get_by_role("textbox", name="Link").input_value()
    page.keyboard.press("Escape")
    send(page, "Said later")
    rested(page)
    guest = visit(house.url, link.removeprefix(f"{house.url}/"), **PHONE)
    expect(guest.get_by_role("heading", name="Shown to others", level=1)).to_be_visible()
    expect(guest.locator(".answer")).to_contain_text("w0 w1 w2")
    expect(guest.get_by_text("Said later")).to_have_count(0)
    fits(guest)
    from_menu(page, "This conversation", "Share")
    button(page, "Revoke").click()
    expect(page.get_by_text("The link leads nowhere any more")).to_be_visible()
    guest.reload()
    expect(guest.get_by_text("链接已失效")).to_be_visible()


def test_a_conversation_goes_out_as_markdown_and_json_and_comes_back(enter: Enter) -> None:
    page = enter()
    send(page, "To be exported")
    rested(page)
    with page.expect_download() as markdown:
        from_menu(page, "This conversation", "Export as Markdown")
    assert "To be exported" in Path(markdown.value.path()).read_text()
    with page.expect_download() as whole:
        from_menu(page, "This conversation", "Export as JSON")
    of_row(page, "To be exported", "Delete")
    button(page.get_by_role("dialog"), "Delete").click()
    expect(rows(page)).to_have_count(0)
    with page.expect_file_chooser() as chooser:
        from_menu(page, "More", "Import conversations")
    chooser.value.set_files(whole.value.path())
    expect(page.get_by_text("One conversation was imported")).to_be_visible()
    page.get_by_role("link", name="To be exported").click()
    expect(answer(page)).to_contain_text("w0 w1 w2")


@pytest.mark.parametrize("path", ["search", "projects", "assistants/new", "prompts", "memory"])
def test_pages_fit_a_phone(enter: Enter, path: str) -> None:
    page = enter(path, **PHONE)
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    fits(page)
