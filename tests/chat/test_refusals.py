"""What the platform refuses is said in the message, with its code; what was typed is kept."""

from __future__ import annotations

import asyncio

import pytest

from openglm.maas.models import Model
from openglm.maas.quotas.quotas import Limit
from tests.chat.conftest import YUAN, hall_of, script


@pytest.fixture
def priced(hall, ann):
    """Ann pays for the model, and has nothing."""
    asyncio.run(hall.platform.prices.set_per_million("glm", uncached="1", cached="0.25", output="4"))
    return ann.get("me").json()["org"]


def test_an_empty_wallet_fails_the_answer_and_keeps_the_words(hall, ann, priced, wait_until):
    conversation = ann.begin(model="glm")
    failed = ann.answer(conversation, "What I typed", wait_until)
    assert (failed["state"], failed["text"], failed["usage"]) == ("failed", "", None)
    assert failed["error"]["code"] == "insufficient_quota"
    assert failed["error"]["hint"] == "top up the wallet, or ask for fewer tokens"
    assert ann.message(conversation, failed["parent_id"])["text"] == "What I typed"
    asyncio.run(hall.platform.wallet.top_up(priced, YUAN, idempotency_key="one"))
    (again,) = ann.post(f"messages/{failed['id']}/answers", json={"client_id": "again"}).json()["answers"]
    done = ann.ended(conversation, again["id"], wait_until)
    (row,) = hall.usage(again["id"])
    assert done["cost"]["nano"] == row["cost_nano"] > 0
    assert done["cost"]["credits"] is None
    assert done["cost"]["arithmetic"] == row["arithmetic"].splitlines()


def test_a_budget_that_is_spent_says_so(hall, ann, priced, wait_until):
    asyncio.run(hall.platform.wallet.top_up(priced, YUAN, idempotency_key="one"))
    asyncio.run(hall.platform.budgets.set(priced, "org", priced, "day", 0))
    failed = ann.answer(ann.begin(model="glm"), "hello", wait_until)
    assert (failed["state"], failed["error"]["code"]) == ("failed", "budget_exhausted")


def test_unknown_models_and_broken_upstreams_say_so(hall, ann, wait_until):
    conversation = ann.begin()
    unknown = ann.answer(conversation, "hello", wait_until, model="nobody")
    assert unknown["error"]["code"] == "model_not_found"
    broken = ann.answer(conversation, script(status=500), wait_until, model="glm")
    assert broken["error"]["code"] in ("upstream_failure", "overloaded", "internal_error")
    half = ann.answer(conversation, script(tokens=9, dies=4), wait_until, model="air")
    assert (half["state"], half["text"]) == ("failed", "w0 w1 w2 w3 ")
    assert half["usage"]["output_text"] == 4
    assert half["error"]["message"]


def test_moderation_refuses_in_the_message(database_url, tmp_path, upstream, wait_until):
    (tmp_path / "moderation.toml").write_text('violence = ["forbidden word"]\n')
    with hall_of(database_url, tmp_path, upstream) as hall:
        page = hall.page()
        conversation = page.begin()
        failed = page.answer(conversation, "a forbidden word", wait_until)
        assert (failed["state"], failed["error"]["code"]) == ("failed", "content_filter")
        assert page.message(conversation, failed["parent_id"])["text"] == "a forbidden word"


def test_a_window_that_is_too_small_leaves_the_oldest_turns_out(hall, home, wait_until):
    def plays(body):
        if len(body["messages"]) > 3:
            message = (
                "This model's maximum context length is 100 tokens. However, you requested 110 tokens"
                " (100 in the messages, 10 in the completion)."
            )
            return {"status": 400, "message": message}
        return {"words": ["fits"]}

    hall.upstream.plays = plays
    conversation, parent = home.begin(), None
    for _ in range(3):
        answer = home.answer(conversation, "Some words.", wait_until, parent_id=parent)
        assert answer["state"] == "done", answer
        parent = answer["id"]
    assert answer["parts"] == [{"type": "cut", "messages": 2, "at": 0}]


@pytest.mark.parametrize(
    "body",
    [
        {"text": "", "client_id": "x"},
        {"text": "hi"},
        {"text": "a\x00b", "client_id": "x"},
        {"text": "hi", "client_id": "x", "model": "a", "models": ["a", "b"]},
        {"text": "hi", "client_id": "x", "models": ["a"]},
        {"text": "hi", "client_id": "x", "odd": 1},
        {"text": "hi", "client_id": "x", "settings": {"temperature": 3}},
    ],
)
def test_a_turn_that_is_wrong_is_refused_whole(hall, home, body):
    conversation = home.begin()
    refused = home.post(f"conversations/{conversation}/turns", json=body)
    assert refused.status_code in (400, 422)
    assert refused.json()["error"]["message"]
    assert hall.rows("SELECT 1 FROM chat_message") == []


def test_half_a_character_is_refused_in_words(hall, home):
    conversation = home.begin()
    refused = home.post(
        f"conversations/{conversation}/turns",
        content=b'{"text": "\\ud800", "client_id": "x"}',
        headers={"content-type": "application/json"},
    )
    assert refused.status_code == 422
    assert "half a character" in refused.json()["error"]["message"]


def test_what_a_model_says_is_kept_whatever_it_is(home, wait_until):
    answer = home.answer(home.begin(), script(words=["a\x00b", "😀", "é"]), wait_until)
    assert answer["text"] == "a\ufffdb😀é"


def test_a_full_house_takes_no_conversation_more_and_no_part_of_a_file(hall, ann):
    org = ann.get("me").json()["org"]
    kept = ann.begin(title="first")
    file = ann.get(f"conversations/{kept}/export").json()
    asyncio.run(hall.platform.quotas.set(Limit(org, "conversations", 2)))
    refused = ann.post("import", json=[file, file])
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "quota_reached")
    assert ann.post("import", json=file).status_code == 201
    refused = ann.post("conversations", json={"temporary": True})
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "quota_reached")
    assert "may have 2 conversations, got 2 and 1 more" in refused.json()["error"]["message"]
    ann.delete(f"conversations/{kept}")
    assert ann.post("conversations", json={}).status_code == 201
    assert len(hall.rows("SELECT 1 FROM chat_conversation")) == 2


def test_what_a_model_can_do_is_told_where_somebody_knows_it(hall, ann):
    platform = hall.platform

    async def add() -> None:
        await platform.models.put(Model("thinker", source="glm-4.6"))
        await platform.models.put(Model("small", source="smollm2"))
        await platform.models.put(Model("nick", alias_of="small"))

    asyncio.run(add())
    answer = ann.get("me")
    assert float(answer.headers["server-timing"].removeprefix("app;dur=")) > 0
    told = {
        card["id"]: (card["context"], card["thinks"], card["sees_images"]) for card in answer.json()["models"]
    }
    assert told == {
        "glm": (None, None, None),
        "air": (None, None, None),
        "thinker": (202_752, True, False),
        "small": (8_192, False, False),
        "nick": (8_192, False, False),
    }
