"""Names that can be called: aliases, private models, models that are switched off."""

from __future__ import annotations

import asyncio

import pytest

from openglm.errors import Conflict, InvalidRequest, ModelNotFound
from openglm.maas.identity import Caller
from openglm.maas.models import Model, Models

OURS, THEIRS = Caller("org_a", "p", "k"), Caller("org_b", "p", "k")


def test_a_private_model_is_found_by_its_owner_alone(database):
    async def go():
        models = Models(database)
        await models.put(Model("tuned", owner_org="org_a"))
        models.check(OURS, "tuned")
        assert models.seen_by(OURS, ("glm", "tuned")) == ["glm", "tuned"]
        assert models.seen_by(THEIRS, ("glm", "tuned")) == ["glm"]
        with pytest.raises(ModelNotFound):
            models.check(THEIRS, "tuned")

    asyncio.run(go())


def test_an_alias_stands_for_a_model_and_not_for_an_alias(database):
    async def go():
        models = Models(database)
        await models.put(Model("sonnet", alias_of="glm"))
        assert models.target("sonnet") == "glm"
        assert models.seen_by(OURS, ("glm",)) == ["glm", "sonnet"]
        with pytest.raises(Conflict, match="alias itself"):
            await models.put(Model("opus", alias_of="sonnet"))

    asyncio.run(go())


def test_a_disabled_model_is_not_found_by_anybody(database):
    async def go():
        models = Models(database)
        await models.put(Model("glm", state="disabled"))
        with pytest.raises(ModelNotFound):
            models.check(OURS, "glm")
        assert models.seen_by(OURS, ("glm",)) == []

    asyncio.run(go())


@pytest.mark.parametrize(
    "wrong",
    [Model("../etc"), Model("a", load="never"), Model("a", alias_of="a"), Model("a", idle_s=0), Model("")],
)
def test_what_is_no_model_is_refused(database, wrong):
    async def go():
        with pytest.raises(InvalidRequest):
            await Models(database).put(wrong)

    asyncio.run(go())
