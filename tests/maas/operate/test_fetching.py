"""Models of the catalogue are fetched with their progress told, stopped and gone on with, from a hub here."""

from __future__ import annotations

from pathlib import Path

import pytest

from openglm.errors import ModelNotFound
from openglm.hub import Patience
from openglm.maas.operate.fetching import Fetching
from tests.hub.conftest import Hub, hub

__all__ = ["hub"]
NAME = "glm-edge-1.5b"
SHARDS = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]


@pytest.fixture
def fetching(tmp_path: Path) -> Fetching:
    return Fetching(cache=tmp_path, patience=Patience(tries=2, wait_s=0))


def total(hub: Hub) -> int:
    needed = ("config.json", "tokenizer.json", "model.safetensors.index.json", *SHARDS)
    return sum(len(hub.files[name]) for name in needed)


def state(fetching: Fetching) -> str | None:
    seen = fetching.seen(NAME)
    return seen.state if seen else None


def test_a_fetch_tells_how_far_it_is_and_ends(hub: Hub, fetching: Fetching, wait_until) -> None:
    hub.hold_after = 1_000_000
    assert fetching.seen(NAME) is None
    fetching.start(NAME)
    assert hub.held.wait(30)
    wait_until(lambda: fetching.seen(NAME).done >= 900_000)
    seen = fetching.seen(NAME)
    assert (seen.state, seen.total) == ("running", total(hub))
    assert 0 < seen.done < seen.total
    assert seen.rate
    assert seen.left_s is not None
    assert fetching.start(NAME).state == "running"  # and no second one is begun
    hub.release.set()
    wait_until(lambda: state(fetching) == "done")
    assert fetching.seen(NAME).done == total(hub)
    assert len(hub.asked_for(SHARDS[0])) == 1


def test_one_that_was_stopped_goes_on_where_it_was(hub: Hub, fetching: Fetching, wait_until) -> None:
    hub.hold_after = 1_000_000
    fetching.start(NAME)
    assert hub.held.wait(30)
    wait_until(lambda: fetching.seen(NAME).done >= 900_000)
    assert fetching.stop(NAME).state == "stopped"
    hub.hold_after = None
    hub.release.set()
    assert fetching.start(NAME).state == "running"
    wait_until(lambda: state(fetching) == "done")
    ranges = hub.asked_for(SHARDS[0])
    assert ranges[0] is None
    assert int(ranges[1].removeprefix("bytes=").rstrip("-")) >= 900_000


def test_one_that_failed_says_why_and_goes_on(hub: Hub, fetching: Fetching, wait_until) -> None:
    hub.drop_after = [1_500_000, 0, 0, 0]
    fetching.start(NAME)
    wait_until(lambda: state(fetching) == "failed")
    seen = fetching.seen(NAME)
    assert SHARDS[0] in seen.error
    assert seen.hint
    hub.drop_after = []
    fetching.start(NAME)
    wait_until(lambda: state(fetching) == "done")
    assert fetching.seen(NAME).done == total(hub)


def test_what_the_catalogue_does_not_know_is_not_fetched(fetching: Fetching) -> None:
    with pytest.raises(ModelNotFound):
        fetching.start("hf:owner/tiny")
    with pytest.raises(ModelNotFound):
        fetching.stop(NAME)
