"""Members, invitations, projects, keys: who may do what, and that others' ids are not found."""

from __future__ import annotations

import httpx
import pytest


@pytest.fixture
def join(town, ann):
    """Lets somebody into Ann's organisation in a role."""

    def joined(email: str, role: str):
        made = ann.post(f"{ann.org}/invitations", json={"email": email, "role": role}).json()
        return town.browser().sign_up(email, invitation=made["token"])

    return joined


def test_an_invitation_lets_one_address_in_once(town, ann, bob):
    made = ann.post(f"{ann.org}/invitations", json={"email": "bob@example.com", "role": "developer"}).json()
    assert [one["email"] for one in ann.get(f"{ann.org}/invitations").json()] == ["bob@example.com"]
    joined = bob.post("invitations/accept", json={"token": made["token"]})
    assert joined.json()["role"] == "developer"
    assert bob.post("invitations/accept", json={"token": made["token"]}).status_code == 404
    assert len(bob.get("session").json()["organisations"]) == 2
    assert ann.get(f"{ann.org}/invitations").json() == []


def test_who_is_invited_signs_up_into_the_organisation(ann, join):
    eve = join("eve@example.com", "viewer")
    assert [one["role"] for one in eve.state["organisations"]] == ["viewer"]
    assert {one["email"] for one in eve.get(f"{eve.org}/members").json()} == {
        "ann@example.com",
        "eve@example.com",
    }


@pytest.mark.parametrize(
    ("role", "path", "status"),
    [
        ("viewer", "members", 200),
        ("viewer", "keys", 403),
        ("viewer", "wallet", 403),
        ("viewer", "audit", 403),
        ("viewer", "usage", 200),
        ("developer", "keys", 200),
        ("developer", "wallet", 403),
        ("billing", "wallet", 200),
        ("billing", "keys", 403),
        ("admin", "audit", 200),
    ],
)
def test_a_role_sees_what_its_permissions_say(join, role, path, status):
    eve = join("eve@example.com", role)
    assert eve.get(f"{eve.org}/{path}").status_code == status


def test_an_admin_cannot_make_an_owner_and_the_last_owner_stays(ann, join):
    eve = join("eve@example.com", "admin")
    assert eve.patch(f"{eve.org}/members/{eve.user_id}", json={"role": "owner"}).status_code == 403
    assert ann.patch(f"{ann.org}/members/{ann.user_id}", json={"role": "viewer"}).status_code == 409
    assert ann.patch(f"{ann.org}/members/{eve.user_id}", json={"role": "owner"}).status_code == 204


def test_who_leaves_loses_the_organisation_and_their_keys(town, ann, join):
    eve = join("eve@example.com", "developer")
    project = eve.get(f"{eve.org}/projects").json()[0]["id"]
    key = eve.post(f"{eve.org}/keys", json={"name": "mine", "project_id": project}).json()["key"]
    assert eve.delete(f"{eve.org}/members/{eve.user_id}").status_code == 204
    assert eve.get(eve.org).status_code == 404
    answer = httpx.get(f"{town.url}/v1/models", headers={"authorization": f"Bearer {key}"})
    assert answer.status_code == 401


def test_a_key_is_shown_once_works_at_once_and_stops_at_once(town, ann):
    project = ann.get(f"{ann.org}/projects").json()[0]["id"]
    made = ann.post(f"{ann.org}/keys", json={"name": "first", "project_id": project}).json()
    headers = {"authorization": f"Bearer {made['key']}"}
    assert httpx.get(f"{town.url}/v1/models", headers=headers).status_code == 200
    listed = ann.get(f"{ann.org}/keys").json()
    assert [one["name"] for one in listed] == ["first"]
    assert made["key"].partition(".")[2] not in str(listed)
    assert ann.delete(f"{ann.org}/keys/{made['id']}").status_code == 204
    assert httpx.get(f"{town.url}/v1/models", headers=headers).status_code == 401


def test_a_keys_scope_can_be_changed(town, ann):
    project = ann.get(f"{ann.org}/projects").json()[0]["id"]
    made = ann.post(f"{ann.org}/keys", json={"name": "first", "project_id": project}).json()
    headers = {"authorization": f"Bearer {made['key']}"}
    assert httpx.get(f"{town.url}/v1/files", headers=headers).status_code == 200
    changed = ann.put(f"{ann.org}/keys/{made['id']}", json={"name": "chat alone", "endpoints": ["chat"]})
    assert changed.json()["endpoints"] == ["chat"]
    assert httpx.get(f"{town.url}/v1/files", headers=headers).status_code == 403


def test_developers_have_their_own_keys_only(ann, join):
    project = ann.get(f"{ann.org}/projects").json()[0]["id"]
    shared = ann.post(
        f"{ann.org}/keys", json={"name": "shared", "project_id": project, "personal": False}
    ).json()
    eve = join("eve@example.com", "developer")
    eve.post(f"{eve.org}/keys", json={"name": "mine", "project_id": project})
    assert [one["name"] for one in eve.get(f"{eve.org}/keys").json()] == ["mine"]
    assert len(ann.get(f"{ann.org}/keys").json()) == 2
    assert eve.delete(f"{eve.org}/keys/{shared['id']}").status_code == 404
    refused = eve.post(f"{eve.org}/keys", json={"name": "no", "project_id": project, "personal": False})
    assert refused.status_code == 403


def test_a_key_can_be_made_with_a_budget(ann):
    project = ann.get(f"{ann.org}/projects").json()[0]["id"]
    wrong = {"name": "k", "project_id": project, "budget": "5", "budget_period": "fortnight"}
    assert ann.post(f"{ann.org}/keys", json=wrong).status_code == 400
    assert ann.get(f"{ann.org}/keys").json() == []
    made = ann.post(f"{ann.org}/keys", json={**wrong, "budget": "12.50", "budget_period": "week"}).json()
    (budget,) = ann.get(f"{ann.org}/budgets").json()
    assert (budget["target_id"], budget["limit"], budget["period"]) == (made["id"], "12.5", "week")


