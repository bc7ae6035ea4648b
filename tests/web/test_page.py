"""The page in a real browser: what a person does with it, and what goes wrong around them."""

import json
import re
from collections.abc import Callable

from playwright.sync_api import Locator, Page, expect

from openglm.serve import Service

LONG = "Write a very long story about a bear who sails the northern seas."


def box(page: Page) -> Locator:
    return page.get_by_role("textbox", name="Your message")


def send(page: Page, text: str) -> None:
    box(page).fill(text)
    box(page).press("Enter")


def answer(page: Page) -> Locator:
    """The text of the last answer."""
    return page.locator(".answer").last.locator("> .markdown")


def button(page: Page, name: str) -> Locator:
    return page.get_by_role("button", name=name, exact=True)


def text_when_longer_than(page: Page, length: int) -> str:
    expect(answer(page)).to_have_text(re.compile(rf"[\s\S]{{{length + 1},}}"))
    return answer(page).inner_text()


def from_menu(page: Page, conversation: str, deed: str) -> None:
    page.get_by_role("link", name=conversation).hover()
    button(page, f"More for {conversation}").click()
    page.get_by_role("menuitem", name=deed).click()


def set_longest_answer(page: Page, tokens: int) -> None:
    button(page, "Settings").click()
    page.get_by_label("Longest answer").fill(str(tokens))
    button(page, "Done").click()


def test_an_answer_streams_stops_and_is_still_there_after_a_reload(
    open_page: Callable[..., Page], service: Service
) -> None:
    page = open_page()
    expect(page.get_by_role("banner")).to_contain_text("SmolLM2-135M-Instruct")
    expect(page.get_by_role("banner")).to_contain_text("Apache-2.0")
    send(page, LONG)
    first = text_when_longer_than(page, 0)
    later = text_when_longer_than(page, len(first) + 20)  # it grew between two looks
    assert later.startswith(first[:-1])
    button(page, "Stop").click()
    expect(button(page, "Send")).to_be_visible()
    expect(page.get_by_text("Stopped.")).to_be_visible()
    kept = answer(page).inner_text()
    assert kept.startswith(later[:-1])
    page.reload()
    expect(answer(page)).to_have_text(kept, use_inner_text=True)
    expect(page.locator(".bubble")).to_have_text(LONG)
    assert service.engine.stats().running == 0  # the server noticed long before the page came back


def test_a_reload_in_the_middle_of_an_answer_keeps_what_had_arrived(open_page: Callable[..., Page]) -> None:
    page = open_page()
    send(page, LONG)
    arrived = text_when_longer_than(page, 40)
    page.reload()
    expect(page.get_by_text("What had arrived is kept")).to_be_visible()
    assert answer(page).inner_text().startswith(arrived[:-1])
    expect(button(page, "Try again")).to_be_visible()


def test_answering_again_keeps_the_first_answer_to_page_back_to(open_page: Callable[..., Page]) -> None:
    page = open_page()
    set_longest_answer(page, 12)
    send(page, "Tell me a story.")
    expect(page.get_by_text("The answer reached the token limit.")).to_be_visible()
    expect(page.locator(".usage")).to_contain_text("12 tokens")
    first = answer(page).inner_text()
    button(page, "Answer again").click()
    expect(page.get_by_text("2 / 2")).to_be_visible()
    button(page, "Previous answer").click()
    expect(page.get_by_text("1 / 2")).to_be_visible()
    expect(answer(page)).to_have_text(first, use_inner_text=True)
    send(page, "Go on.")  # the next question goes with the answer that is shown
    expect(page.locator(".question")).to_have_count(2)
    expect(button(page, "Send")).to_be_visible()


def test_the_last_question_can_be_asked_in_other_words(open_page: Callable[..., Page]) -> None:
    page = open_page()
    set_longest_answer(page, 4)
    send(page, "Helo")
    button(page, "Edit").click()
    page.get_by_role("textbox", name="You are editing a message").fill("Hello")
    page.locator(".question-editor").get_by_role("button", name="Send").click()
    expect(page.locator(".bubble")).to_have_text("Hello")
    expect(page.locator(".usage")).to_contain_text("4 tokens")
    expect(page.get_by_role("complementary")).to_contain_text("Hello")


def test_settings_reach_the_server_and_are_remembered(open_page: Callable[..., Page]) -> None:
    page = open_page()
    set_longest_answer(page, 3)
    button(page, "Settings").click()
    page.get_by_label("System prompt").fill("Answer in French.")
    page.get_by_label("Temperature").fill("0.2")
    page.get_by_role("group", name="Thinking").get_by_text("Off").click()
    page.keyboard.press("Escape")
    page.reload()
    with page.expect_request("**/v1/chat/completions") as sent:
        send(page, "Hi")
    body = json.loads(sent.value.post_data or "")
    assert body["messages"] == [
        {"role": "system", "content": "Answer in French."},
        {"role": "user", "content": "Hi"},
    ]
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("smollm2", 0.2, 3)
    assert body["thinking"] == {"type": "disabled"}
    expect(page.locator(".usage")).to_contain_text("3 tokens")


