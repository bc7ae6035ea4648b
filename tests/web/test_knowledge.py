"""Knowledge: bases are chosen, citations open the text they are of, assistants bring servers with headers."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from openglm.maas.identity import Caller
from openglm.maas.knowledge.knowledge import Base, Manners
from tests.maas.conftest import wait_until
from tests.web import test_accessibility
from tests.web.deeds import answer, box, button, fits, from_menu, new_project, rested, send
from tests.web.house import PHONE, WIDE, House, aside, housed

__all__ = ["wait_until"]
FILLER = "\n\n".join(f"Paragraph {number} tells of cups, spoons and saucers." for number in range(900))
KETTLE = "The kettle is red 🫖 and stands in the kitchen."
MARKS = [f"[{number}] " for number in range(1, 9)]  # whichever it is cited by
TEXT = f"{FILLER}\n\n{KETTLE}\n\n{FILLER}"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with housed(tmp_path_factory.mktemp("house")) as house:
        yield house


def base_of(house: House, caller: Caller, name: str, wait_until: Callable[..., None]) -> tuple[str, str]:
    """A base with a long document that was read."""

    async def chunks() -> AsyncIterator[bytes]:
        yield TEXT.encode()

    async def work() -> tuple[str, str]:
        knowledge = house.platform.knowledge
        base = await knowledge.create(caller, Base(name, 3, "All about tea"))
        return base, await knowledge.add(caller, base, "kettle.txt", chunks(), Manners())

    base, document = aside(work())
    read = "SELECT 1 FROM knowledge_document WHERE id = :id AND state = 1"
    wait_until(lambda: house.rows(read, id=document))
    return base, document


@pytest.fixture
def member(house: House) -> tuple[Caller, dict[str, Any]]:
    """Somebody new, and the browser in which they are signed in."""
    email, signed_in = house.member()
    (user,) = house.rows("SELECT id FROM app_user WHERE email = :email", email=email)
    return aside(house.platform.seated(user["id"])), signed_in


def choose(page: Page, name: str, words: tuple[str, str] = ("Knowledge", "Done")) -> None:
    button(page, words[0]).click()
    page.get_by_role("dialog").get_by_role("checkbox", name=name).check()
    button(page.get_by_role("dialog"), words[1]).click()


def mark_of(house: House) -> str:
    """What the passage of the kettle is cited by in the last answer."""
    (row,) = house.rows("SELECT parts FROM chat_message WHERE role = 'assistant' ORDER BY id DESC LIMIT 1")
    return next(f"[{part['id']}]" for part in json.loads(row["parts"]) if KETTLE in part.get("quote", ""))


def panel(page: Page) -> Locator:
    return page.locator(".source-panel")


def test_a_base_is_chosen_and_a_citation_opens_the_text_it_is_of(
    visit: Callable[..., Page], house: House, member: Any, wait_until: Callable[..., None]
) -> None:
    caller, signed_in = member
    base, document = base_of(house, caller, "Tea", wait_until)
    house.when("What colour is the kettle?", words=["It is red ", *MARKS])
    page = visit(house.url, **{**WIDE, **signed_in})
    choose(page, "Tea")
    expect(button(page, "Knowledge: 1 base")).to_be_visible()
    send(page, "What colour is the kettle?")
    expect(answer(page)).to_contain_text("It is red")
    rested(page)
    mark = mark_of(house)
    button(page, mark).click()
    expect(panel(page).get_by_role("heading", name="kettle.txt")).to_be_visible()
    expect(panel(page).locator("mark")).to_contain_text("The kettle is red 🫖 and stands")
    expect(panel(page).locator("mark")).to_be_in_viewport()
    expect(panel(page).locator(".source-text")).to_be_focused()
    text = panel(page).locator(".passage")
    assert (text.text_content() or "-") in TEXT
    button(panel(page), "Later text").click()
    expect(panel(page).locator(".source-place")).to_contain_text(re.compile(r" to 5\d,"))
    button(panel(page), "Earlier text").click()
    expect(panel(page).locator(".source-place")).to_contain_text(re.compile(r"^Characters 3[0-9],"))
    assert (text.text_content() or "-") in TEXT
    page.keyboard.press("Escape")
    expect(panel(page)).to_have_count(0)
    expect(button(page, mark)).to_be_focused()
    page.reload()
    page.locator(".source").nth(int(mark[1:-1]) - 1).focus()
    page.keyboard.press("Enter")
    expect(panel(page).locator("mark")).to_contain_text("The kettle is red")
    button(panel(page), "Close the source").click()
    # The document goes, then the base.
    aside(house.platform.knowledge.delete_document(caller, document))
    button(page, mark).click()
    expect(panel(page).get_by_role("alert")).to_contain_text("This document was deleted")
    expect(panel(page).locator(".quote")).to_contain_text("The kettle is red")
    aside(house.platform.knowledge.delete(caller, base))
    button(page, "Knowledge: 1 base").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("A knowledge base that was deleted")
    with page.expect_response(lambda got: got.request.method == "PATCH" and got.ok):
        button(dialog, "Take the deleted one out").click()
    expect(dialog).to_contain_text("There are no knowledge bases yet.")
    button(dialog, "Done").click()
    page.reload()
    expect(button(page, "Knowledge")).to_be_visible()


def test_a_choice_stays_with_its_conversation_also_beside_a_web_search(
    visit: Callable[..., Page], house: House, member: Any, wait_until: Callable[..., None]
) -> None:
    caller, signed_in = member
    base_of(house, caller, "Tea", wait_until)
    page = visit(house.url, **{**WIDE, **signed_in})
    send(page, "Before")
    rested(page)
    with page.expect_response(lambda got: got.request.method == "PATCH" and got.ok):
        choose(page, "Tea")
    button(page, "Search the web").click()
    send(page, "Which kettle?")
    expect(page.locator(".source").first).to_contain_text("kettle.txt")
    rested(page)
    button(page, "New conversation").first.click()
    expect(button(page, "Knowledge")).to_be_visible()
    page.get_by_role("link", name="Before").click()
    expect(button(page, "Knowledge: 1 base")).to_be_visible()


def test_a_household_has_its_own_bases_on_a_phone_in_chinese(
    visit: Callable[..., Page], tmp_path: Path, wait_until: Callable[..., None]
) -> None:
    with housed(tmp_path) as home:
        caller = aside(home.platform.household.caller())
        base_of(home, caller, "茶", wait_until)
        home.when("kettle?", words=["红色 ", *MARKS])
        page = visit(home.url, **PHONE)
        choose(page, "茶", ("知识库", "完成"))
        send(page, "kettle?")
        rested(page)
        button(page, mark_of(home)).click()
        expect(panel(page).locator("mark")).to_contain_text("The kettle is red")
        expect(panel(page).locator("mark")).to_be_in_viewport()
        fits(page)
        button(panel(page), "关闭出处").click()
        expect(panel(page)).to_have_count(0)
        expect(box(page)).to_be_visible()
        page.context.close()


def test_a_project_gives_its_files_knowledge_and_instructions(
    visit: Callable[..., Page], house: House, member: Any, wait_until: Callable[..., None]
) -> None:
    caller, signed_in = member
    base_of(house, caller, "Tea", wait_until)
    page = visit(house.url, "projects", **{**WIDE, **signed_in})
    new_project(page, "Kitchen", "Answer as a cook.")
    with page.expect_response(lambda got: got.request.method == "PATCH" and got.ok):
        page.get_by_role("checkbox", name="Tea").check()
    with page.expect_file_chooser() as chooser:
        button(page, "Add files").click()
    note = b"The spoon is silver."
    chooser.value.set_files({"name": "spoon.txt", "mimeType": "text/plain", "buffer": note})
    expect(page.get_by_role("listitem").filter(has_text="spoon.txt")).to_be_visible()
    page.reload()
    expect(page.get_by_role("checkbox", name="Tea")).to_be_checked()
    button(page.get_by_role("main"), "New conversation").click()
    expect(page.get_by_role("heading", name="Kitchen")).to_be_visible()
    button(page, "Knowledge").click()
    of_project = page.get_by_role("dialog").get_by_role("checkbox", name="Tea from the project")
    expect(of_project).to_be_checked()
    expect(of_project).to_be_disabled()
    button(page, "Done").click()
    send(page, "Is the kettle clean?")
    rested(page)
    (body,) = [one for one in house.upstream.bodies if one["messages"][-1]["content"] == "Is the kettle clean?"]
    told = json.dumps(body["messages"])
    for part in ("Answer as a cook.", "The spoon is silver.", "The kettle is red"):
        assert part in told


def test_among_many_bases_one_is_searched_for(visit: Callable[..., Page], house: House, member: Any) -> None:
    caller, signed_in = member

    async def many() -> None:
        for number in range(12):
            await house.platform.knowledge.create(caller, Base(f"Shelf {number}", 3))

    aside(many())
    page = visit(house.url, "assistants/new", **{**WIDE, **signed_in})
    page.get_by_label("Name", exact=True).fill("Librarian")
    page.get_by_role("checkbox", name="Shelf 3").check()
    page.get_by_label("Find a knowledge base").fill("shelf 11")
    page.get_by_label("Find a knowledge base").press("Enter")
    bases = page.locator(".bases").get_by_role("checkbox")
    expect(bases).to_have_count(2)  # what is chosen stays in sight
    page.get_by_role("checkbox", name="Shelf 11").check()
    button(page, "Save").click()
    expect(page.locator(".card")).to_contain_text("Librarian")
    kept = house.rows("SELECT body FROM chat_item WHERE kind = 'assistant' AND org_id = :org", org=caller.org_id)
    assert len(json.loads(kept[0]["body"])["knowledge"]) == 2


def test_an_assistant_brings_knowledge_and_servers_whose_headers_are_never_shown(
    visit: Callable[..., Page], house: House, member: Any, wait_until: Callable[..., None]
) -> None:
    caller, signed_in = member
    base, _ = base_of(house, caller, "Tea", wait_until)
    page = visit(house.url, "assistants/new", **{**WIDE, **signed_in})
    page.get_by_label("Name", exact=True).fill("Barista")
    page.get_by_role("checkbox", name="Tea").check()
    button(page, "Add an MCP server").click()
    server = page.locator(".mcp-server")
    server.get_by_label("Name", exact=True).fill("weather")
    server.get_by_label("Address").fill("https://weather.example/mcp")
    button(server, "Add a header").click()
    server.get_by_label("Header", exact=True).fill("Authorization")
    server.get_by_label("Value", exact=True).fill("Bearer hush")
    button(page, "Save").click()
    expect(page.locator(".card")).to_contain_text("Barista")
    (row,) = house.rows("SELECT id, body FROM chat_item WHERE kind = 'assistant' AND org_id = :org", org=caller.org_id)
    kept = json.loads(row["body"])
    assert kept["knowledge"] == [base]
    assert "hush" not in row["body"]
    from_menu(page, "More for Barista", "Edit")
    expect(page.get_by_role("checkbox", name="Tea")).to_be_checked()
    expect(server).to_contain_text("Authorization")
    expect(server).to_contain_text("Kept")
    assert "hush" not in page.content()
    page.get_by_label("Description").fill("Knows tea")
    button(page, "Save").click()
    expect(page.locator(".card")).to_contain_text("Knows tea")

    def headers() -> dict[str, str]:
        sealed = aside(house.platform.database.read_one("SELECT * FROM chat_item WHERE id = :id", id=row["id"]))
        return json.loads(house.platform.secrets.unseal("chat-item", bytes(sealed["sealed"]), context=row["id"]))[
            "weather"
        ]["headers"]

    assert headers() == {"Authorization": "Bearer hush"}
    from_menu(page, "More for Barista", "Edit")
    button(server, "Replace").click()
    server.get_by_label("Value", exact=True).fill("Bearer new")
    button(page, "Save").click()
    expect(page.locator(".card")).to_be_visible()
    assert headers() == {"Authorization": "Bearer new"}
    from_menu(page, "More for Barista", "Edit")
    server.get_by_label("Address").fill("https://elsewhere.example/mcp")
    expect(server.get_by_label("Value", exact=True)).to_have_value("")  # a secret goes to no other address
    button(server, "Take Authorization away").click()
    button(page, "Save").click()
    expect(page.locator(".card")).to_be_visible()
    assert house.rows("SELECT body FROM chat_item WHERE id = :id", id=row["id"])[0]["body"].count("Authorization") == 0


def test_what_is_chosen_and_what_is_cited_has_no_serious_fault_for_assistive_technology(
    visit: Callable[..., Page], house: House, member: Any, wait_until: Callable[..., None]
) -> None:
    caller, signed_in = member
    base_of(house, caller, "Tea", wait_until)
    house.when("Is it red?", words=["It is ", *MARKS])
    page = visit(house.url, **{**WIDE, **signed_in, "reduced_motion": "reduce"})
    button(page, "Knowledge").click()
    page.get_by_role("checkbox", name="Tea").check()
    test_accessibility.check(page)
    button(page, "Done").click()
    send(page, "Is it red?")
    rested(page)
    button(page, mark_of(house)).click()
    expect(panel(page).locator("mark")).to_be_visible()
    test_accessibility.check(page)
    page.goto(f"{house.url}/assistants/new")
    button(page, "Add an MCP server").click()
    button(page, "Add a header").click()
    test_accessibility.check(page)


def test_an_attached_document_opens_as_the_model_read_it(visit: Callable[..., Page], house: House, member: Any) -> None:
    page = visit(house.url, **{**WIDE, **member[1]})
    with page.expect_file_chooser() as chooser:
        button(page, "Attach files").click()
    page_of_web = b"<h1>Tea</h1><script>alert(1)</script><p>Steep for three minutes.</p>"
    chooser.value.set_files({"name": "tea.html", "mimeType": "text/html", "buffer": page_of_web})
    expect(page.locator(".attachment-bar")).to_contain_text("68 B")  # whole and read
    send(page, "How long?")
    rested(page)
    page.locator(".question").get_by_role("button", name="tea.html").click()
    expect(panel(page)).to_contain_text("Steep for three minutes.")
    expect(panel(page)).not_to_contain_text("alert")
    expect(panel(page).get_by_role("link", name="Download")).to_be_visible()


@pytest.mark.parametrize(
    ("visitor", "words"),
    [(WIDE, "The 2 oldest messages were left out"), (PHONE, "最早的 2 条消息没有参与这次回答")],
    ids=["wide", "phone"],
)
def test_an_answer_says_how_many_messages_the_model_did_not_read(
    visit: Callable[..., Page],
    house: House,
    member: Any,
    monkeypatch: pytest.MonkeyPatch,
    visitor: dict[str, Any],
    words: str,
) -> None:
    def plays(body: dict[str, Any]) -> dict[str, Any]:
        if len(body["messages"]) <= 3:
            return {"words": ["It fits."]}
        told = "This model's maximum context length is 100 tokens. However, you requested 110 tokens"
        return {"status": 400, "message": f"{told} (100 in the messages, 10 in the completion)."}

    monkeypatch.setattr(house.upstream, "plays", plays)
    page = visit(house.url, **{**visitor, **member[1]})
    for number in range(3):
        send(page, f"Some words, {number}.")
        expect(page.locator(".answer")).to_have_count(number + 1)
        expect(answer(page)).to_contain_text("It fits.")
        rested(page)
    expect(page.locator(".answer").last).to_contain_text(words)
    expect(page.locator(".ending")).to_have_count(1)
