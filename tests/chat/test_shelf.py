"""Projects, assistants, prompts, memory, attachments, knowledge and tools: what prompts are made of."""

from __future__ import annotations

import asyncio
import base64
import json

import pytest

from openglm.maas.knowledge.knowledge import Base, Manners
from openglm.maas.search import Document
from tests.chat.conftest import script
from tests.maas.fake_mcp import FakeMcp
from tests.maas.fake_upstream import picture


def prompt_of(hall, question: str) -> list[dict]:
    """What the model was asked, when it was asked this."""
    return next(
        body["messages"]
        for body in hall.upstream.bodies
        if question in json.dumps(body["messages"][-1]["content"], ensure_ascii=False)
    )


def ready(page, attachment: str, wait_until) -> dict:
    wait_until(lambda: page.get(f"attachments/{attachment}").json()["state"] != "reading")
    return page.get(f"attachments/{attachment}").json()


def test_documents_go_into_the_prompt_as_text_and_images_as_images(hall, home, wait_until):
    page = b"<html><body><h1>Title</h1><p>The answer is 42.</p></body></html>"
    document = home.post("attachments", files={"file": ("page.html", page)}).json()
    code = home.post("attachments", files={"file": ("main.rs", b"fn main() {}")}).json()
    image = home.post("attachments", files={"file": ("dot.png", picture(7))}).json()
    assert image["state"] == "ready"
    assert image["media_type"] == "image/png"
    conversation = home.begin()
    ids = [document["id"], code["id"], image["id"]]
    answer = home.answer(conversation, "What is the answer?", wait_until, attachments=ids)
    assert answer["state"] == "done", answer
    (turn,) = prompt_of(hall, "What is the answer?")
    text, shown = turn["content"]
    assert "The answer is 42." in text["text"]
    assert "fn main() {}" in text["text"]
    assert shown["image_url"]["url"].endswith(base64.b64encode(picture(7)).decode())
    asked = home.message(conversation, answer["parent_id"])
    assert [part["name"] for part in asked["parts"]] == ["page.html", "main.rs", "dot.png"]
    assert asked["text"] == "What is the answer?"


def test_attachments_are_handed_out_so_that_nothing_runs(home, wait_until):
    page = home.post("attachments", files={"file": ("x.html", b"<script>alert(1)</script>")}).json()
    got = home.get(f"attachments/{page['id']}/content")
    assert got.headers["content-type"] == "application/octet-stream"
    assert got.headers["content-disposition"].startswith("attachment")
    assert "sandbox" in got.headers["content-security-policy"]
    assert got.headers["x-content-type-options"] == "nosniff"
    image = home.post("attachments", files={"file": ("x.svg", picture(1))}).json()
    assert home.get(f"attachments/{image['id']}/content").headers["content-type"] == "image/png"
    ready(home, page["id"], wait_until)
    assert home.delete(f"attachments/{page['id']}").status_code == 204
    assert home.get(f"attachments/{page['id']}").status_code == 404


def test_attachments_go_with_their_conversation_and_stay_with_a_project(hall, home, wait_until):
    sent, kept = (
        home.post("attachments", files={"file": (name, b"words")}).json()["id"] for name in ("a.txt", "b.txt")
    )
    home.post("projects", json={"name": "P", "files": [kept]})
    conversation = home.begin(temporary=True)
    home.answer(conversation, "Read", wait_until, attachments=[sent, kept])
    home.post(f"conversations/{conversation}/close")
    assert home.get(f"attachments/{sent}").status_code == 404
    assert home.get(f"attachments/{kept}").status_code == 200
    assert [row["id"] for row in hall.rows("SELECT id FROM file")] == [kept]


def test_a_document_that_cannot_be_read_fails_the_answer_in_words(home, wait_until):
    broken = home.post("attachments", files={"file": ("broken.pdf", b"no pdf at all")}).json()
    assert ready(home, broken["id"], wait_until)["state"] == "failed"
    answer = home.answer(home.begin(), "Read this", wait_until, attachments=[broken["id"]])
    assert answer["state"] == "failed"
    assert "broken.pdf" in answer["error"]["message"]
    assert answer["error"]["hint"]


def test_a_file_of_a_project_that_cannot_be_read_says_where_to_take_it_out(home, wait_until):
    broken = home.post("attachments", files={"file": ("broken.pdf", b"no pdf at all")}).json()["id"]
    project = home.post("projects", json={"name": "P", "files": [broken]}).json()["id"]
    answer = home.answer(home.begin(project_id=project), "Hello", wait_until)
    assert answer["state"] == "failed"
    assert "broken.pdf" in answer["error"]["message"]
    assert "project" in answer["error"]["hint"]
    assert home.patch(f"projects/{project}", json={"files": []}).status_code == 200
    assert home.answer(home.begin(project_id=project), "Hello", wait_until)["state"] == "done"


