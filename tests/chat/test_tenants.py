"""Who may: nobody reaches what belongs to others, pages of other sites nothing at all."""

from __future__ import annotations

import json

import pytest

from openglm.chat import PATH
from openglm.chat.app import PARTS
from tests.chat.conftest import document_of, listening, script


@pytest.fixture
def anns(hall, ann, wait_until):
    """An id of Ann's for each name that a path may have."""
    conversation = ann.begin(title="of ann")
    answer = ann.answer(conversation, script(words=["a secret of ann"]), wait_until)
    file = ann.post("attachments", files={"file": ("secret.txt", b"a secret of ann")}).json()
    share = ann.post(f"conversations/{conversation}/shares", json={}).json()
    items = {
        kind: ann.post(kind, json=body).json()["id"]
        for kind, body in (
            ("projects", {"name": "secret"}),
            ("assistants", {"name": "secret"}),
            ("prompts", {"command": "x", "title": "secret", "text": "secret"}),
            ("memories", {"text": "secret"}),
        )
    }
    return {
        "conversation_id": conversation,
        "message_id": answer["id"],
        "attachment_id": file["id"],
        "document_id": document_of(hall, ann, wait_until, "secret.txt", "a secret of ann"),
        "share_id": share["id"],
        "token": share["id"],
        **items,
    }


BODIES = {
    ("POST", "/conversations/{conversation_id}/turns"): {"text": "hi", "client_id": "x"},
    ("POST", "/messages/{message_id}/answers"): {"client_id": "x"},
    ("POST", "/messages/{message_id}/edit"): {"text": "hi", "client_id": "x"},
    ("POST", "/messages/{message_id}/rating"): {"value": 1},
    ("PATCH", "/conversations/{conversation_id}"): {"title": "mine now"},
    ("POST", "/conversations/{conversation_id}/shares"): {},
    ("PATCH", "/projects/{item_id}"): {"name": "mine now"},
    ("PATCH", "/assistants/{item_id}"): {"name": "mine now"},
    ("PATCH", "/prompts/{item_id}"): {"title": "mine now"},
    ("PATCH", "/memories/{item_id}"): {"text": "mine now"},
}


def paths() -> list[tuple[str, str]]:
    """Every route of the document that takes an id."""
    found = [
        (method, route.path)
        for part in PARTS
        for route in part.router.routes
        for method in sorted(route.methods)
        if "{" in route.path
    ]
    assert len(found) >= 25
    return found


def test_ids_of_others_are_not_found_on_any_route(hall, ann, bob, anns, wait_until):
    before = ann.open(anns["conversation_id"])
    for method, path in paths():
        ids = {**anns, "item_id": anns.get(path.split("/")[1])}
        answer = bob.request(
            method, path.format(**ids)[1:], json=BODIES.get((method, path)), params={"before": "msg_1"}
        )
        assert answer.status_code == 404, (method, path, answer.text)
        assert answer.json()["error"]["code"] == "not_found"
        assert "secret" not in answer.text
    after = ann.open(anns["conversation_id"])
    assert after | {"at": ""} == before | {"at": ""}
    assert bob.get("conversations").json()["items"] == []
    assert bob.get("search", params={"q": "secret"}).json()["items"] == []
    for kind in ("projects", "assistants", "prompts", "memories"):
        assert bob.get(kind).json() == []
        assert [one["id"] for one in ann.get(kind).json()] == [anns[kind]]


def test_a_message_of_another_conversation_is_not_found_in_ones_own(ann, bob, anns):
    mine = bob.begin()
    assert bob.get(f"conversations/{mine}", params={"leaf": anns["message_id"]}).status_code == 404
    assert bob.patch(f"conversations/{mine}", json={"leaf_id": anns["message_id"]}).status_code == 404
    body = {"text": "hi", "client_id": "x", "parent_id": anns["message_id"]}
    assert bob.post(f"conversations/{mine}/turns", json=body).status_code == 404
    body = {"text": "hi", "client_id": "x", "attachments": [anns["attachment_id"]]}
    assert bob.post(f"conversations/{mine}/turns", json=body).status_code == 404
    assert bob.patch(f"conversations/{mine}", json={"project_id": anns["projects"]}).status_code == 404
    assert bob.patch(f"conversations/{mine}", json={"assistant_id": anns["assistants"]}).status_code == 404
    assert bob.post("projects", json={"name": "x", "files": [anns["attachment_id"]]}).status_code == 404
    earlier = bob.get(f"conversations/{mine}/messages", params={"before": anns["message_id"]})
    assert earlier.status_code == 404


