"""Turns, trees, and what the page reads of them."""

from __future__ import annotations

from uuid import uuid4

from tests.chat.conftest import listening, script


def test_a_turn_is_answered_with_its_usage_cost_and_times(hall, ann, wait_until):
    conversation = ann.begin()
    taken = ann.say(
        conversation, script(words=["think ", "Hello ", "there"], reasoning=1, prompt=7, cached=2)
    )
    assert taken["user"]["siblings"] == [taken["user"]["id"]]
    (running,) = taken["answers"]
    assert (running["state"], running["model"], running["parent_id"]) == (
        "running",
        "air",
        taken["user"]["id"],
    )
    answer = ann.ended(conversation, running["id"], wait_until)
    assert (answer["state"], answer["finish"]) == ("done", "stop")
    assert (answer["reasoning"], answer["text"]) == ("think ", "Hello there")
    assert answer["usage"] == {
        "input_uncached": 5,
        "cache_read": 2,
        "output_text": 2,
        "output_reasoning": 1,
        "images": 0,
    }
    assert answer["cost"]["nano"] == 0
    assert answer["cost"]["arithmetic"]
    assert answer["duration_ms"] >= answer["ttft_ms"] >= 0
    (row,) = hall.usage(answer["id"])
    assert (row["dialect"], row["endpoint"], row["key_id"]) == ("chat", "/api/chat", "key_browser")
    assert row["user_id"] == ann.get("me").json()["user"]["id"]


def test_the_model_reads_the_path_and_no_other_branch(hall, home, wait_until):
    conversation = home.begin(settings={"system": "Be brief.", "temperature": 0.5, "thinking": False})
    first = home.answer(conversation, script(words=["one"]), wait_until)
    home.answer(conversation, script(words=["two"]), wait_until, parent_id=first["id"])
    other = home.post(
        f"messages/{first['parent_id']}/edit", json={"text": script(words=["else"]), "client_id": "e"}
    ).json()
    ended = home.ended(conversation, other["answers"][0]["id"], wait_until)
    home.answer(conversation, "and now", wait_until, parent_id=ended["id"])
    body = next(one for one in hall.upstream.bodies if one["messages"][-1]["content"] == "and now")
    assert [turn["role"] for turn in body["messages"]] == ["system", "user", "assistant", "user"]
    assert body["messages"][0]["content"] == "Be brief."
    assert body["messages"][2]["content"] == "else"
    assert body["temperature"] == 0.5


def test_the_same_client_id_twice_is_one_turn(hall, home, wait_until):
    conversation, name = home.begin(), uuid4().hex
    first = home.say(conversation, script(tokens=2), client_id=name)
    again = home.say(conversation, script(tokens=2), client_id=name)
    assert again["user"]["id"] == first["user"]["id"]
    assert [one["id"] for one in again["answers"]] == [one["id"] for one in first["answers"]]
    home.ended(conversation, first["answers"][0]["id"], wait_until)
    assert home.say(conversation, script(tokens=2), client_id=name)["answers"][0]["state"] == "done"
    assert len(hall.usage(first["answers"][0]["id"])) == 1
    assert len(hall.rows("SELECT id FROM chat_message WHERE conversation_id = :id", id=conversation)) == 2


def test_regenerating_and_comparing_make_siblings(home, wait_until):
    conversation = home.begin()
    first = home.answer(conversation, script(words=["one"]), wait_until)
    path = f"messages/{first['id']}/answers"
    (second,) = home.post(path, json={"client_id": "b", "model": "air"}).json()["answers"]
    assert home.ended(conversation, second["id"], wait_until)["siblings"] == [first["id"], second["id"]]
    both = home.post(
        f"messages/{first['parent_id']}/answers", json={"client_id": "c", "models": ["air", "glm"]}
    ).json()["answers"]
    assert [one["model"] for one in both] == ["air", "glm"]
    for one in both:
        assert home.ended(conversation, one["id"], wait_until)["state"] == "done"
    siblings = home.message(conversation, both[0]["id"])["siblings"]
    assert siblings == [first["id"], second["id"], *(one["id"] for one in both)]
    home.patch(f"conversations/{conversation}", json={"leaf_id": first["id"]})
    assert home.open(conversation)["path"][-1]["id"] == first["id"]


def test_a_branch_is_shown_to_its_newest_end(home, wait_until):
    conversation = home.begin()
    first = home.answer(conversation, script(words=["one"]), wait_until)
    below = home.answer(conversation, script(words=["two"]), wait_until, parent_id=first["id"])
    home.post(f"messages/{first['id']}/answers", json={"client_id": "b"})
    assert home.open(conversation)["path"][-1]["id"] not in (first["id"], below["id"])
    shown = home.open(conversation, leaf=first["id"])["path"]
    assert shown[-1]["id"] == below["id"]


def test_nobody_speaks_while_an_answer_before_is_written(hall, home, wait_until):
    conversation = home.begin()
    answer = home.say(conversation, script(tokens=100_000, pace_s=0.005))["answers"][0]
    body = {"text": "wait", "parent_id": answer["id"], "client_id": "x"}
    refused = home.post(f"conversations/{conversation}/turns", json=body)
    assert refused.status_code == 409
    assert "hint" in refused.json()["error"]["message"]
    assert home.post(f"messages/{answer['id']}/stop").json()["state"] == "stopped"


