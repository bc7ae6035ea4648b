"""The official OpenAI client, unmodified but for base URL and key: every method works, or says why not."""

from __future__ import annotations

import json

import openai
import pytest
from openai.lib.beta.agents._files import AgentFileStagingError
from websockets.exceptions import InvalidStatus

from tests.sdk import (  # noqa: F401  # they fill the table
    openai_chat,
    openai_data,
    openai_errors,
    openai_refused,
    openai_responses,
    openai_tuning,
)
from tests.sdk.openai_sdk import Sdk, table
from tests.sdk.table import World, send

METHODS = dict(Sdk(World.nowhere()).methods())
REFUSED = [name for name in METHODS if table.refusal_of(name) and name not in table.silent]


@pytest.fixture(scope="module")
def sdk(town) -> Sdk:
    return Sdk(town.move_in("openai"))


@pytest.mark.parametrize("check", table.checks, ids=str)
def test_a_method_does_what_openai_would_do(sdk, check):
    table.checks[check](sdk)


@pytest.mark.parametrize("method", REFUSED)
def test_a_method_that_is_not_offered_ends_in_the_documented_error(sdk, method):
    call = dict(sdk.methods())[method]
    with pytest.raises((openai.NotFoundError, AgentFileStagingError, InvalidStatus)) as caught:
        send(call, table.refusal_of(method).arguments)
    error = caught.value
    if isinstance(error, InvalidStatus):  # a web socket, refused before its handshake
        assert json.loads(error.response.body)["error"]["code"] == "not_offered"
        return
    error = error if isinstance(error, openai.NotFoundError) else error.__cause__
    assert error.code == "not_offered"


def test_the_table_names_every_method_that_the_sdk_has():
    assert [name for name in METHODS if not table.names(name)] == []
    assert table.methods - set(METHODS) == set()