def test_a_project_and_an_assistant_stand_before_the_question(hall, home, wait_until):
    note = home.post("attachments", files={"file": ("note.md", b"# Note\nKeep it short.")}).json()["id"]
    project = home.post(
        "projects", json={"name": "P", "instructions": "Of the project.", "files": [note]}
    ).json()
    assistant = home.post(
        "assistants",
        json={
            "name": "A",
            "instructions": "Of the assistant.",
            "model": "glm",
            "sampling": {"temperature": 0.1, "top_p": 0.5},
        },
    ).json()
    conversation = home.begin(
        project_id=project["id"],
        assistant_id=assistant["id"],
        settings={"temperature": 0.9, "system": "Mine."},
    )
    answer = home.answer(conversation, "Hello?", wait_until)
    assert answer["model"] == "glm"
    body = next(one for one in hall.upstream.bodies if one["messages"][-1]["content"] == "Hello?")
    told = body["messages"][0]["content"]
    places = [
        told.index(text) for text in ("Of the assistant.", "Of the project.", "Keep it short.", "Mine.")
    ]
    assert places == sorted(places)
    assert (body["temperature"], body["top_p"]) == (0.9, 0.5)
    home.delete(f"projects/{project['id']}")
    assert home.open(conversation)["project_id"] is None


def test_memory_is_read_in_prompts_until_it_is_switched_off(hall, home, wait_until):
    fact = home.post("memories", json={"text": "Likes tea."}).json()
    home.answer(home.begin(), "one", wait_until)
    assert "Likes tea." in prompt_of(hall, "one")[0]["content"]
    home.answer(home.begin(temporary=True), "two", wait_until)
    assert [turn["role"] for turn in prompt_of(hall, "two")] == ["user"]
    home.patch(f"memories/{fact['id']}", json={"text": "Likes coffee."})
    home.put("memory", json={"on": False})
    home.answer(home.begin(), "three", wait_until)
    assert [turn["role"] for turn in prompt_of(hall, "three")] == ["user"]
    home.put("memory", json={"on": True})
    home.answer(home.begin(), "four", wait_until)
    assert "Likes coffee." in prompt_of(hall, "four")[0]["content"]


def test_models_add_to_memory_only_after_somebody_said_so(hall, home, wait_until):
    def offered(question: str) -> bool:
        home.answer(home.begin(), question, wait_until)
        asked = next(one for one in hall.upstream.bodies if one["messages"][-1]["content"] == question)
        return "remember" in json.dumps(asked.get("tools", []))

    hall.upstream.plays = lambda body: {"words": ["Yes."]}
    assert home.get("memory").json() == {"on": True, "grows": False}
    for said, use in (
        ({"on": True}, {"on": True, "grows": True}),
        ({"on": True, "grows": False}, {"on": True, "grows": False}),
        ({"on": True, "grows": True}, {"on": True, "grows": True}),
        ({"on": False, "grows": True}, {"on": False, "grows": False}),
    ):
        assert home.put("memory", json=said).json() == use
        assert home.get("memory").json() == use
        assert offered(json.dumps(said)) == use["grows"]


def test_a_model_remembers_where_that_was_switched_on(hall, home, wait_until):
    home.put("memory", json={"on": True})
    call = {"id": "c", "name": "remember", "arguments": json.dumps({"fact": "Has a cat."})}
    asked = script(
        turns=[{"words": ["Let me see. "], "calls": [call], "finish": "tool_calls"}, {"words": ["Done."]}]
    )
    answer = home.answer(home.begin(), asked, wait_until)
    assert answer["text"] == "Let me see. Done."
    (part,) = answer["parts"]
    assert (part["type"], part["name"], part["state"], part["at"]) == ("tool_call", "remember", "done", 12)
    assert [one["text"] for one in home.get("memories").json()] == ["Has a cat."]
    assert len(hall.usage(answer["id"])) == 1
    assert answer["usage"]["output_text"] == 2


def test_a_search_is_shown_cited_and_part_of_the_cost(hall, ann, wait_until):
    index = hall.platform.search
    asyncio.run(
        index.add([Document("https://example.org/tea", "About tea", "Tea is a drink made of leaves.")])
    )
    asyncio.run(hall.platform.prices.set_per_million("search_std", uncached="0", output="0", per_call="0.01"))
    org = ann.get("me").json()["org"]
    asyncio.run(hall.platform.wallet.top_up(org, 10**9, idempotency_key="one"))
    call = {"id": "c", "name": "web_search", "arguments": json.dumps({"query": "tea"})}
    asked = script(
        turns=[{"words": [""], "calls": [call], "finish": "tool_calls"}, {"words": ["Leaves [1]."]}]
    )
    answer = ann.answer(ann.begin(settings={"tools": {"web_search": True}}), asked, wait_until)
    assert answer["text"] == "Leaves [1]."
    kinds = {part["type"]: part for part in answer["parts"]}
    assert "Tea is a drink" in kinds["tool_call"]["output"]
    assert (kinds["citation"]["id"], kinds["citation"]["url"]) == ("1", "https://example.org/tea")
    assert answer["cost"]["nano"] == 10_000_000
    names = {tool["function"]["name"] for tool in hall.upstream.bodies[0]["tools"]}
    assert names == {"web_search", "read_page"}


