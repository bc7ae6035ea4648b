"""Knowledge bases in the chat: which there are, what is said of them, and the text behind a citation."""

from __future__ import annotations

import asyncio
import json

import pytest

from openglm.chat import prompt
from openglm.chat.prompt import request_of, shorter
from openglm.errors import PromptTooLong
from openglm.maas.household import ORG
from openglm.maas.knowledge.knowledge import Base
from openglm.messages import Message
from tests.chat.conftest import document_of, script
from tests.maas.fake_upstream import picture

KETTLE = "The kettle is red. It stands in the kitchen."


def told(hall) -> str:
    """What the model was told last."""
    return json.dumps(hall.upstream.bodies[-1]["messages"], ensure_ascii=False)


def new_base(hall, page, name: str) -> str:
    return asyncio.run(hall.platform.knowledge.create(hall.caller(page), Base(name, 3, "about it")))


def test_everybody_chooses_from_the_bases_of_their_organisation(hall, ann, bob, wait_until):
    made = ann.post(
        f"{hall.url}/api/console/organisations/{ann.get('me').json()['org']}/invitations",
        json={"email": "eve@example.com", "role": "developer"},
    ).json()
    eve = hall.page().sign_up("eve@example.com", invitation=made["token"])
    org = ann.get("me").json()["org"]
    first, second = new_base(hall, ann, "first"), new_base(hall, ann, "second")
    document_of(hall, ann, wait_until, "kettle.txt", KETTLE, base=first)
    listed = ann.get("knowledge").json()
    assert [(one["id"], one["name"], one["documents"]) for one in listed] == [
        (second, "second", 0),
        (first, "first", 1),
    ]
    assert listed[0]["description"] == "about it"
    assert eve.get("knowledge", params={"org": org}).json() == listed
    assert bob.get("knowledge").json() == []


def test_a_base_that_was_deleted_says_nothing_and_can_be_taken_out(hall, home, wait_until):
    gone, there = new_base(hall, home, "gone"), new_base(hall, home, "there")
    document_of(hall, home, wait_until, "kettle.txt", KETTLE, base=there)
    both = {"name": "Tea", "knowledge": [gone, there]}
    project = home.post("projects", json=both).json()
    assistant = home.post("assistants", json=both).json()
    asyncio.run(hall.platform.knowledge.delete(hall.caller(home), gone))
    assert [one["id"] for one in home.get("knowledge").json()] == [there]
    conversation = home.begin(settings={"tools": {"knowledge": [gone, there]}}, project_id=project["id"])
    answer = home.answer(conversation, "Which colour is the kettle?", wait_until)
    assert (answer["state"], [part["title"] for part in answer["parts"]]) == ("done", ["kettle.txt"])
    assert home.patch(f"assistants/{assistant['id']}", json={"name": "Coffee"}).status_code == 200
    for path in (f"projects/{project['id']}", f"assistants/{assistant['id']}"):
        assert home.patch(path, json={"knowledge": [gone]}).json()["knowledge"] == [gone]
        assert home.patch(path, json={"knowledge": []}).json()["knowledge"] == []
        assert home.patch(path, json={"knowledge": [gone]}).status_code == 404
    alone = home.begin(settings={"tools": {"knowledge": [gone]}})
    assert home.answer(alone, script(words=["yes"]), wait_until)["parts"] == []
    assert "Knowledge" not in told(hall)


def test_bases_of_others_are_neither_chosen_nor_read(hall, ann, bob, wait_until):
    base = new_base(hall, ann, "secrets")
    document = document_of(hall, ann, wait_until, "kettle.txt", KETTLE, base=base)
    assert bob.post("projects", json={"name": "x", "knowledge": [base]}).status_code == 404
    assert bob.post("assistants", json={"name": "x", "knowledge": [base]}).status_code == 404
    conversation = bob.begin(settings={"tools": {"knowledge": [base]}})
    answer = bob.answer(conversation, "Which colour is the kettle?", wait_until)
    assert answer["parts"] == []
    assert "red" not in told(hall)
    assert bob.get(f"documents/{document}/text").status_code == 404


