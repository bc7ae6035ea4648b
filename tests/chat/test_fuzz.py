"""Schemathesis against the whole chat: no failure of ours, answers as the document says, and nothing of one
tenant for another."""

from __future__ import annotations

import pytest

from tests.chat.conftest import script
from tests.maas.console.test_fuzz import CHECKS, EXAMPLES, fuzz, rows_of

ENDLESS = r"/events$"  # streams; tests/chat/test_events.py has them
MARK = "swordfish"


@pytest.fixture
def quick(hall):
    """The model answers whatever it is asked in a word."""
    hall.upstream.plays = lambda body: {"words": ["Yes."]}


def settle(page, wait_until, *, word: str) -> dict[str, str]:
    """One of everything that has an id, with the word in it; the ids by their parameter's name."""
    conversation = page.begin(title=word)
    answer = page.answer(conversation, script(words=[word]), wait_until)
    file = page.post("attachments", files={"file": (f"{word}.txt", word.encode())}).json()["id"]
    made = {
        kind: page.post(kind, json=body).json()["id"]
        for kind, body in (
            ("projects", {"name": word, "files": [file]}),
            ("assistants", {"name": word, "visibility": "organisation"}),
            ("prompts", {"command": word, "title": word, "text": word}),
            ("memories", {"text": word}),
        )
    }
    return {
        "conversation_id": conversation,
        "message_id": answer["id"],
        "leaf_id": answer["id"],
        "parent_id": answer["id"],
        "leaf": answer["id"],
        "before": answer["id"],
        "attachment_id": file,
        "share_id": page.post(f"conversations/{conversation}/shares", json={}).json()["id"],
        "org": page.get("me").json()["org"],
        "project_id": made["projects"],
        "project": made["projects"],
        "assistant_id": made["assistants"],
        **made,
    }


def put(case, ids: dict[str, str], *, everywhere: bool) -> None:
    """Ids in the path always, and in the query and the body wherever a field has such a name."""
    for name in case.path_parameters:
        kind = case.path.split("/")[1] if name == "item_id" else name
        case.path_parameters[name] = ids.get(kind, case.path_parameters[name])
    for part in (case.body, case.query) if everywhere else ():
        if isinstance(part, dict):
            part.update({name: ids[name] for name in part.keys() & ids.keys()})


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_no_input_makes_the_chat_fail(ann, wait_until):
    ids = settle(ann, wait_until, word=MARK)

    def check(case, sent):
        if case.method != "DELETE":  # what is there is asked for until the end
            put(case, ids, everywhere=False)
        case.call_and_validate(**sent, checks=CHECKS)

    assert fuzz(ann, check, leave_out=ENDLESS) > 30 * EXAMPLES
    assert ann.open(ids["conversation_id"])["path"]


@pytest.mark.slow
def test_no_input_brings_one_tenant_to_what_is_anothers(hall, ann, bob, wait_until):
    ids = settle(ann, wait_until, word=MARK)
    mine = settle(bob, wait_until, word="mine")
    hall.upstream.plays = lambda body: {"words": ["Yes."]}
    before, opened = rows_of(hall, ids["org"]), ann.open(ids["conversation_id"])
    reached = set()

    def check(case, sent):
        put(case, ids, everywhere=True)
        answer = case.call(**sent)
        assert MARK not in answer.text, (case.method, case.path)
        if "{" in case.path and "{token}" not in case.path:
            reached.add((case.method, case.path))
            assert 400 <= answer.status_code < 500, (case.method, case.path, answer.text)

    assert fuzz(bob, check, leave_out=ENDLESS) > 30 * EXAMPLES
    assert len(reached) > 25
    assert rows_of(hall, ids["org"]) == before
    assert ann.open(ids["conversation_id"]) | {"at": ""} == opened | {"at": ""}
    assert bob.open(mine["conversation_id"])["path"]