def test_stopping_ends_the_upstream_and_pays_exactly_what_it_wrote(hall, ann, wait_until):
    conversation = ann.begin()
    with listening(ann, f"conversations/{conversation}/events") as heard:
        answer = ann.say(conversation, script(tokens=100_000, pace_s=0.003))["answers"][0]
        wait_until(lambda: len(heard.messages.get(answer["id"], {}).get("text", "")) > 100)
        stopped = ann.post(f"messages/{answer['id']}/stop").json()
    assert stopped["state"] == "stopped"
    (row,) = hall.usage(answer["id"])
    billed = hall.upstream.billed[row["request_id"]]
    assert row["output_text"] == billed["completion"] == stopped["usage"]["output_text"]
    assert row["status"] == "partial"
    assert hall.upstream.open == 0
    assert ann.post(f"messages/{answer['id']}/stop").json() == ann.message(conversation, answer["id"])


def test_titles_come_from_the_words_then_the_model_then_the_user(hall, home, wait_until):
    hall.upstream.plays = lambda body: (
        {"words": ['"A fine title."\n']} if "Write a title" in str(body["messages"]) else {"words": ["Yes."]}
    )
    conversation = home.begin()
    assert home.open(conversation)["title"] == ""
    home.say(conversation, "Is this a rather long question of somebody who likes to write a lot of words?")
    assert home.open(conversation)["title"].startswith("Is this a rather long question")
    wait_until(lambda: home.open(conversation)["title"] == "A fine title")
    home.patch(f"conversations/{conversation}", json={"title": "Mine"})
    assert home.open(conversation)["title"] == "Mine"


def test_settings_of_a_turn_hold_for_it_alone(hall, home, wait_until):
    conversation = home.begin(settings={"temperature": 0.5})
    home.answer(conversation, "one", wait_until, settings={"temperature": 0.25, "effort": "high"})
    assert hall.upstream.bodies[0]["temperature"] == 0.25
    assert home.open(conversation)["settings"]["temperature"] == 0.5


def test_lists_are_paged_with_the_pinned_on_top(home):
    made = [home.begin(title=str(number)) for number in range(5)]
    home.patch(f"conversations/{made[0]}", json={"pinned": True})
    home.patch(f"conversations/{made[1]}", json={"archived": True})
    home.begin(title="secret", temporary=True)
    page = home.get("conversations", params={"limit": 2}).json()
    assert [one["title"] for one in page["items"]] == ["0", "4", "3"]
    rest = home.get("conversations", params={"limit": 2, "before": page["next"]}).json()
    assert ([one["title"] for one in rest["items"]], rest["next"]) == (["2"], None)
    assert [one["title"] for one in home.get("conversations?archived=true").json()["items"]] == ["1"]


def test_a_temporary_conversation_is_gone_when_it_is_closed(hall, home, wait_until):
    conversation = home.begin(temporary=True)
    home.answer(conversation, "hello", wait_until)
    assert home.post(f"conversations/{conversation}/close").status_code == 204
    assert home.get(f"conversations/{conversation}").status_code == 404
    for table in ("chat_message", "chat_send", "chat_piece"):
        assert hall.rows(f"SELECT 1 FROM {table}") == []
    kept = home.begin()
    assert home.post(f"conversations/{kept}/close").status_code == 204
    assert home.get(f"conversations/{kept}").status_code == 200


def test_deleting_a_conversation_stops_what_is_written_in_it(hall, home, wait_until):
    conversation = home.begin()
    home.say(conversation, script(tokens=100_000, pace_s=0.003))
    wait_until(lambda: hall.upstream.open == 1)
    assert home.delete(f"conversations/{conversation}").status_code == 204
    wait_until(lambda: hall.upstream.open == 0)
    wait_until(lambda: not hall.rows("SELECT 1 FROM hold WHERE state = 'open'"))
    assert hall.rows("SELECT 1 FROM chat_message") == []


def test_a_path_of_ten_thousand_messages_is_read_from_its_end(hall, home, wait_until):
    conversation = home.begin()
    now = 1_700_000_000_000
    rows, parent = [], None
    for number in range(10_000):
        name = f"msg_{now + number:012x}{number:014x}"
        role = "user" if number % 2 == 0 else "assistant"
        rows.append(
            {"id": name, "c": conversation, "p": parent, "r": role, "t": f"words {number} " * 20, "at": now}
        )
        parent = name

    def fill(tx):
        tx.many(
            "INSERT INTO chat_message (id, conversation_id, parent_id, role, state, created_at, text)"
            " VALUES (:id, :c, :p, :r, 'done', :at, :t)",
            rows,
        )
        tx.run("UPDATE chat_conversation SET leaf_id = :leaf WHERE id = :id", leaf=parent, id=conversation)

    hall.platform.database.write_now(fill)
    opened = home.open(conversation)
    assert len(opened["path"]) == 60
    earlier = home.get(
        f"conversations/{conversation}/messages", params={"before": opened["earlier"], "limit": 100}
    ).json()
    assert [one["id"] for one in earlier["path"]] == [row["id"] for row in rows[-160:-60]]
    assert earlier["earlier"] == earlier["path"][0]["id"]
    answer = home.answer(conversation, script(words=["fine"]), wait_until, parent_id=parent)
    assert answer["text"] == "fine"
    assert home.open(conversation, leaf=rows[0]["id"])["path"][-1]["id"] == answer["id"]
