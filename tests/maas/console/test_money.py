"""Money and usage in the console, and what operators do."""

from __future__ import annotations

import asyncio
import json
import time

import httpx
import pytest

from openglm.maas.money import ManualPayments
from openglm.maas.upstreams import Channel
from tests.maas.fake_upstream import FakeUpstream


def test_an_operator_tops_a_wallet_up_once(ann, bob):
    org = bob.state["organisations"][0]["id"]
    body = {"amount": "12.50", "once": "transfer 7", "memo": "bank"}
    assert ann.post(f"platform/organisations/{org}/top-up", json=body).json()["balance"] == "12.5"
    assert ann.post(f"platform/organisations/{org}/top-up", json=body).json()["balance"] == "12.5"
    assert bob.get(f"{bob.org}/wallet").json()["free"] == "12.5"
    (line,) = bob.get(f"{bob.org}/wallet/statement").json()
    assert (line["amount"], line["memo"]) == ("12.5", "bank")
    assert bob.post(f"platform/organisations/{org}/top-up", json=body).status_code == 403


@pytest.mark.parametrize("amount", ["0", "-1", "1e400", "NaN", "0.0000000001", "twelve", "9" * 39])
def test_an_amount_that_is_none_is_refused(ann, amount):
    org = ann.state["organisations"][0]["id"]
    answer = ann.post(f"platform/organisations/{org}/top-up", json={"amount": amount, "once": "x"})
    assert answer.status_code in (400, 422)
    assert ann.get(f"{ann.org}/wallet").json()["balance"] == "0"


def test_a_code_is_good_once(ann, bob):
    (code,) = ann.post("platform/codes", json={"amount": "5"}).json()
    assert bob.post(f"{bob.org}/wallet/redeem", json={"code": code}).json()["balance"] == "5"
    assert ann.post(f"{ann.org}/wallet/redeem", json={"code": code}).status_code == 409
    assert ann.post(f"{ann.org}/wallet/redeem", json={"code": "nonsense"}).status_code == 404


def test_an_order_is_paid_by_the_providers_signed_notice(town, ann):
    assert ann.get(f"{ann.org}/wallet/adapters").json() == ["manual"]
    order = ann.post(
        f"{ann.org}/wallet/orders", json={"amount": "20", "adapter": "manual", "once": "a"}
    ).json()
    assert order["state"] == "pending"
    notice = json.dumps({"order_id": order["id"], "amount_nano": 20 * 10**9, "paid": True}).encode()
    sign = ManualPayments(b"a secret of the payment provider").sign
    url = f"{town.url}/api/console/payments/manual"
    assert httpx.post(url, content=notice, headers={"x-openglm-signature": "00"}).status_code == 401
    for _ in range(2):
        answer = httpx.post(url, content=notice, headers={"x-openglm-signature": sign(notice)})
        assert answer.status_code == 204
    assert ann.get(f"{ann.org}/wallet").json()["balance"] == "20"


def test_budgets_are_set_listed_and_removed(ann):
    org = ann.state["organisations"][0]["id"]
    body = {"scope": "org", "target_id": org, "period": "month", "limit": "100"}
    made = ann.put(f"{ann.org}/budgets", json=body).json()
    again = ann.put(f"{ann.org}/budgets", json={**body, "limit": "50"}).json()
    assert again["id"] == made["id"]
    assert [one["limit"] for one in ann.get(f"{ann.org}/budgets").json()] == ["50"]
    assert ann.delete(f"{ann.org}/budgets/{made['id']}").status_code == 204
    assert ann.get(f"{ann.org}/budgets").json() == []


def test_a_plan_without_a_price_is_given_by_operators(ann, bob):
    body = {"plan": "lite", "once": "november"}
    assert bob.post(f"{bob.org}/subscriptions", json=body).status_code == 403
    assert bob.post(f"platform/{bob.org}/subscriptions", json=body).status_code == 403
    assert ann.post(f"platform/{bob.org}/subscriptions", json=body).status_code == 201
    assert bob.get(f"{bob.org}/plan").json()["subscriptions"][0]["plan"] == "lite"


def test_a_plan_is_bought_out_of_the_wallet(town, ann):
    terms = '[plans.gold]\ntitle = "Gold"\nprice = "30"\nwindows = { 5h = 10, week = 20, month = 30 }\n'
    (town.platform.settings.data / "plans.toml").write_text(terms + '[models."*"]\nuncached = 1\n')
    asyncio.run(town.platform.plans.load())
    plan = next(one for one in ann.get("plans").json() if one["name"] == "gold")
    body = {"plan": "gold", "once": "november"}
    assert ann.post(f"{ann.org}/subscriptions", json=body).status_code == 429
    org = ann.state["organisations"][0]["id"]
    ann.post(f"platform/organisations/{org}/top-up", json={"amount": plan["price"], "once": "x"})
    made = ann.post(f"{ann.org}/subscriptions", json=body)
    assert made.status_code == 201
    assert ann.get(f"{ann.org}/wallet").json()["balance"] == "0"
    shown = ann.get(f"{ann.org}/plan").json()
    assert {meter["period"] for meter in shown["meters"]} == set(plan["credits"])
    assert ann.delete(f"{ann.org}/subscriptions/{made.json()['id']}").status_code == 204


