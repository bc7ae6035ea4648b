"""Every deed leaves its row in the audit log, in the transaction of the deed, whoever did it by which way."""

from __future__ import annotations

import asyncio

import pytest

from openglm.errors import OpenGLMError
from openglm.maas.identity import SYSTEM, Actor
from openglm.maas.limits import Rule
from openglm.maas.models import Model
from openglm.maas.platform import Platform
from openglm.maas.settings import Settings
from openglm.maas.upstreams import Channel
from tests.maas.console.conftest import PASSWORD

DEEDS = [
    *("wallet.top_up", "wallet.order", "wallet.adjust", "codes.create", "wallet.redeem"),
    *("budget.set", "budget.remove", "plan.subscribe", "plan.end", "invoice.issue", "price.set"),
    *("limit.set", "limit.remove", "channel.put", "channel.state", "channel.remove"),
    *("model.put", "model.remove"),
]


@pytest.fixture
def platform(database_url, tmp_path):
    made = Platform(Settings(data=tmp_path, database_url=database_url, payment_secret="a long secret word"))
    yield made
    asyncio.run(made.close())


def test_each_deed_of_money_and_serving_is_noted_once_with_its_actor(platform):
    by = Actor("user_op", "203.0.113.9")

    async def deeds() -> list[str]:
        ann = await platform.accounts.add("ann@example.com", PASSWORD, "Ann")
        org, wallet = ann.org_id, platform.wallet
        key = await platform.keys.create(org, ann.project_id, "k")
        since = (await platform.audit.page_of_platform()).rows[0].id
        for _ in range(2):
            await wallet.top_up(org, 10**10, idempotency_key="a", actor=by)
            await wallet.order(org, 10**9, "manual", idempotency_key="b", actor=by)
            await wallet.adjust(org, -(10**9), idempotency_key="c", reason="a mistake", actor=by)
        (code,) = await wallet.create_codes(1, 10**9, label="spring", actor=by)
        await wallet.redeem(org, code, actor=by)
        budget = await platform.budgets.set(org, "key", key.id, "day", 5, actor=by)
        await platform.budgets.remove(org, budget.id, actor=by)
        await platform.plans.load()
        for _ in range(2):
            plan = await platform.plans.subscribe(org, "lite", idempotency_key="d", actor=by)
        await platform.plans.end(org, plan.id, actor=by)
        for _ in range(2):
            await platform.invoices.issue(org, "2024-01", actor=by)
        await platform.prices.set_per_million("glm", uncached="1", output="2", actor=by)
        rule = await platform.limits.rules.put(Rule(rpm=5), actor=by)
        await platform.limits.rules.remove(rule, actor=by)
        await platform.channels.put(Channel("east", "http://m", {"glm": "x"}, api_key="sk-hush"), actor=by)
        await platform.channels.set_state("east", "draining", actor=by)
        await platform.channels.remove("east", actor=by)
        await platform.models.put(Model("sonnet", alias_of="glm"), actor=by)
        await platform.models.remove("sonnet", actor=by)
        rows = [row for row in (await platform.audit.page_of_platform(limit=200)).rows if row.id > since]
        assert {(row.actor_id, row.ip) for row in rows} == {("user_op", "203.0.113.9")}
        assert "hush" not in repr(rows)
        assert code not in repr(rows)
        return [row.action for row in rows]

    assert sorted(asyncio.run(deeds())) == sorted(DEEDS)


def test_a_deed_that_cannot_be_noted_is_not_done(platform, monkeypatch):
    """The row and the deed are one transaction: here the row is refused, and the money does not come."""
    deny = {
        "sqlite": "CREATE TRIGGER deny BEFORE INSERT ON audit_log BEGIN SELECT RAISE(ABORT, 'full'); END",
        "postgres": "ALTER TABLE audit_log ADD CONSTRAINT deny CHECK (id = '')",
    }

    async def deeds():
        ann = await platform.accounts.add("ann@example.com", PASSWORD, "Ann")
        rows = await platform.database.read("SELECT count(*) AS n FROM audit_log")
        assert rows[0]["n"] > 0
        kind = platform.database.kind
        await platform.database.write(
            lambda tx: tx.run(deny[kind] + (" NOT VALID" if kind == "postgres" else ""))
        )
        for deed in (
            platform.wallet.top_up(ann.org_id, 10**9, idempotency_key="a"),
            platform.prices.set_per_million("glm", uncached="1", output="2"),
            platform.channels.put(Channel("east", "http://m", {"glm": "x"})),
            platform.budgets.set(ann.org_id, "org", ann.org_id, "day", 5),
        ):
            with pytest.raises(Exception, match=r"full|deny"):
                await deed
        assert (await platform.wallet.balance(ann.org_id)).balance_nano == 0
        assert await platform.prices.all() == []
        assert await platform.channels.list() == []
        assert await platform.budgets.all(ann.org_id) == []

    asyncio.run(deeds())


def test_sign_ins_and_failures_are_noted_but_not_what_strangers_type(platform):
    async def deeds():
        ann = await platform.accounts.add("ann@example.com", PASSWORD, "Ann")
        await platform.accounts.login("ann@example.com", PASSWORD, ip="1.1.1.1")
        for email in ("ann@example.com", "my.password@example.com"):
            with pytest.raises(OpenGLMError):
                await platform.accounts.login(email, "wrong password", ip="2.2.2.2")
        await platform.database.write(lambda tx: None)  # failures are written behind the answer
        failed, entered, *_ = (await platform.audit.page_of_platform()).rows
        assert (failed.action, failed.target, failed.actor_id, failed.ip) == (
            "user.sign_in_failed",
            ann.user.id,
            None,
            "2.2.2.2",
        )
        assert (entered.action, entered.actor_id, entered.ip) == ("user.sign_in", ann.user.id, "1.1.1.1")
        rows = await platform.database.read("SELECT * FROM audit_log")
        assert "my.password" not in repr([dict(row) for row in rows])
        assert SYSTEM.user_id is None

    asyncio.run(deeds())