def test_theme_follows_the_system_until_it_is_chosen(open_page: Callable[..., Page]) -> None:
    page = open_page()
    root = page.locator("html")
    expect(root).to_have_attribute("data-theme", "light")
    page.emulate_media(color_scheme="dark")
    expect(root).to_have_attribute("data-theme", "dark")
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    button(page, "Switch to light").click()
    expect(root).to_have_attribute("data-theme", "light")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != ground
    page.reload()
    expect(root).to_have_attribute("data-theme", "light")


def test_language_follows_the_browser_until_it_is_chosen(open_page: Callable[..., Page]) -> None:
    page = open_page(locale="zh-CN")
    expect(page.locator("html")).to_have_attribute("lang", "zh-CN")
    expect(page.get_by_role("heading", name="想聊点什么？")).to_be_visible()
    button(page, "Switch to English").click()
    expect(page.locator("html")).to_have_attribute("lang", "en")
    page.reload()
    expect(page.get_by_role("heading", name="What is on your mind?")).to_be_visible()


def test_markdown_is_drawn_and_html_from_a_model_is_harmless(
    open_page: Callable[..., Page], answer_with: Callable[..., None]
) -> None:
    page = open_page()
    text = (
        "## Title\n\nA **bold** word, `code`, [bad](javascript:alert(1)) and "
        "<img src=x onerror=\"document.title='pwned'\"><script>document.title='pwned'</script>\n\n"
        "```python\ndef f():\n    return '<b>'\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |\n"
    )
    answer_with(page, {"role": "assistant", "content": ""}, *({"content": letter} for letter in text))
    send(page, "Show me")
    shown = answer(page)
    expect(shown.get_by_role("heading", name="Title")).to_be_visible()
    expect(shown.locator("strong")).to_have_text("bold")
    expect(shown.get_by_role("cell", name="2")).to_be_visible()
    expect(shown.locator("pre .hl-keyword").first).to_have_text("def")
    expect(shown.locator("pre")).to_have_text("def f():\n    return '<b>'")
    expect(shown).to_contain_text("<img src=x onerror=")
    expect(shown.locator("img, script, a")).to_have_count(0)
    expect(page).to_have_title("Show me · OpenGLM")


def test_code_and_answers_are_copied_as_they_were_written(
    open_page: Callable[..., Page], answer_with: Callable[..., None]
) -> None:
    page = open_page(permissions=["clipboard-read", "clipboard-write"])
    answer_with(page, {"content": "Run **this**:\n\n```sh\necho '<hi>'\n```"})
    send(page, "How?")
    button(page, "Copy code").click()
    expect(button(page, "Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == "echo '<hi>'"
    page.locator(".answer-footer").get_by_role("button", name="Copy").click()
    expect(button(page, "Copied")).to_have_count(2)
    assert page.evaluate("navigator.clipboard.readText()") == "Run **this**:\n\n```sh\necho '<hi>'\n```"


def test_reasoning_folds_away_and_tool_calls_are_shown_plainly(
    open_page: Callable[..., Page], answer_with: Callable[..., None]
) -> None:
    page = open_page()
    call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "weather", "arguments": ""}}
    arguments = {"index": 0, "function": {"arguments": '{"city":"Paris"}'}}
    answer_with(
        page,
        {"reasoning_content": "They want the "},
        {"reasoning_content": "weather."},
        {"content": "Let me look."},
        {"tool_calls": [call]},
        {"tool_calls": [arguments]},
    )
    send(page, "Weather?")
    expect(page.get_by_text("They want the weather.")).to_be_hidden()
    page.get_by_text("Thought for").click()
    expect(page.get_by_text("They want the weather.")).to_be_visible()
    expect(page.locator(".tool-call")).to_contain_text("weather")
    expect(page.locator(".tool-call pre")).to_contain_text('"city": "Paris"')


def test_a_refusal_is_explained_and_nothing_is_lost(open_page: Callable[..., Page]) -> None:
    page = open_page()
    set_longest_answer(page, 4)
    question = "word " * 3000  # more than the model reads
    send(page, question)
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("The server refused the request (400)")
    expect(alert).to_contain_text("2048")
    page.reload()
    expect(alert).to_contain_text("The server refused the request (400)")
    page.get_by_role("button", name="Show all").click()  # a question of 15,000 characters is folded
    expect(page.locator(".bubble")).to_have_text(question.strip())
    button(page, "Edit").click()
    page.get_by_role("textbox", name="You are editing").fill("Hi")
    page.get_by_role("textbox", name="You are editing").press("Enter")
    expect(page.locator(".usage")).to_contain_text("4 tokens")
    expect(alert).to_have_count(0)


