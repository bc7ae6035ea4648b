"""What operators see of their machine and its models, and everybody of their limits and requests."""

from __future__ import annotations

import asyncio

import httpx

from openglm.maas.upstreams import Channel
from tests.maas.fake_upstream import FakeUpstream


def test_an_operator_sees_the_catalogue_with_what_fits_and_the_machine(ann, bob):
    known = {one["name"]: one for one in ann.get("platform/catalogue").json()}
    assert known["smollm2"]["fits"] in ("yes", "busy")
    assert known["smollm2"]["licence"] == "Apache-2.0"
    largest = max(known.values(), key=lambda one: one["weight_gigabytes"])
    assert largest["fits"] == "no"
    machine = ann.get("platform/machine").json()
    assert 0 < machine["memory_free"] <= machine["memory_total"]
    assert machine["models"] == []
    assert bob.get("platform/catalogue").status_code == bob.get("platform/machine").status_code == 403


def test_a_channel_is_tested_without_asking_a_model(town, ann):
    with FakeUpstream() as upstream:
        channel = {"base_url": upstream.url, "models": {"glm": "wire"}}
        assert ann.put("platform/channels/fake", json=channel).status_code == 200
        assert ann.post("platform/channels/fake/test").json()["healthy"]
        upstream.well = False
        assert not ann.post("platform/channels/fake/test").json()["healthy"]
        assert upstream.bodies == []
    assert not ann.post("platform/channels/fake/test").json()["healthy"]
    assert ann.post("platform/channels/other/test").status_code == 404


def test_requests_are_found_newest_first_by_what_they_asked_and_counted_by_model(town, ann, wait_until):
    platform = town.platform
    project = ann.get(f"{ann.org}/projects").json()[0]["id"]
    asyncio.run(platform.prices.set("*", uncached_pico=0, cached_pico=0, output_pico=0))
    key = ann.post(f"{ann.org}/keys", json={"name": "a", "project_id": project}).json()
    with FakeUpstream() as upstream:
        platform.router.add(Channel("fake", upstream.url, {"glm": "a", "other": "b"}, leaving="cancel"))
        for model in ("glm", "other", "glm"):
            body = {"model": model, "messages": [{"role": "user", "content": '{"text": "ok"}'}]}
            headers = {"authorization": f"Bearer {key['key']}"}
            assert httpx.post(f"{town.url}/v1/chat/completions", json=body, headers=headers).is_success

    def page(**query: str | int) -> dict:
        return ann.get(f"{ann.org}/usage/requests", params={"order": "newest", **query}).json()

    wait_until(lambda: len(page()["rows"]) == 3)  # bills are written behind the answers
    assert [row["model"] for row in page()["rows"]] == ["glm", "other", "glm"]
    first = page(model="glm", limit=1)
    rest = page(model="glm", limit=1, after=first["next"])
    assert first["rows"][0]["created_at"] >= rest["rows"][0]["created_at"]
    assert first["rows"][0]["request_id"] != rest["rows"][0]["request_id"]
    (one,) = page(request_id=first["rows"][0]["request_id"])["rows"]
    assert one == first["rows"][0]
    assert page(key="nobody's")["rows"] == []

    def totals() -> dict:
        return {one["model"]: one for one in ann.get("platform/machine").json()["models"]}

    wait_until(lambda: sum(one["answers"] for one in totals().values()) == 3)
    assert (totals()["glm"]["answers"], totals()["other"]["answers"]) == (2, 1)
    assert totals()["glm"]["output"] > 0


def test_everybody_sees_the_limits_of_their_own_tier(ann, bob):
    for tier, rpm in (("*", 60), ("gold", 600)):
        ann.put("platform/limits", json={"tier": tier, "rpm": rpm})
    assert [rule["rpm"] for rule in bob.get(f"{bob.org}/limits").json()] == [60]