def test_knowledge_is_told_with_exact_spans_as_citations(hall, home, wait_until):
    platform = hall.platform
    caller = asyncio.run(platform.household.caller())

    base_id = asyncio.run(platform.knowledge.create(caller, Base("tea", 3)))
    text = "The kettle is red. It stands in the kitchen."

    async def chunks():
        yield text.encode()

    asyncio.run(platform.knowledge.add(caller, base_id, "kettle.txt", chunks(), Manners()))
    wait_until(lambda: hall.rows("SELECT 1 FROM knowledge_document WHERE state = 1"))
    conversation = home.begin(settings={"tools": {"knowledge": [base_id]}})
    answer = home.answer(conversation, "What colour is the kettle?", wait_until)
    assert answer["state"] == "done", answer
    (part,) = answer["parts"]
    assert part["type"] == "citation"
    assert text[part["start"] : part["end"]] == part["quote"]
    told = prompt_of(hall, "What colour is the kettle?")
    assert told[-2]["role"] == "system"
    assert f"[{part['id']}] kettle.txt" in told[-2]["content"]


def test_mcp_servers_of_an_assistant_are_called_and_their_headers_never_shown(hall, home, wait_until):
    with FakeMcp() as server:
        hall.platform.mcp.strangers_web = hall.platform.mcp._operators_web
        tools = {"mcp": [{"label": "cats", "url": server.url, "headers": {"authorization": "hush"}}]}
        made = home.post("assistants", json={"name": "Cats", "tools": tools}).json()
        (shown,) = made["tools"]["mcp"]
        assert (shown["has_headers"], shown["header_names"]) == (True, ["authorization"])
        changed = home.patch(
            f"assistants/{made['id']}",
            json={"tools": {"mcp": [{"label": "cats", "url": server.url}]}, "description": "x"},
        ).json()
        assert changed["tools"]["mcp"][0]["has_headers"]
        exported = home.get(f"assistants/{made['id']}/export")
        assert "hush" not in exported.text
        assert exported.headers["content-disposition"].endswith("; filename*=UTF-8''Cats.json")
        assert "hush" not in json.dumps(hall.rows("SELECT body FROM chat_item"))
        again = home.post("assistants/import", json=exported.json()).json()
        assert not again["tools"]["mcp"][0]["has_headers"]
        name = server.tools[0]["name"]
        call = {"id": "c", "name": name, "arguments": "{}"}
        asked = script(turns=[{"words": [""], "calls": [call], "finish": "tool_calls"}, {"words": ["Yes."]}])
        answer = home.answer(home.begin(assistant_id=made["id"]), asked, wait_until)
        assert answer["text"] == "Yes."
        assert answer["parts"][0]["server"] == "cats"


@pytest.mark.parametrize("kind", ["assistants", "prompts"])
def test_what_is_shown_to_the_organisation_or_to_all_is_seen_and_not_changed(hall, ann, bob, kind):
    org = ann.get("me").json()["org"]
    made = ann.post(
        f"{hall.url}/api/console/organisations/{org}/invitations",
        json={"email": "eve@example.com", "role": "developer"},
    ).json()
    eve = hall.page().sign_up("eve@example.com", invitation=made["token"])
    body = {"name": "N"} if kind == "assistants" else {"command": "n", "title": "N", "text": "Say {{what}}"}
    item = ann.post(kind, json={**body, "visibility": "organisation"}).json()
    assert [one["mine"] for one in eve.get(kind).json()] == [False]
    assert bob.get(kind).json() == []
    assert eve.delete(f"{kind}/{item['id']}").status_code == 404
    assert ann.patch(f"{kind}/{item['id']}", json={"visibility": "listed"}).status_code == 200
    assert [one["id"] for one in bob.get(kind).json()] == [item["id"]]
    assert bob.patch(f"{kind}/{item['id']}", json={"visibility": "private"}).status_code == 404


def test_pictures_are_judged_by_their_bytes(home):
    good = "data:image/png;base64," + base64.b64encode(picture(1)).decode()
    svg = "data:image/png;base64," + base64.b64encode(b"<svg onload=alert(1)>").decode()
    assert home.post("assistants", json={"name": "x", "picture": good}).json()["picture"] == good
    for bad in (svg, "https://example.org/x.png", "data:image/png;base64,%%%"):
        assert home.post("assistants", json={"name": "x", "picture": bad}).status_code == 400
    keys = {
        "name": "x",
        "visibility": "listed",
        "tools": {"mcp": [{"label": "a", "url": "https://a.example", "headers": {"x": "y"}}]},
    }
    assert home.post("assistants", json=keys).status_code == 400
