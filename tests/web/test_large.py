"""Long chats, long answers and long lines stay usable, and a server that restarts loses no word."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import APIResponse, Page, expect

from tests.web.deeds import answer, box, button, fits, rested, send
from tests.web.house import WIDE, House, aside, housed

MESSAGES = 10_000
OPENS_IN_MS, TRIES = 200, 8  # of the server, which takes about 2 on two cores; the best, for busy machines


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with housed(tmp_path_factory.mktemp("house")) as house:
        yield house


def fill(house: House, conversation: str) -> None:
    """A chain of ten thousand messages in an empty conversation."""
    rows = [
        {
            "id": f"msg_{number:06}",
            "parent": f"msg_{number - 1:06}" if number else None,
            "role": "assistant" if number % 2 else "user",
            "text": f"Message {number}. " + "Some words in **Markdown**. " * (number % 7),
        }
        for number in range(MESSAGES)
    ]

    def write(tx) -> None:
        for row in rows:
            tx.run(
                "INSERT INTO chat_message (id, conversation_id, parent_id, role, state, created_at, text)"
                " VALUES (:id, :conversation, :parent, :role, 'done', 1, :text)",
                conversation=conversation,
                **row,
            )
        tx.run(
            "UPDATE chat_conversation SET leaf_id = :leaf, messages = :many WHERE id = :id",
            leaf=rows[-1]["id"],
            many=MESSAGES,
            id=conversation,
        )

    aside(house.platform.database.write(write))


def server_ms(answer: APIResponse) -> float:
    """What the server itself took, as its answer says: app;dur=12.3."""
    return float(answer.headers["server-timing"].partition("dur=")[2])


def test_ten_thousand_messages_open_at_their_end_and_scroll_to_their_beginning(
    visit: Callable[..., Page], house: House
) -> None:
    page = visit(house.url, **WIDE, **house.member()[1])
    send(page, "The first")
    rested(page)
    conversation = page.url.rpartition("/")[2]
    fill(house, conversation)
    page.reload()
    expect(page.get_by_text("Message 9999.")).to_be_in_viewport()
    assert page.locator(".message-place").count() < 200
    scroller = page.locator(".scroll")
    for _ in range(12):  # the reader goes up, and what came before comes
        first = page.locator(".message-place").first.get_attribute("id")
        scroller.evaluate("box => { box.scrollTop = 0 }")
        expect(page.locator(".message-place").first).not_to_have_id(first or "")
    places = page.locator(".message-place")
    assert places.count() > 500
    drawn = places.evaluate_all("all => all.filter(place => place.childElementCount > 0).length")
    assert drawn < 200  # what is far away is not in the page
    address = f"{house.url}/api/chat/conversations/{conversation}?limit=60"
    opened = [page.request.get(address) for _ in range(TRIES)]
    assert [len(one.json()["path"]) for one in opened] == [60] * TRIES
    assert min(server_ms(one) for one in opened) <= OPENS_IN_MS


def test_an_answer_of_five_megabytes_comes_whole_and_the_page_can_be_typed_in(
    visit: Callable[..., Page], house: House
) -> None:
    block = "## Part\n\nSome **words**, `code`, and a [link](https://example.com).\n\n- one\n- two\n\n"
    house.when("Five megabytes", words=[block * 100] * (5_000_000 // (100 * len(block))) + ["The end."])
    page = visit(house.url, **WIDE, **house.member()[1])
    send(page, "Five megabytes")
    expect(page.get_by_text("The end.")).to_be_in_viewport(timeout=60_000)
    rested(page)
    box(page).press_sequentially("still here")
    expect(box(page)).to_have_value("still here")
    assert page.locator(".answer *").count() < 20_000
    page.reload()
    expect(page.get_by_text("The end.")).to_be_visible()


def test_a_line_of_a_megabyte_is_shown_and_stays_inside_the_window(
    visit: Callable[..., Page], house: House
) -> None:
    house.when("One line", words=["x" * 500_000, "y" * 500_000, " end"])
    page = visit(house.url, **WIDE, **house.member()[1])
    send(page, "One line")
    expect(answer(page)).to_contain_text("yyy end")
    rested(page)
    fits(page)
    box(page).press_sequentially("still here")
    expect(box(page)).to_have_value("still here")


def test_a_server_that_restarts_in_the_middle_of_an_answer_keeps_what_came(
    visit: Callable[..., Page], tmp_path: Path
) -> None:
    script = {"words": ["word "] * 1000, "pace_s": 0.02}
    with housed(tmp_path) as house:
        port = urlsplit(house.url).port or 0
        house.when("Go on", **script)
        page = visit(house.url, **WIDE, **house.member()[1])
        send(page, "Go on")
        expect(answer(page)).to_contain_text("word word word")
        box(page).fill("A draft")
    with housed(tmp_path, port=port) as house:
        expect(page.get_by_text("The answer was interrupted.")).to_be_visible()
        expect(answer(page)).to_contain_text("word word word")
        expect(box(page)).to_have_value("A draft")
        house.when("Go on", words=["Now whole."])
        button(page, "Answer again").click()
        expect(answer(page)).to_have_text("Now whole.")
        page.reload()
        expect(answer(page)).to_have_text("Now whole.")
        [stored] = house.rows("SELECT messages FROM chat_conversation")
        assert json.dumps(stored) == '{"messages": 3}'
