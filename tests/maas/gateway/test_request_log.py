"""The request log: refusals leave a row, bodies are kept only where a project asked for it."""

from __future__ import annotations

import asyncio

import pytest

from openglm.maas.operate import request_log

HELLO = {"model": "glm", "messages": [{"role": "user", "content": "a private question"}]}


@pytest.fixture
def logged(house, wait_until):
    """The rows of the log once there are so many."""

    def rows(count: int):
        wait_until(lambda: len(house.rows("SELECT 1 FROM request_log")) == count)
        return asyncio.run(house.platform.request_log.page(house.org_id))

    return rows


@pytest.fixture
def keeps_bodies(house):
    (project,) = asyncio.run(house.platform.projects.list(house.org_id))
    asyncio.run(house.platform.projects.keep_bodies(house.org_id, project.id, 7))
    house.platform.keys.forget()
    return project


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/api/paas/v4/chat/completions", "/v1/messages"])
def test_a_refusal_leaves_a_row_without_bodies(house, logged, path):
    answer = house.post(path, {**HELLO, "max_tokens": 10, "model": "nothing-like-it"})
    (row,) = logged(1)
    assert row.status == answer.status_code
    assert (row.path, row.model, row.failure) == (path, "nothing-like-it", "ModelNotFound")
    assert row.request_id == answer.headers["x-request-id"]
    _, bodies = asyncio.run(house.platform.request_log.one(house.org_id, row.request_id))
    assert bodies == request_log.Bodies(None, None)


def test_what_went_well_leaves_only_its_usage_row(house, wait_until):
    assert house.post("/v1/chat/completions", HELLO).status_code == 200
    house.settled(wait_until)
    assert len(house.usage()) == 1
    assert house.rows("SELECT 1 FROM request_log") == []


def test_strangers_leave_no_rows(house):
    assert house.post("/v1/chat/completions", HELLO, key="key_x.y").status_code == 401
    assert house.rows("SELECT 1 FROM request_log") == []


@pytest.mark.parametrize("stream", [False, True])
def test_a_project_can_keep_whole_requests(house, logged, keeps_bodies, stream):
    answer = house.post("/v1/chat/completions", {**HELLO, "stream": stream})
    (row,) = logged(1)
    assert (row.status, row.failure) == (200, None)
    _, bodies = asyncio.run(house.platform.request_log.one(house.org_id, row.request_id))
    assert "a private question" in bodies.asked
    assert bodies.answered == answer.text


def test_kept_bodies_are_not_in_the_database_in_clear(house, logged, keeps_bodies):
    house.post("/v1/chat/completions", HELLO)
    logged(1)
    (row,) = house.rows("SELECT * FROM request_log")
    assert b"private" not in bytes(row["asked"])


def test_a_refusal_of_a_project_that_keeps_bodies_is_one_row_with_bodies(house, logged, keeps_bodies):
    house.post("/v1/chat/completions", {**HELLO, "model": "no"})
    (row,) = logged(1)
    assert row.failure == "ModelNotFound"
    _, bodies = asyncio.run(house.platform.request_log.one(house.org_id, row.request_id))
    assert "a private question" in bodies.asked


def test_a_long_body_is_cut_and_the_row_says_so(house, logged, keeps_bodies, monkeypatch):
    monkeypatch.setattr(request_log, "MAX_BODY", 50)
    house.post("/v1/chat/completions", HELLO)
    (row,) = logged(1)
    assert row.is_cut
    _, bodies = asyncio.run(house.platform.request_log.one(house.org_id, row.request_id))
    assert len(bodies.asked) == 50


def test_rows_expire(house, logged, keeps_bodies, monkeypatch):
    house.post("/v1/chat/completions", HELLO)
    logged(1)
    log = house.platform.request_log
    week = 7 * request_log.DAY_MS
    monkeypatch.setattr(log, "_clock", lambda: house.platform.clock() + week - 60_000)
    assert asyncio.run(log.expire()) == 0
    monkeypatch.setattr(log, "_clock", lambda: house.platform.clock() + week + 60_000)
    assert asyncio.run(log.page(house.org_id)) == []
    assert asyncio.run(log.expire()) == 1
    assert house.rows("SELECT 1 FROM request_log") == []


def test_a_client_gone_wild_does_not_fill_the_log(house, wait_until, monkeypatch):
    monkeypatch.setattr(request_log, "MOST_REFUSALS", 3)
    now = house.platform.clock()
    monkeypatch.setattr(house.platform, "clock", lambda: now)
    for _ in range(6):
        house.post("/v1/chat/completions", {**HELLO, "model": "no"})
    wait_until(lambda: len(house.rows("SELECT 1 FROM request_log")) == 3)