def test_a_citation_leads_to_exactly_the_text_that_was_quoted(hall, home, wait_until):
    base = new_base(hall, home, "tea")
    text = (
        "𝔘nicode 😀 comes first.\n\n" + "Filling words stand here. " * 300 + f"\n\n{KETTLE} 🫖 红色的水壶。"
    )
    document = document_of(hall, home, wait_until, "kettle.txt", text, base=base)
    conversation = home.begin(settings={"tools": {"knowledge": [base]}})
    answer = home.answer(conversation, "What colour is the kettle?", wait_until)
    part = next(part for part in answer["parts"] if "kettle is red" in part["quote"])
    span = {"start": part["start"], "most": part["end"] - part["start"]}
    passage = home.get(f"documents/{document}/text", params=span).json()
    assert passage == {
        "id": document,
        "name": "kettle.txt",
        "url": None,
        "length": len(text),
        "start": part["start"],
        "end": part["end"],
        "text": text[part["start"] : part["end"]],
    }
    assert passage["text"].startswith(part["quote"])
    whole, at = "", 0
    while at < len(text):
        piece = home.get(f"documents/{document}/text", params={"start": at, "most": 1000}).json()
        whole, at = whole + piece["text"], piece["end"]
    assert whole == text
    beyond = home.get(f"documents/{document}/text", params={"start": 10**6}).json()
    assert (beyond["start"], beyond["text"]) == (len(text), "")
    assert home.get(f"documents/{document}/text", params={"most": 10**6}).status_code == 422


def test_who_has_a_link_to_a_conversation_reads_quotes_and_no_documents(hall, ann, wait_until):
    base = new_base(hall, ann, "tea")
    document = document_of(hall, ann, wait_until, "kettle.txt", KETTLE, base=base)
    conversation = ann.begin(settings={"tools": {"knowledge": [base]}})
    answer = ann.answer(conversation, "What colour is the kettle?", wait_until)
    assert answer["parts"][0]["document_id"] == document
    token = ann.post(f"conversations/{conversation}/shares", json={}).json()["token"]
    guest = hall.page()
    shared = guest.get(f"shared/{token}")
    assert shared.json()["messages"][1]["parts"][0]["quote"] == KETTLE
    assert document not in shared.text
    assert guest.get(f"documents/{document}/text").status_code == 401


def test_a_document_that_was_deleted_or_is_read_again_says_so(hall, home, wait_until):
    document = document_of(hall, home, wait_until, "kettle.txt", KETTLE)
    reading = "UPDATE knowledge_document SET state = 0, lease_until = 9e15 WHERE id = :id"
    asyncio.run(hall.platform.database.write(lambda tx: tx.run(reading, id=document)))
    busy = home.get(f"documents/{document}/text")
    assert (busy.status_code, busy.json()["error"]["code"]) == (409, "conflict")
    asyncio.run(hall.platform.knowledge.delete_document(hall.caller(home), document))
    assert home.get(f"documents/{document}/text").status_code == 404
    assert home.get("documents/nonsense/text").status_code == 404


def test_what_was_read_of_an_attachment_is_shown_to_its_owner(hall, ann, bob, wait_until):
    note = ann.post("attachments", files={"file": ("note.txt", "é 😀 kettle".encode())}).json()["id"]
    image = ann.post("attachments", files={"file": ("dot.png", picture(7))}).json()["id"]
    wait_until(lambda: ann.get(f"attachments/{note}").json()["state"] == "ready")
    passage = ann.get(f"attachments/{note}/text", params={"start": 2, "most": 3}).json()
    assert (passage["name"], passage["length"], passage["text"]) == ("note.txt", 10, "😀 k")
    assert bob.get(f"attachments/{note}/text").status_code == 404
    assert ann.get(f"attachments/{image}/text").status_code == 400


