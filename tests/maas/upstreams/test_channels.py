"""Channels as rows: sealed keys, drained and removed while requests run, followed by every process."""

from __future__ import annotations

import asyncio

import pytest

from openglm.errors import InvalidRequest, NotFound
from openglm.maas.secrets import Secrets
from openglm.maas.upstreams import Channel, Channels, Client, Router


def channels_of(database, router: Router) -> Channels:
    return Channels(database, Secrets(b"k" * 32), router)


@pytest.mark.parametrize(
    "address",
    ["https://ann:hush@models.example", "http://hush@models.example/v1", "http://[", "ftp://models.example"],
)
def test_an_address_with_a_password_in_it_is_no_address(address):
    with pytest.raises(InvalidRequest):
        Channel("east", address, {"glm": "GLM-4"})


def test_a_channel_serves_until_it_is_drained_and_its_key_is_never_in_clear(database):
    async def go():
        router = Router(Client())
        channels = channels_of(database, router)
        await channels.put(
            Channel("east", "https://models.example", {"glm": "GLM-4"}, api_key="sk-very-secret", weight=3)
        )
        assert router.models == ("glm",)
        (row,) = await database.read("SELECT * FROM channel")
        assert b"sk-very-secret" not in bytes(row["sealed_key"])
        assert "sk-very-secret" not in repr(await channels.get("east"))
        assert (await channels.get("east")).api_key == "sk-very-secret"
        await channels.put(Channel("east", "https://models.example", {"glm": "GLM-5"}))
        assert (await channels.get("east")).api_key == "sk-very-secret"
        await channels.set_state("east", "draining")
        assert router.models == ()
        await channels.set_state("east", "active")
        assert router.models == ("glm",)
        await channels.remove("east")
        assert router.models == ()

    asyncio.run(go())


def test_another_process_follows_the_table(database):
    async def go():
        here, there = Router(Client()), Router(Client())
        mine, theirs = channels_of(database, here), channels_of(database, there)
        await mine.put(Channel("east", "https://models.example", {"glm": "glm"}))
        await theirs.reload()
        assert there.models == ("glm",)
        await mine.remove("east")
        await theirs.reload()
        assert there.models == ()

    asyncio.run(go())


def test_what_is_no_channel_is_refused_by_name(database):
    async def go():
        channels = channels_of(database, Router(Client()))
        for wrong, message in (
            (lambda: Channel("a", "ftp://x", {"glm": "glm"}), "address"),
            (lambda: Channel("a", "http://x", {"glm": "glm"}, weight=0), "weight"),
            (lambda: Channel("a", "http://x", {"glm": "glm"}, leaving="run"), "leaving"),
            (lambda: Channel("A b", "http://x", {"glm": "glm"}), "id must be"),
            (lambda: Channel("a", "http://x"), "at least one model"),
        ):
            with pytest.raises(InvalidRequest, match=message):
                await channels.put(wrong())
        with pytest.raises(NotFound):
            await channels.remove("nobody")
        with pytest.raises(InvalidRequest, match="state must be"):
            await channels.set_state("nobody", "asleep")

    asyncio.run(go())
