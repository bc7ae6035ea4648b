"""The official Anthropic client, unmodified but for base URL and key: every method works, or says why not."""

from __future__ import annotations

import anthropic
import pytest

from tests.sdk import (  # noqa: F401  # they fill the table
    anthropic_batches,
    anthropic_errors,
    anthropic_messages,
    anthropic_refused,
)
from tests.sdk.anthropic_sdk import Sdk, table
from tests.sdk.table import World, send

METHODS = dict(Sdk(World.nowhere()).methods())
REFUSED = [name for name in METHODS if table.refusal_of(name)]


@pytest.fixture(scope="module")
def sdk(town) -> Sdk:
    return Sdk(town.move_in("anthropic"))


@pytest.mark.parametrize("check", table.checks, ids=str)
def test_a_method_does_what_anthropic_would_do(sdk, check):
    table.checks[check](sdk)


@pytest.mark.parametrize("method", REFUSED)
def test_a_method_that_is_not_offered_ends_in_the_documented_error(sdk, method):
    call = dict(sdk.methods())[method]
    with pytest.raises(anthropic.NotFoundError) as caught:
        send(call, table.refusal_of(method).arguments)
    assert caught.value.type == "not_found_error"


def test_the_table_names_every_method_that_the_sdk_has():
    assert [name for name in METHODS if not table.names(name)] == []
    assert table.methods - set(METHODS) == set()
