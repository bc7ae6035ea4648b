"""Models that draw: their answers are pictures, paid as the gateway's images, kept with the conversation."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest

from openglm.maas.moderation import WordList
from openglm.maas.upstreams import Channel
from tests.chat.conftest import YUAN, Hall, Page, script
from tests.maas.fake_upstream import picture

EACH = 60_000_000  # nano


@pytest.fixture
def hall(hall: Hall) -> Hall:
    hall.platform.router.add(Channel("draws", hall.upstream.url, {"cogview": "wire", "other": "wire"}))

    async def price() -> None:
        for model in ("cogview", "other"):
            await hall.platform.prices.set(model, per_image_nano=EACH)

    asyncio.run(price())
    return hall


@pytest.fixture
def rich(hall: Hall, ann: Page) -> Page:
    org = ann.get("me").json()["org"]
    asyncio.run(hall.platform.wallet.adjust(org, 10 * YUAN, idempotency_key="gift", reason="test"))
    return ann


def balance(hall: Hall, page: Page) -> int:
    return asyncio.run(hall.platform.wallet.balance(page.get("me").json()["org"])).balance_nano


def images(message: dict) -> list[dict]:
    return [part for part in message["parts"] if part["type"] == "image"]


def content(page: Page, part: dict) -> bytes:
    shown = page.get(f"attachments/{part['file_id']}/content")
    assert shown.status_code == 200
    assert shown.headers["content-type"] == "image/png"
    return shown.content


def test_the_page_is_told_which_models_draw_and_words_answer_by_default(rich: Page):
    me = rich.get("me").json()
    assert {card["id"]: card["draws"] for card in me["models"]} == {
        "air": False,
        "cogview": True,
        "glm": False,
        "other": True,
    }
    assert me["features"]["images"] is True
    assert me["default_model"] == "air"


def test_a_turn_is_answered_with_pictures_that_are_paid_and_live_with_the_conversation(
    hall: Hall, rich: Page, wait_until
):
    before = balance(hall, rich)
    talk = rich.begin(model="cogview")
    drawn = rich.answer(talk, "A lighthouse", wait_until, settings={"pictures": 2})
    assert (drawn["state"], drawn["text"], drawn["usage"]["images"]) == ("done", "", 2)
    assert drawn["cost"]["nano"] == 2 * EACH
    assert [content(rich, part) for part in images(drawn)] == [picture(0), picture(1)]
    assert [part["alt"] for part in images(drawn)] == ["better 0", "better 1"]
    assert hall.upstream.bodies[-1]["prompt"] == "A lighthouse"
    assert balance(hall, rich) == before - 2 * EACH
    assert all(row["expires_at"] is None for row in hall.rows("SELECT expires_at FROM file"))
    assert rich.delete(f"conversations/{talk}").status_code == 204
    assert hall.rows("SELECT 1 FROM file") == []


def test_nobody_else_sees_a_picture(hall: Hall, rich: Page, bob: Page, wait_until):
    (part,) = images(rich.answer(rich.begin(model="cogview"), "A cat", wait_until))
    assert bob.get(f"attachments/{part['file_id']}/content").status_code == 404


def test_models_that_draw_are_compared_and_answer_again(rich: Page, wait_until):
    talk = rich.begin()
    both = rich.say(talk, "A cat", models=["cogview", "glm"])["answers"]
    drawn, told = (rich.ended(talk, one["id"], wait_until) for one in both)
    assert (len(images(drawn)), images(told)) == (1, [])
    again = rich.post(f"messages/{told['id']}/answers", json={"client_id": uuid4().hex, "model": "other"})
    other = rich.ended(talk, again.json()["answers"][0]["id"], wait_until)
    assert (other["model"], len(images(other)), len(other["siblings"])) == ("other", 1, 3)


def test_a_model_of_words_goes_on_after_a_picture_and_is_told_of_it(hall: Hall, rich: Page, wait_until):
    talk = rich.begin(model="cogview")
    drawn = rich.answer(talk, "A cat", wait_until)
    rich.answer(talk, script(words=["Nice."]), wait_until, parent_id=drawn["id"], model="glm")
    said = next(body for body in reversed(hall.upstream.bodies) if len(body.get("messages", ())) >= 3)
    assert [turn["role"] for turn in said["messages"]] == ["user", "assistant", "user"]
    assert "better 0" in said["messages"][1]["content"]


@pytest.mark.parametrize("why", ["refused", "money", "moderation", "files"])
def test_what_is_not_drawn_is_a_failure_of_the_message_and_costs_nothing(
    hall: Hall, ann: Page, wait_until, why: str
):
    text, more = "A cat", {}
    if why != "money":
        org = ann.get("me").json()["org"]
        asyncio.run(hall.platform.wallet.adjust(org, YUAN, idempotency_key="gift", reason="test"))
    if why == "refused":
        text = script(status=400, message="no such thing")
    if why == "moderation":
        hall.platform.moderation = WordList({"violence": ["bloodbath"]})
        text = "A bloodbath"
    if why == "files":
        sent = ann.post("attachments", files={"file": ("a.png", picture(1))})
        more = {"attachments": [sent.json()["id"]]}
    before = balance(hall, ann)
    failed = ann.answer(ann.begin(model="cogview"), text, wait_until, **more)
    assert (failed["state"], images(failed)) == ("failed", [])
    assert failed["error"]["code"]
    assert balance(hall, ann) == before
    assert hall.rows("SELECT 1 FROM file WHERE purpose = 'image_output'") == []


def test_a_drawing_that_is_stopped_ends_at_once_and_what_was_paid_comes_after(
    hall: Hall, rich: Page, wait_until
):
    before = balance(hall, rich)
    talk = rich.begin(model="cogview")
    asked = len(hall.upstream.bodies)
    answer = rich.say(talk, script(pace_s=2.0))["answers"][0]
    wait_until(lambda: len(hall.upstream.bodies) > asked)
    assert rich.post(f"messages/{answer['id']}/stop").json()["state"] == "stopped"
    wait_until(lambda: images(rich.message(talk, answer["id"])))
    late = rich.message(talk, answer["id"])
    assert (late["state"], late["cost"]["nano"]) == ("stopped", EACH)
    assert balance(hall, rich) == before - EACH


def test_pictures_are_in_an_export_and_their_files_in_no_share(rich: Page, wait_until):
    talk = rich.begin(model="cogview")
    (part,) = images(rich.answer(talk, "A cat", wait_until))
    told = rich.get(f"conversations/{talk}/export", params={"as": "markdown"}).text
    assert f"![better 0](/api/chat/attachments/{part['file_id']}/content)" in told
    assert part["file_id"] in rich.get(f"conversations/{talk}/export").text
    made = rich.post(f"conversations/{talk}/shares", json={}).json()
    shared = rich.get(f"shared/{made['token']}").json()["messages"]
    assert part["file_id"] not in str(shared)
    assert shared[1]["parts"] == [{"type": "image", "alt": "better 0", "at": 0}]
