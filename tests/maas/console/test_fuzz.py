"""Schemathesis against the whole console: no failure of ours, answers as the document says, and nothing of
one tenant for another."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.maas.console.conftest import Browser, Town

EXAMPLES = 200 if os.environ.get("OPENGLM_SOAK") == "1" else 20
# Not fuzzed: what ends the session that the fuzzing needs, and what costs an argon2 hash each time.
NOT = r"^/(logout|login|sign-up|me/password|sessions|platform/users|oidc/.*|me/identities/.*)"


CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


def fuzz(
    browser: httpx.Client, case_seen: Callable[[Any, dict[str, Any]], None], *, leave_out: str = NOT
) -> int:
    """Calls `case_seen(case, how to send it)` with cases of every operation; gives how many."""
    document = browser.get("openapi.json").json()
    loaded = schemathesis.openapi.from_dict(document).exclude(path_regex=leave_out)
    loaded.config.update(base_url=str(browser.base_url).rstrip("/"))
    session = {"x-csrf-token": browser.headers["x-csrf-token"], "origin": browser.headers["origin"]}
    tried = 0
    for found in loaded.get_all_operations():
        operation = found.ok()

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(operation.as_strategy())
        def run(case):
            nonlocal tried
            case_seen(case, {"headers": session, "cookies": dict(browser.cookies)})
            tried += 1

        run()
    return tried


@pytest.mark.slow
def test_no_input_makes_the_console_fail(ann: Browser):
    def check(case, sent):
        if "org_id" in case.path_parameters:
            case.path_parameters["org_id"] = ann.state["organisations"][0]["id"]
        case.call_and_validate(**sent, checks=CHECKS)

    assert fuzz(ann, check) > 40 * EXAMPLES


MARK = "swordfish"


def settle(town: Town, ann: Browser) -> dict[str, str]:
    """One of everything of Ann's that has an id, with the mark in it; the ids by their parameter's name."""
    org = ann.state["organisations"][0]["id"]
    ann.patch(ann.org, json={"name": MARK})
    project = ann.post(f"{ann.org}/projects", json={"name": MARK}).json()["id"]
    ann.patch(f"{ann.org}/projects/{project}", json={"body_days": 3})
    key = ann.post(f"{ann.org}/keys", json={"name": MARK, "project_id": project}).json()
    invited = ann.post(f"{ann.org}/invitations", json={"email": f"{MARK}@example.com", "role": "viewer"})
    budget = {"scope": "key", "target_id": key["id"], "period": "month", "limit": "3.21"}
    top_up = {"amount": "4.56", "once": "a", "memo": MARK}
    assert ann.post(f"platform/organisations/{org}/top-up", json=top_up).status_code == 200
    plan = ann.post(f"platform/organisations/{org}/subscriptions", json={"plan": "lite", "once": "b"})
    channel = {"base_url": f"http://{MARK}.example", "models": {"hidden": MARK}}
    assert ann.put("platform/channels/east", json=channel).status_code == 200
    assert ann.put("platform/models/hidden", json={"source": MARK}).status_code == 200
    ann.post("platform/prices", json={"model": "hidden"})
    refused = httpx.post(
        f"{town.url}/v1/chat/completions",
        json={"model": "none", "messages": [{"role": "user", "content": MARK}]},
        headers={"authorization": f"Bearer {key['key']}"},
    )
    return {
        "org_id": org,
        "project_id": project,
        "key_id": key["id"],
        "user_id": ann.user_id,
        "target_id": key["id"],
        "session_id": ann.state["session_id"],
        "invitation_id": invited.json()["id"],
        "budget_id": ann.put(f"{ann.org}/budgets", json=budget).json()["id"],
        "subscription_id": plan.json()["id"],
        "request_id": refused.headers["x-request-id"],
        "rule_id": ann.put("platform/limits", json={"rpm": 9}).json()["id"],
        "channel_id": "east",
        "name": "hidden",
        "model": "hidden",
        "month": "2024-01",
    }


def rows_of(town: Town, org_id: str) -> dict[str, list[dict[str, Any]]]:
    """Every row of an organisation, and those of the platform that no member may change."""
    if town.platform.database.kind == "sqlite":
        tables = town.rows(
            "SELECT m.name AS name FROM sqlite_master m JOIN pragma_table_info(m.name) c"
            " WHERE m.type = 'table' AND c.name = 'org_id'"
        )
    else:
        tables = town.rows(
            "SELECT table_name AS name FROM information_schema.columns"
            " WHERE table_schema = 'public' AND column_name = 'org_id'"
        )
    found = {
        row["name"]: sorted(
            town.rows(f"SELECT * FROM {row['name']} WHERE org_id = :org", org=org_id), key=str
        )
        for row in tables
    }
    assert len(found) > 15
    for table in ("model", "channel", "limit_rule", "quota", "price_version", "redeem_code"):
        found[table] = sorted(town.rows(f"SELECT * FROM {table}"), key=str)
    return found


@pytest.mark.slow
def test_no_input_brings_one_tenant_to_what_is_anothers(town: Town, ann: Browser, bob: Browser):
    """Bob's session, Ann's ids: in paths always, in bodies and queries wherever a field has such a name."""
    ids = settle(town, ann)
    for path in (ann.org, f"{ann.org}/keys", f"{ann.org}/requests/{ids['request_id']}", "platform/channels"):
        assert MARK in ann.get(path).text
    before = rows_of(town, ids["org_id"])
    reached = set()

    def check(case, sent):
        for name in case.path_parameters:
            case.path_parameters[name] = ids.get(name, case.path_parameters[name])
        for part in (case.body, case.query):
            if isinstance(part, dict):
                part.update({name: ids[name] for name in part.keys() & ids.keys() - {"name", "model"}})
        answer = case.call(**sent)
        assert MARK not in answer.text, (case.method, case.path)
        if "{org_id}" in case.path or case.path.startswith("/platform"):
            reached.add(case.path)
            assert 400 <= answer.status_code < 500, (case.method, case.path, answer.text)

    assert fuzz(bob, check) > 40 * EXAMPLES
    assert len(reached) > 30
    assert rows_of(town, ids["org_id"]) == before