def test_an_organisation_one_does_not_belong_to_is_not_found(hall, ann, bob):
    org = ann.get("me").json()["orgs"][0]["id"]
    assert ann.get("me", params={"org": org}).json()["org"] == org
    assert bob.get("me", params={"org": org}).status_code == 404


def test_writes_need_the_csrf_token_and_our_own_page(hall, ann, anns):
    path = f"conversations/{anns['conversation_id']}"
    token = ann.headers.pop("x-csrf-token")
    assert ann.patch(path, json={"title": "x"}).status_code == 403
    assert ann.post(f"{path}/turns", json={"text": "x", "client_id": "x"}).status_code == 403
    ann.headers["x-csrf-token"] = token
    foreign = ann.patch(path, json={"title": "x"}, headers={"origin": "https://evil.example"})
    assert foreign.status_code == 403
    assert ann.open(anns["conversation_id"])["title"] == "of ann"


def test_a_household_is_closed_to_pages_of_other_sites(hall, home):
    conversation = home.begin()
    for headers in (
        {"origin": "https://evil.example"},
        {"origin": "http://localhost:9"},
        {"sec-fetch-site": "cross-site"},
    ):
        refused = home.delete(f"conversations/{conversation}", headers=headers)
        assert refused.status_code in (401, 403)
    assert home.get("conversations", headers={"x-forwarded-for": "1.2.3.4"}).status_code == 401
    assert home.get(f"conversations/{conversation}").status_code == 200


def test_the_first_account_takes_over_what_the_household_wrote(hall, home, wait_until):
    me = home.get("me").json()
    assert (me["household"], me["user"], me["default_model"]) == (True, None, "air")
    conversation = home.begin(title="from before")
    file = home.post("attachments", files={"file": ("note.txt", b"of the household")}).json()["id"]
    home.post("memories", json={"text": "Lives here."})
    home.put("memory", json={"on": False})
    first = home.answer(conversation, script(words=["kept"]), wait_until)
    running = home.say(conversation, script(tokens=400, pace_s=0.003), parent_id=first["id"])["answers"][0]
    ann = hall.page().sign_up("ann@example.com", setup=hall.platform.installation.setup_token)
    with listening(ann, f"conversations/{conversation}/events") as heard:
        wait_until(lambda: heard.messages.get(running["id"], {}).get("state") == "done")
    assert [one["title"] for one in ann.get("conversations").json()["items"]] == ["from before"]
    assert ann.message(conversation, running["id"])["usage"]["output_text"] == 400
    again = ann.answer(conversation, script(words=["more"]), wait_until, parent_id=running["id"])
    assert again["text"] == "more"
    assert ann.get(f"attachments/{file}/content").content == b"of the household"
    assert [one["text"] for one in ann.get("memories").json()] == ["Lives here."]
    assert ann.get("memory").json() == {"on": False, "grows": False}
    assert len(ann.get("search", params={"q": "kept"}).json()["items"]) == 2
    wait_until(lambda: home.get("conversations").status_code == 401)
    bob = hall.page().sign_up("bob@example.com")
    assert bob.get("conversations").json()["items"] == []


def test_who_has_only_a_seat_to_look_may_not_talk(hall, ann):
    org = ann.get("me").json()["org"]
    made = ann.post(
        f"{hall.url}/api/console/organisations/{org}/invitations",
        json={"email": "eve@example.com", "role": "viewer"},
    ).json()
    eve = hall.page().sign_up("eve@example.com", invitation=made["token"])
    assert eve.get("me").status_code == 403


def test_the_document_names_every_route(hall, ann):
    page = ann.get("docs")
    assert page.status_code == 200
    assert PATH in json.dumps(page.text)