def test_the_first_account_takes_over_the_knowledge_of_the_household(hall, home, wait_until):
    base = new_base(hall, home, "tea")
    document = document_of(hall, home, wait_until, "kettle.txt", KETTLE, base=base)
    waits = document_of(hall, home, wait_until, "later.txt", "The teapot is blue.", base=base)
    conversation = home.begin(settings={"tools": {"knowledge": [base]}})
    cited = home.answer(conversation, "What colour is the kettle?", wait_until)["parts"][0]
    reading = "UPDATE knowledge_document SET state = 0, lease_until = 9e15 WHERE id = :id"
    asyncio.run(hall.platform.database.write(lambda tx: tx.run(reading, id=waits)))
    kept = "SELECT number, bytes, characters FROM stored WHERE org_id = :org AND kind = 'document'"
    (before,) = hall.rows(kept, org=ORG)

    ann = hall.page().sign_up("ann@example.com", setup=hall.platform.installation.setup_token)
    wait_until(lambda: ann.get("me").json()["user"] is not None)
    assert [(one["id"], one["documents"]) for one in ann.get("knowledge").json()] == [(base, 2)]
    assert ann.get(f"documents/{cited['document_id']}/text").json()["text"] == KETTLE
    (row,) = hall.rows("SELECT caller, revision, org_id FROM knowledge_document WHERE id = :id", id=waits)
    assert json.loads(row["caller"])["user_id"] == ann.get("me").json()["user"]["id"]
    assert row["revision"] == 2
    assert hall.rows(kept, org=row["org_id"]) == [before]
    assert hall.rows(kept, org=ORG) == [{"number": 0, "bytes": 0, "characters": 0}]
    free = "UPDATE knowledge_document SET lease_until = 0 WHERE id = :id"
    asyncio.run(hall.platform.database.write(lambda tx: tx.run(free, id=waits)))
    wait_until(lambda: ann.get(f"documents/{waits}/text").status_code == 200)
    again = ann.begin(settings={"tools": {"knowledge": [base]}})
    told = {part["document_id"] for part in ann.answer(again, "kettle or teapot?", wait_until)["parts"]}
    assert told == {document, waits}
    bob = hall.page().sign_up("bob@example.com")
    assert bob.get("knowledge").json() == []
    assert bob.get(f"documents/{document}/text").status_code == 404


def test_values_of_headers_are_kept_where_none_are_written(home):
    def tools(headers: object, url: str = "https://a.example") -> dict:
        return {"tools": {"mcp": [{"label": "a", "url": url, "headers": headers}]}}

    made = home.post("assistants", json={"name": "A", **tools({"x-one": "hush", "x-two": "shh"})}).json()
    path = f"assistants/{made['id']}"
    assert made["tools"]["mcp"][0] == {
        "label": "a",
        "url": "https://a.example",
        "has_headers": True,
        "header_names": ["x-one", "x-two"],
    }
    changed = home.patch(path, json=tools({"x-two": None, "x-three": "new"})).json()
    assert changed["tools"]["mcp"][0]["header_names"] == ["x-two", "x-three"]
    unknown = home.patch(path, json=tools({"x-one": None}))
    assert (unknown.status_code, "x-one" in unknown.json()["error"]["message"]) == (400, True)
    elsewhere = home.patch(path, json=tools({"x-two": None}, "https://b.example"))
    assert elsewhere.status_code == 400
    assert home.patch(path, json=tools({})).json()["tools"]["mcp"][0]["has_headers"] is False
    assert "hush" not in home.get("assistants").text


@pytest.mark.parametrize("limit", [60, 10])
def test_a_shorter_prompt_keeps_the_instructions_the_knowledge_and_the_question(limit):
    turns = [Message.of(role, f"{role} {number}") for number in range(4) for role in ("user", "assistant")]
    known, asked = Message.of("system", "Knowledge."), Message.of("user", "And now?")
    request = request_of("glm", [*turns, known, asked], {}, instructions=["Be kind."])
    less = shorter(request, PromptTooLong("too long", prompt=100, wanted=0, limit=limit))
    assert less is not None
    assert [turn.text for turn in less.messages[:1]] == ["Be kind."]
    assert [turn.text for turn in less.messages[-2:]] == ["Knowledge.", "And now?"]
    assert 3 <= len(less.messages) < len(request.messages)
    assert less.messages[1].role == "user" or len(less.messages) == 3
    bare = request_of("glm", [known, asked], {})
    assert shorter(bare, PromptTooLong("too long", prompt=100, wanted=0, limit=limit)) is None


def test_turns_beyond_what_is_read_for_a_prompt_are_counted_as_cut(hall, home, wait_until, monkeypatch):
    monkeypatch.setattr(prompt, "HISTORY_CHARS", 40)
    monkeypatch.setattr(prompt, "AT_ONCE", 2)
    conversation, parent = home.begin(), None
    for number in range(4):
        answer = home.answer(conversation, f"Question number {number}?", wait_until, parent_id=parent)
        parent = answer["id"]
    sent = hall.upstream.bodies[-1]["messages"]
    assert answer["parts"] == [{"type": "cut", "messages": 7 - len(sent), "at": 0}]