def test_usage_is_summed_listed_and_exported(town, ann, wait_until):
    org = ann.state["organisations"][0]["id"]
    project = ann.get(f"{ann.org}/projects").json()[0]["id"]
    key = ann.post(f"{ann.org}/keys", json={"name": "k", "project_id": project}).json()["key"]
    ann.post(f"platform/organisations/{org}/top-up", json={"amount": "10", "once": "x"})
    price = ann.post("platform/prices", json={"model": "glm", "input": "1", "output": "4", "image": "0.06"})
    assert (price.json()["output"], price.json()["image"]) == ("4", "0.06")
    with FakeUpstream() as upstream:
        town.platform.router.add(Channel("fake", upstream.url, {"glm": "wire"}))
        assert {"name": "glm", "title": "", "price": price.json()} in ann.get(f"{ann.org}/models").json()
        for _ in range(3):
            answer = httpx.post(
                f"{town.url}/v1/chat/completions",
                json={"model": "glm", "messages": [{"role": "user", "content": "hello"}]},
                headers={"authorization": f"Bearer {key}"},
            )
            assert answer.status_code == 200
    wait_until(lambda: len(town.rows("SELECT 1 FROM usage_event")) == 3)
    (total,) = ann.get(f"{ann.org}/usage").json()
    assert total["group"] == {"model": "glm"}
    assert total["requests"] == 3
    by = ann.get(f"{ann.org}/usage", params={"by": ["day", "key"]}).json()
    assert by[0]["group"]["day"] % 86_400_000 == 0
    assert by[0]["cost"] == total["cost"]
    first = ann.get(f"{ann.org}/usage/requests", params={"limit": 2}).json()
    rest = ann.get(f"{ann.org}/usage/requests", params={"limit": 2, "after": first["next"]}).json()
    assert len({row["request_id"] for row in first["rows"] + rest["rows"]}) == 3
    assert rest["next"] is None
    table = ann.get(f"{ann.org}/usage/csv")
    assert table.headers["content-type"].startswith("text/csv")
    assert len(table.text.splitlines()) == 4
    this_month = time.strftime("%Y-%m", time.gmtime(by[0]["group"]["day"] / 1000))
    month = ann.get(f"{ann.org}/invoices/{this_month}").json()
    assert month["id"] is None
    assert [line["model"] for line in month["lines"]] == ["glm"]
    assert ann.get(f"{ann.org}/invoices/november").status_code == 400
    assert "glm" in ann.get(f"{ann.org}/invoices/{this_month}/csv").text


def test_operators_see_to_users(town, ann, bob):
    assert [one["email"] for one in ann.get("platform/users").json()] == [
        "ann@example.com",
        "bob@example.com",
    ]
    made = ann.post(
        "platform/users", json={"email": "cy@example.com", "name": "Cy", "password": "cy's own passphrase"}
    )
    assert made.status_code == 201
    town.browser().login("cy@example.com", "cy's own passphrase")
    path = f"platform/users/{bob.user_id}"
    assert ann.patch(path, json={"is_disabled": True}).json()["is_disabled"] is True
    assert bob.get("sessions").status_code == 401
    ann.patch(path, json={"is_disabled": False})
    assert ann.post(f"{path}/password", json={"password": "new for bob, please"}).status_code == 204
    bob.login("bob@example.com", "new for bob, please")
    assert ann.patch(f"platform/users/{ann.user_id}", json={"is_operator": False}).status_code == 409


def test_operators_see_to_models_channels_and_limits(town, ann):
    channel = {"base_url": "http://127.0.0.1:9", "models": {"far": "x"}, "api_key": "sk-very-secret-key"}
    shown = ann.put("platform/channels/far", json=channel)
    assert shown.json()["has_key"] is True
    assert "very-secret" not in shown.text + ann.get("platform/channels").text
    assert "very-secret" not in ann.get("platform/audit").text
    assert ann.patch("platform/channels/far", json={"state": "draining"}).status_code == 204
    assert ann.get("platform/channels").json()[0]["state"] == "draining"
    assert ann.put("platform/models/near", json={"alias_of": "far"}).json()["alias_of"] == "far"
    assert ann.put("platform/limits", json={"rpm": 60}).json()["rpm"] == 60
    (rule,) = [one for one in ann.get("platform/limits").json() if one["rpm"] == 60]
    for path in (f"limits/{rule['id']}", "channels/far", "models/near"):
        assert ann.delete(f"platform/{path}").status_code == 204
        assert ann.delete(f"platform/{path}").status_code == 404
    assert ann.get("platform/servers").json() == []


def test_operators_deeds_are_for_operators(bob):
    for path, operations in bob.get("openapi.json").json()["paths"].items():
        if path.startswith("/platform"):
            for method in operations:
                answer = bob.request(method, path.lstrip("/").replace("{", "").replace("}", ""), json={})
                assert answer.status_code in (403, 422), (method, path)
                assert answer.status_code == 403 or method in ("post", "put", "patch")
