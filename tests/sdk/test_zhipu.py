"""zai-sdk and zhipuai, unmodified but for base URL and key: every method works, or says why it does not."""

from __future__ import annotations

import pytest

from tests.sdk.zhipu_tables import TABLES


def rows(of: str) -> list:
    """A test for each row of the tables."""
    return [
        pytest.param(sdk, row, id=f"{sdk} {row}")
        for sdk, table in TABLES.items()
        for row in getattr(table, of)
    ]


@pytest.mark.parametrize(("sdk", "check"), rows("checks"))
def test_a_method_does_what_the_official_service_would_do(driven, sdk, check):
    if failure := driven(sdk).failure(check):
        pytest.fail(failure, pytrace=False)


@pytest.mark.parametrize(("sdk", "method"), rows("refused"))
def test_a_method_that_is_not_offered_ends_in_the_documented_error(driven, sdk, method):
    if failure := driven(sdk).failure(method):
        pytest.fail(failure, pytrace=False)


@pytest.mark.parametrize("sdk", TABLES)
def test_the_table_names_every_method_that_the_sdk_has_and_no_other(driven, sdk):
    methods = set(driven(sdk).methods)
    assert TABLES[sdk].methods | set(TABLES[sdk].refused) == methods


@pytest.mark.parametrize("sdk", TABLES)
def test_what_an_sdk_used_is_billed_and_what_was_refused_is_not(town, driven, sdk):
    world = driven(sdk).whole().world
    bill = town.bill(world.key)
    assert {row["kind"] for row in bill} == {"chat", "embedding", "image", "tool"}
    told = town.upstream.billed
    whole = [row for row in bill if row["status"] == "ok"]  # of one that broke off bytes were lost
    answered = {row["request_id"]: row for row in whole if row["request_id"] in told}
    assert len(answered) > 20
    for request_id, row in answered.items():
        assert row["output_text"] + row["output_reasoning"] == told[request_id]["completion"]
    assert [row["is_plan"] for row in town.bill(world.plan_key)] == [1]
    assert len(town.bill(world.limited_key)) == 1
    assert town.bill(world.poor_key) == town.bill(world.narrow_key) == []
    tuned = [row["kind"] for row in town.bill(world.tuning_key) if row["status"] == "ok"]
    assert tuned == (["training", "chat"] if sdk == "zhipuai" else [])
