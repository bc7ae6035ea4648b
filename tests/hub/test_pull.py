"""Downloads from a hub that drops connections, lies, refuses, or is killed in the middle."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from openglm.errors import CheckpointError, DownloadError, ModelNotFound
from openglm.hub import Manifest, Patience, Silent, pull, resolve
from openglm.hub.resolve import LocalModel

SHARD = "model-00001-of-00002.safetensors"
NEEDED = {
    "config.json",
    "tokenizer.json",
    "model.safetensors.index.json",
    SHARD,
    "model-00002-of-00002.safetensors",
    "manifest.json",
}
HURRY = Patience(tries=3, wait_s=0)


def fetch(name: str, cache: Path) -> LocalModel:
    return pull(name, cache=cache, progress=Silent(), patience=HURRY)


def leftovers(cache: Path) -> list[str]:
    """Files under the cache that are neither a finished model nor a lock."""
    return sorted(str(p.relative_to(cache)) for p in cache.rglob("*") if p.is_file() and p.suffix != ".lock")


@pytest.mark.parametrize("name", ["hf:owner/tiny", "ms:owner/tiny"])
def test_a_pull_brings_exactly_the_needed_files_and_their_bytes(hub, tmp_path, name):
    model = fetch(name, tmp_path)
    assert {path.name for path in model.path.iterdir()} == NEEDED
    for path in model.path.iterdir():
        if path.name != "manifest.json":
            assert path.read_bytes() == hub.files[path.name]
    assert model.name == "tiny"
    assert not list(tmp_path.rglob("*.part*"))


def test_a_listing_in_several_pages_is_read_to_its_end(hub, tmp_path):
    hub.page_size = 2
    assert {path.name for path in fetch("hf:owner/tiny", tmp_path).path.iterdir()} == NEEDED


@pytest.mark.parametrize("name", ["hf:owner/tiny", "ms:owner/tiny"])
def test_dropped_connections_are_continued_where_they_broke(hub, tmp_path, name):
    hub.drop_after = [1_200_000, 1_000_000]
    model = fetch(name, tmp_path)
    assert (model.path / SHARD).read_bytes() == hub.files[SHARD]
    ranges = [hub.requests[i][1] for i, (url, _) in enumerate(hub.requests) if SHARD in url]
    assert ranges[0] is None
    assert len(ranges) == 3
    starts = [int(text.removeprefix("bytes=").rstrip("-")) for text in ranges[1:]]
    assert 0 < starts[0] < starts[1] < len(hub.files[SHARD])


def test_a_server_that_ignores_ranges_is_read_from_the_start_again(hub, tmp_path):
    hub.drop_after = [1_200_000]
    hub.ignore_range = True
    assert (fetch("hf:owner/tiny", tmp_path).path / SHARD).read_bytes() == hub.files[SHARD]


def test_wrong_bytes_are_refused_and_nothing_of_the_file_is_left(hub, tmp_path):
    hub.promised[SHARD] = b"\7" * len(hub.files[SHARD])
    with pytest.raises(DownloadError, match=f"{SHARD}.*not the promised file"):
        fetch("hf:owner/tiny", tmp_path)
    assert not [path for path in leftovers(tmp_path) if SHARD in path]
    assert not (tmp_path / "models/hf/owner/tiny/main").exists()


def test_a_small_file_with_wrong_bytes_is_refused_by_its_git_id(hub, tmp_path):
    hub.promised["config.json"] = b'{"model_type": "GLM"}'
    with pytest.raises(DownloadError, match="not the promised file"):
        fetch("hf:owner/tiny", tmp_path)


def test_a_damaged_part_is_thrown_away_and_fetched_anew(hub, tmp_path):
    hub.drop_after = [1_200_000] + [0] * 8
    with pytest.raises(DownloadError, match="kept and continued"):
        pull("ms:owner/tiny", cache=tmp_path, progress=Silent(), patience=Patience(tries=1, wait_s=0))
    (part,) = tmp_path.rglob("*.part")
    part.write_bytes(b"x" * 1_000_000)
    hub.drop_after = []
    assert (fetch("ms:owner/tiny", tmp_path).path / SHARD).read_bytes() == hub.files[SHARD]


def test_a_busy_server_is_asked_again_and_for_as_long_as_it_says(hub, tmp_path):
    hub.refuse = [(429, {"Retry-After": "0"}), (503, {})]
    assert (fetch("hf:owner/tiny", tmp_path).path / SHARD).is_file()


def test_a_hub_that_stays_busy_is_given_up_with_a_hint(hub, tmp_path):
    hub.refuse = [(503, {})] * 20
    with pytest.raises(DownloadError, match="503") as caught:
        fetch("hf:owner/tiny", tmp_path)
    assert "HF_ENDPOINT" in (caught.value.hint or "")


def test_a_refusal_names_the_token_and_a_missing_model_says_so(hub, tmp_path):
    hub.refuse = [(401, {})]
    with pytest.raises(DownloadError, match="401") as caught:
        fetch("hf:owner/tiny", tmp_path)
    assert "HF_TOKEN" in (caught.value.hint or "")
    with pytest.raises(ModelNotFound, match="owner/other"):
        fetch("hf:owner/other", tmp_path)
    assert leftovers(tmp_path) == []


def test_the_token_is_sent_to_the_hub(hub, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "a-token")
    fetch("hf:owner/tiny", tmp_path)
    assert hub.seen_tokens == {"Bearer a-token"}


def test_pickles_only_is_an_error_that_explains_itself(hub, tmp_path):
    hub.files = {"config.json": b"{}", "pytorch_model.bin": b"a pickle"}
    with pytest.raises(CheckpointError, match="only as pickles"):
        fetch("hf:owner/tiny", tmp_path)
    assert leftovers(tmp_path) == []


def test_several_gguf_files_need_a_choice(hub, tmp_path):
    hub.files = {"a.Q4_0.gguf": b"GGUF" * 10, "a.Q8_0.gguf": b"GGUF" * 20}
    with pytest.raises(ModelNotFound, match="several GGUF") as caught:
        fetch("hf:owner/tiny", tmp_path)
    assert "hf:owner/tiny/a.Q4_0.gguf" in (caught.value.hint or "")
    assert fetch("hf:owner/tiny/a.Q8_0.gguf", tmp_path).path.read_bytes() == b"GGUF" * 20


def test_paths_that_lead_outside_are_never_written(hub, tmp_path):
    hub.files["../../config.json"] = b"{}"
    hub.files["/etc/config.json"] = b"{}"
    fetch("hf:owner/tiny", tmp_path / "cache")
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]


def test_what_is_here_is_used_without_asking_the_hub(hub, tmp_path):
    first = fetch("hf:owner/tiny", tmp_path)
    hub.requests.clear()
    assert resolve("hf:owner/tiny", cache=tmp_path, progress=Silent()) == first
    assert hub.requests == []


def test_a_model_with_a_missing_file_is_fetched_again_and_only_that_file(hub, tmp_path):
    model = fetch("ms:owner/tiny", tmp_path)
    (model.path / SHARD).unlink()
    hub.requests.clear()
    assert (resolve("ms:owner/tiny", cache=tmp_path, progress=Silent()).path / SHARD).is_file()
    assert len(hub.requests) == 2  # the listing and the file


def test_a_new_version_replaces_the_old_one_and_keeps_what_did_not_change(hub, tmp_path):
    fetch("hf:owner/tiny", tmp_path)
    hub.commit = COMMIT_2 = "f" * 40
    hub.files[SHARD] = b"\5" * 100
    hub.requests.clear()
    model = fetch("hf:owner/tiny", tmp_path)
    assert (model.path / SHARD).read_bytes() == b"\5" * 100
    manifest = Manifest.read(model.path)
    assert manifest is not None
    assert manifest.commit == COMMIT_2
    assert not hub.asked_for("model-00002-of-00002.safetensors")
    assert {path.name for path in model.path.iterdir()} == NEEDED


def test_pulling_an_unchanged_model_fetches_no_weights(hub, tmp_path):
    fetch("hf:owner/tiny", tmp_path)
    hub.requests.clear()
    fetch("hf:owner/tiny", tmp_path)
    assert not [url for url, _ in hub.requests if url.endswith(".safetensors")]


def test_an_index_that_names_a_missing_shard_is_an_error(hub, tmp_path):
    del hub.files[SHARD]
    with pytest.raises(CheckpointError, match=SHARD):
        fetch("hf:owner/tiny", tmp_path)


def test_an_alias_falls_back_to_its_second_hub(hub, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(ModelNotFound, match="glm-edge"):  # the second hub answers, without this model
        fetch("glm-edge-1.5b", tmp_path)
    assert any("ZhipuAI/glm-edge-1.5b-chat" in url for url, _ in hub.requests)


def pull_program(cache: Path, name: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "openglm.cli", "pull", name],
        env=os.environ | {"OPENGLM_CACHE": str(cache)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_a_killed_pull_leaves_no_model_and_the_next_one_continues_it(hub, tmp_path):
    hub.hold_after = 1_500_000
    killed = pull_program(tmp_path, "hf:owner/tiny")
    assert hub.held.wait(60)
    while not (part := find_part(tmp_path)):  # what the hub has sent is not yet what the disk has
        pass
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert not (tmp_path / "models/hf/owner/tiny/main").exists()
    arrived = part.stat().st_size
    hub.hold_after = None
    hub.release.set()
    hub.requests.clear()
    again = pull_program(tmp_path, "hf:owner/tiny")
    output, errors = again.communicate(timeout=60)
    assert again.returncode == 0, errors.decode()
    model = tmp_path / "models/hf/owner/tiny/main"
    assert output.decode().strip() == str(model)
    assert (model / SHARD).read_bytes() == hub.files[SHARD]
    assert hub.asked_for(SHARD) == [f"bytes={arrived}-"]
    assert not list(tmp_path.rglob("*.part*"))


def find_part(cache: Path) -> Path | None:
    """The part that has begun to grow."""
    return next((path for path in cache.rglob("*.safetensors.*.part") if path.stat().st_size), None)


def test_two_pulls_of_one_model_wait_for_each_other(hub, tmp_path):
    hub.hold_after = 10
    first = pull_program(tmp_path, "ms:owner/tiny")
    assert hub.held.wait(60)
    second = pull_program(tmp_path, "ms:owner/tiny")
    assert second.stderr is not None
    assert b"another program is fetching" in second.stderr.readline()
    hub.hold_after = None
    hub.release.set()
    assert first.wait(60) == 0
    assert second.wait(60) == 0
    for program in (first, second):
        program.communicate()
    assert len(hub.asked_for(SHARD)) == 1
