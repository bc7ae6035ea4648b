"""Listening: everybody hears the same, nothing twice, and answers go on whoever listens."""

from __future__ import annotations

import httpx
import pytest

from tests.chat.conftest import hall_of, listening, script


def events_of(conversation: str) -> str:
    return f"conversations/{conversation}/events"


def test_two_listeners_and_one_who_comes_late_hear_the_same_characters(home, wait_until):
    conversation = home.begin()
    with listening(home, events_of(conversation)) as first, listening(home, events_of(conversation)) as other:
        answer = home.say(conversation, script(tokens=400, pace_s=0.002, reasoning=20))["answers"][0]
        wait_until(lambda: len(first.messages.get(answer["id"], {}).get("text", "")) > 200)
        with listening(home, events_of(conversation)) as late:
            wait_until(
                lambda: all(
                    one.messages.get(answer["id"], {}).get("state") == "done" for one in (first, other, late)
                )
            )
    whole = "".join(f"w{index} " for index in range(20, 400))
    for one in (first, other, late):
        assert told(one, answer["id"]) == whole
    assert late.names()[0] == "state"
    assert late.events[0][2]["messages"][0]["text"]
    assert first.messages == other.messages


def told(heard, message_id: str) -> str:
    """The text as a page puts it together of the state and the deltas, before the last whole message."""
    text = ""
    for _, name, data in heard.events:
        if name == "state":
            text = next((one["text"] for one in data["messages"] if one["id"] == message_id), "")
        elif name == "delta" and data["id"] == message_id:
            text += data.get("text", "")
    return text


def test_who_comes_back_by_the_last_event_misses_and_repeats_nothing(home, wait_until):
    conversation = home.begin()
    with listening(home, events_of(conversation)) as before:
        answer = home.say(conversation, script(tokens=600, pace_s=0.002))["answers"][0]
        wait_until(lambda: len(told(before, answer["id"])) > 300)
    heard = list(before.events)
    with listening(home, events_of(conversation), last=heard[-1][0]) as after:
        wait_until(lambda: done(after))
    before.events = heard + after.events
    assert "state" not in after.names()
    assert told(before, answer["id"]) == "".join(f"w{index} " for index in range(600))
    numbers = [int(number.partition(".")[2]) for number, _, _ in before.events]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def done(heard) -> bool:
    return any(
        name == "message" and (data["role"], data["state"]) == ("assistant", "done")
        for _, name, data in heard.events
    )


def test_a_page_goes_on_from_what_it_opened(home, wait_until):
    """`at` of an opened conversation is where its text ends."""
    conversation = home.begin()
    answer = home.say(conversation, script(tokens=500, pace_s=0.002))["answers"][0]
    wait_until(lambda: home.message(conversation, answer["id"])["text"])
    opened = home.open(conversation)
    begun = opened["path"][-1]
    with listening(home, events_of(conversation) + f"?after={opened['at']}", last=None) as heard:
        wait_until(lambda: done(heard))
    assert "state" not in heard.names()
    assert begun["text"] + told(heard, answer["id"]) == "".join(f"w{index} " for index in range(500))


def test_an_id_of_another_time_gives_the_state_anew(home, wait_until):
    conversation = home.begin()
    for last in ("0000.7", "garbage", "1.2.3", "9" * 50):
        with listening(home, events_of(conversation), last=last) as heard:
            wait_until(lambda heard=heard: heard.events)
            assert heard.names()[0] == "state"


def test_the_answer_goes_on_when_nobody_listens(hall, home, wait_until):
    conversation = home.begin()
    with listening(home, events_of(conversation)) as heard:
        answer = home.say(conversation, script(tokens=300, pace_s=0.002))["answers"][0]
        wait_until(lambda: told(heard, answer["id"]))
    home.close()
    page = hall.page()
    assert page.ended(conversation, answer["id"], wait_until)["text"].endswith("w299 ")
    assert len(hall.usage(answer["id"])) == 1


def test_two_tabs_agree_on_the_list(home, wait_until):
    with listening(home, "events") as heard:
        conversation = home.begin(title="Mine")
        answer = home.say(conversation, script(tokens=3))["answers"][0]
        home.ended(conversation, answer["id"], wait_until)
        home.patch(f"conversations/{conversation}", json={"title": "Yours"})
        home.begin(temporary=True)
        home.delete(f"conversations/{conversation}")
        wait_until(lambda: "deleted" in heard.names())
    rows = [data for _, name, data in heard.events if name == "conversation"]
    assert [row["title"] for row in (rows[0], rows[-1])] == ["Mine", "Yours"]
    assert True in [row["running"] for row in rows]
    assert {row["id"] for row in rows} == {conversation}


def test_streams_end_in_order_when_the_server_stops_and_answers_end_within_the_grace(
    database_url, tmp_path, upstream, wait_until
):
    with hall_of(database_url, tmp_path, upstream) as hall:
        page = hall.page()
        conversation = page.begin()
        with listening(page, events_of(conversation)) as heard, listening(page, "events") as listed:
            answer = page.say(conversation, script(tokens=100, pace_s=0.003))["answers"][0]
            wait_until(lambda: told(heard, answer["id"]))
            hall.stop()
            wait_until(lambda: heard.over and listed.over)
    with hall_of(database_url, tmp_path, upstream) as hall:
        kept = hall.page().message(conversation, answer["id"])
        assert (kept["state"], kept["usage"]["output_text"]) == ("done", 100)


def test_what_is_still_written_when_the_grace_is_over_is_interrupted_and_paid(
    database_url, tmp_path, upstream, wait_until
):
    with hall_of(database_url, tmp_path, upstream) as hall:
        page = hall.page()
        conversation = page.begin()
        answer = page.say(conversation, script(tokens=1_000_000, pace_s=0.003))["answers"][0]
        wait_until(lambda: page.message(conversation, answer["id"])["text"])
        hall.stop()
    with hall_of(database_url, tmp_path, upstream) as hall:
        kept = hall.page().message(conversation, answer["id"])
        assert kept["state"] == "interrupted"
        (row,) = hall.usage(answer["id"])
        assert row["output_text"] == kept["usage"]["output_text"]
        assert kept["usage"]["output_text"] == upstream.billed[row["request_id"]]["completion"]


@pytest.mark.slow
def test_five_megabytes_and_a_line_of_one_reach_every_listener_whole(hall, home, wait_until):
    line = "长" * 200_000 + "x" * 800_000
    words = [line, "\n", *(f"{number:07d} " * 1_000 for number in range(500))]
    conversation = home.begin()
    with listening(home, events_of(conversation)) as heard:
        hall.upstream.always = {"words": words}
        answer = home.say(conversation, "a lot")["answers"][0]
        wait_until(lambda: done(heard))
        with listening(home, events_of(conversation)) as late:
            wait_until(lambda: late.events)
    whole = "".join(words)
    assert len(whole) > 5_000_000
    assert told(heard, answer["id"]) == whole
    assert home.message(conversation, answer["id"])["text"] == whole
    assert hall.rows("SELECT 1 FROM chat_piece") == []


def test_a_stranger_hears_nothing(hall, ann, bob):
    conversation = ann.begin()
    assert bob.get(events_of(conversation)).status_code == 404
    assert httpx.get(f"{hall.url}/api/chat/events").status_code == 401