def test_projects_are_made_renamed_and_archived(ann):
    made = ann.post(f"{ann.org}/projects", json={"name": "search"}).json()
    assert ann.post(f"{ann.org}/projects", json={"name": "search"}).status_code == 400
    path = f"{ann.org}/projects/{made['id']}"
    assert ann.patch(path, json={"name": "find"}).json()["name"] == "find"
    assert ann.delete(path).status_code == 204
    assert [one["is_archived"] for one in ann.get(f"{ann.org}/projects").json()] == [False, True]


def test_the_audit_log_tells_who_did_what(ann):
    ann.patch(ann.org, json={"name": "Ann & friends"})
    rows = ann.get(f"{ann.org}/audit", params={"limit": 1}).json()
    assert rows["rows"][0]["action"] == "org.rename"
    assert rows["rows"][0]["actor_id"] == ann.user_id
    older = ann.get(f"{ann.org}/audit", params={"after": rows["next"]}).json()
    assert "user.sign_up" in [row["action"] for row in older["rows"]]


def test_somebody_elses_ids_are_not_found_on_any_route(town, ann, bob):
    """R14: each route below an organisation, with Ann's organisation and with Ann's things in Bob's."""
    project = ann.get(f"{ann.org}/projects").json()[0]["id"]
    key = ann.post(f"{ann.org}/keys", json={"name": "k", "project_id": project}).json()["id"]
    invitation = ann.post(f"{ann.org}/invitations", json={"email": "x@example.com", "role": "viewer"}).json()
    budget = ann.put(
        f"{ann.org}/budgets",
        json={"scope": "project", "target_id": project, "period": "month", "limit": "1"},
    ).json()
    ids = {
        "user_id": ann.user_id,
        "project_id": project,
        "key_id": key,
        "invitation_id": invitation["id"],
        "budget_id": budget["id"],
        "subscription_id": "sub_x",
        "month": "2026-01",
        "request_id": "req_x",
        "job_id": "ftjob_x",
        "name": "ft:glm:x:0123abcd",
    }
    document = bob.get("openapi.json").json()
    asked = 0
    for path, operations in document["paths"].items():
        if not path.startswith("/organisations/{org_id}"):
            continue
        for method in operations:
            theirs = path.lstrip("/").replace("{org_id}", ann.state["organisations"][0]["id"])
            ours = path.lstrip("/").replace("{org_id}", bob.state["organisations"][0]["id"])
            body = _example(document, operations[method])
            for target, strange in ((theirs, True), (ours, "{" in ours and "{month}" not in ours)):
                answer = bob.request(method, target.format(**ids), json=body)
                asked += 1
                if strange:
                    assert answer.status_code == 404, (method, target, answer.text)
                assert "ann@example.com" not in answer.text
                assert answer.status_code < 500
    assert asked > 50
    assert ann.get(f"{ann.org}/keys").json()[0]["revoked_at"] is None
    assert len(ann.get(f"{ann.org}/budgets").json()) == 1
    # ids of others in bodies
    for body in (
        {"scope": "project", "target_id": project, "period": "month", "limit": "1"},
        {"scope": "key", "target_id": key, "period": "month", "limit": "1"},
        {"scope": "user", "target_id": ann.user_id, "period": "month", "limit": "1"},
    ):
        assert bob.put(f"{bob.org}/budgets", json=body).status_code == 404
    assert bob.post(f"{bob.org}/keys", json={"name": "k", "project_id": project}).status_code == 404


def _example(document, operation):
    """A body that the schema allows."""
    content = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if content is None:
        return None
    schema = document["components"]["schemas"][content["schema"]["$ref"].rpartition("/")[2]]
    words = {"name": "n", "role": "viewer", "email": "y@example.com", "project_id": "p", "code": "c"}
    words |= {"amount": "1", "adapter": "manual", "once": "o", "scope": "org", "target_id": "t"}
    words |= {"period": "month", "limit": "1", "plan": "nothing"}
    return {name: words[name] for name in schema.get("required", ())}


def test_the_request_log_shows_bodies_to_those_who_work_with_the_data(town, ann, join, wait_until):
    project = ann.get(f"{ann.org}/projects").json()[0]["id"]
    assert ann.patch(f"{ann.org}/projects/{project}", json={"body_days": 3}).json()["body_days"] == 3
    key = ann.post(f"{ann.org}/keys", json={"name": "k", "project_id": project}).json()["key"]
    answer = httpx.post(
        f"{town.url}/v1/chat/completions",
        json={"model": "none", "messages": [{"role": "user", "content": "hush"}]},
        headers={"authorization": f"Bearer {key}"},
    )
    request_id = answer.headers["x-request-id"]
    wait_until(lambda: town.rows("SELECT 1 FROM request_log"))  # it is written behind the request's back
    listed = [row["request_id"] for row in ann.get(f"{ann.org}/requests").json()]
    assert listed == [request_id]
    assert "hush" in ann.get(f"{ann.org}/requests/{request_id}").json()["asked"]
    (read,) = [row for row in ann.get(f"{ann.org}/audit").json()["rows"] if row["action"] == "request.read"]
    assert (read["actor_id"], read["target"]) == (ann.user_id, request_id)
    eve = join("eve@example.com", "viewer")
    assert eve.get(f"{eve.org}/requests").status_code == 200
    assert eve.get(f"{eve.org}/requests/{request_id}").status_code == 403