def test_a_server_that_is_gone_is_named_and_can_be_tried_again(open_page: Callable[..., Page]) -> None:
    page = open_page()
    set_longest_answer(page, 4)
    page.route("**/v1/**", lambda route: route.abort("connectionrefused"))
    send(page, "Hello?")
    expect(page.locator(".answer").get_by_role("alert")).to_contain_text("The server cannot be reached")
    page.unroute("**/v1/**")
    page.locator(".answer").get_by_role("button", name="Try again").click()
    expect(page.locator(".usage")).to_contain_text("4 tokens")
    expect(page.get_by_role("alert")).to_have_count(0)


def test_an_answer_that_breaks_off_is_kept_and_marked(
    open_page: Callable[..., Page], answer_with: Callable[..., None]
) -> None:
    page = open_page()
    answer_with(page, {"content": "Half of"}, complete=False)
    send(page, "Go")
    expect(answer(page)).to_have_text("Half of")
    expect(page.get_by_text("The answer was interrupted.")).to_be_visible()


def test_enter_during_composition_and_shift_enter_do_not_send(open_page: Callable[..., Page]) -> None:
    page = open_page()
    box(page).fill("ni hao")
    box(page).dispatch_event("keydown", {"key": "Enter", "isComposing": True, "bubbles": True})
    box(page).press("Shift+Enter")
    box(page).press("a")
    expect(box(page)).to_have_value("ni hao\na")
    expect(page.locator(".question")).to_have_count(0)


def test_conversations_are_listed_renamed_deleted_and_brought_back(
    open_page: Callable[..., Page], answer_with: Callable[..., None]
) -> None:
    page = open_page()
    answer_with(page, {"content": "Yes."})
    send(page, "First")
    expect(answer(page)).to_have_text("Yes.")
    button(page, "New conversation").click()
    send(page, "Second")
    expect(answer(page)).to_have_text("Yes.")
    items = page.get_by_role("complementary").get_by_role("listitem")
    expect(items).to_have_text(["Second", "First"])
    from_menu(page, "First", "Rename")
    page.get_by_role("textbox", name="Rename").fill("Oldest")
    page.get_by_role("textbox", name="Rename").press("Enter")
    expect(items).to_have_text(["Second", "Oldest"])
    from_menu(page, "Second", "Delete")
    expect(items).to_have_text(["Oldest"])
    expect(page.get_by_role("heading", name="What is on your mind?")).to_be_visible()
    button(page, "Undo").click()
    expect(items).to_have_text(["Second", "Oldest"])
    page.reload()
    expect(items).to_have_text(["Second", "Oldest"])
    items.nth(1).get_by_role("link", name="Oldest").click()
    expect(page.locator(".bubble")).to_have_text("First")


def test_the_page_follows_the_answer_only_while_the_reader_is_at_its_end(
    open_page: Callable[..., Page],
) -> None:
    page = open_page(viewport={"width": 900, "height": 420})
    send(page, LONG)
    grown = text_when_longer_than(page, 900)  # several windows high
    expect(page.locator(".answer > .markdown > :last-child")).to_be_in_viewport()
    page.locator(".scroll").evaluate("box => { box.scrollTop = 0 }")
    expect(button(page, "Scroll to the latest")).to_be_visible()
    text_when_longer_than(page, len(grown) + 100)
    expect(page.locator(".bubble")).to_be_in_viewport()
    button(page, "Scroll to the latest").click()
    expect(button(page, "Scroll to the latest")).to_have_count(0)
    expect(page.locator(".answer > .markdown > :last-child")).to_be_in_viewport()
    page.keyboard.press("Escape")  # stops the answer
    expect(page.get_by_text("Stopped.")).to_be_visible()


def test_nothing_is_wider_than_a_small_phone(
    open_page: Callable[..., Page], answer_with: Callable[..., None]
) -> None:
    page = open_page(viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    code = "```\n" + "x" * 300 + "\n```\n\n" + "y" * 300 + "\n\n" + "|a" * 20 + "|\n" + "|-" * 20 + "|\n"
    answer_with(page, {"content": code})
    send(page, "z" * 200)
    expect(answer(page)).to_contain_text("yyy")
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    assert page.locator(".scroll").evaluate("e => e.scrollWidth - e.clientWidth") == 0
    button(page, "Open the side bar").click()
    expect(button(page, "New conversation")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator(".sidebar")).to_be_hidden()
    expect(page.get_by_role("banner")).to_contain_text("Apache-2.0")


def test_the_whole_page_works_from_the_keyboard(open_page: Callable[..., Page]) -> None:
    page = open_page()
    expect(box(page)).to_be_focused()
    set_longest_answer(page, 4)
    box(page).focus()
    page.keyboard.type("Hi")
    page.keyboard.press("Enter")
    expect(page.locator(".usage")).to_contain_text("4 tokens")
    expect(box(page)).to_be_focused()
    unnamed = page.locator("button, input, textarea, select, a").evaluate_all(
        "all => all.filter(e => !(e.ariaLabel || e.innerText || e.labels?.length)).map(e => e.outerHTML)"
    )
    assert unnamed == []
    expect(page.get_by_role("log")).to_have_attribute("aria-live", "polite")
    expect(page.get_by_role("log")).to_have_attribute("aria-busy", "false")
