"""Quotas in the console: operators set them, members see how they stand."""

from __future__ import annotations

import httpx


def quota_of(browser, org: str, name: str) -> dict:
    (found,) = [one for one in browser.get(f"{org}/quotas").json() if one["name"] == name]
    return found


def test_an_operator_sets_a_quota_and_members_see_what_they_have_of_it(town, ann, bob):
    assert quota_of(bob, bob.org, "projects") == {
        "name": "projects",
        "what": "projects",
        "used": 1,
        "limit": 100,
    }
    holder = bob.state["organisations"][0]["id"]
    limit = {"name": "projects", "most": 1, "holder": holder}
    assert ann.put("platform/quotas", json=limit).json() == limit
    assert quota_of(bob, bob.org, "projects")["limit"] == 1
    assert quota_of(ann, f"platform/{bob.org}", "projects")["limit"] == 1
    refused = bob.post(f"{bob.org}/projects", json={"name": "second"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "quota_reached")
    assert "may have 1 projects, got 1 and 1 more" in refused.json()["error"]["message"]
    (bound,) = [one for one in ann.get("platform/quotas").json() if one["name"] == "projects"]
    assert (bound["default"], bound["limits"]) == (100, [limit])
    gone = {"name": "projects", "holder": holder}
    assert ann.delete("platform/quotas", params=gone).status_code == 204
    assert ann.delete("platform/quotas", params=gone).status_code == 404
    assert bob.post(f"{bob.org}/projects", json={"name": "second"}).status_code == 201
    actions = [row["action"] for row in bob.get(f"{bob.org}/audit").json()["rows"]]
    assert {"quota.set", "quota.remove"} <= set(actions)


def test_a_quota_of_nothing_and_one_for_nobody_are_told_apart(ann):
    wrong = ann.put("platform/quotas", json={"name": "projekts", "most": 1}).json()["error"]
    assert "did you mean projects?" in wrong["message"]
    missing = {"name": "projects", "most": 1, "holder": "org_x"}
    assert ann.put("platform/quotas", json=missing).status_code == 404


def test_each_dialect_says_that_there_is_no_room(town, ann):
    project = ann.get(f"{ann.org}/projects").json()[0]["id"]
    key = ann.post(f"{ann.org}/keys", json={"name": "k", "project_id": project}).json()["key"]
    ann.put("platform/quotas", json={"name": "files", "most": 0})
    for place in ("v1", "api/paas/v4"):
        answer = httpx.post(
            f"{town.url}/{place}/files",
            files={"file": ("a.txt", b"x")},
            data={"purpose": "user_data"},
            headers={"authorization": f"Bearer {key}"},
        )
        assert answer.status_code == 400
        said = answer.json()["error"]
        assert "your organisation may have 0 files, got 0 and 1 more" in said["message"]
        assert "glm admin quota set files" in said["message"]
        assert said["code"] == ("quota_reached" if place == "v1" else "1210")
