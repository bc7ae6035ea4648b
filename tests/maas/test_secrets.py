"""The master key and sealed values."""

from __future__ import annotations

import base64
import stat
import threading

import pytest

from openglm.errors import OpenGLMError
from openglm.maas.secrets import (
    SealBroken,
    Secrets,
    fingerprint,
    same,
)


@pytest.fixture(autouse=True)
def no_key_in_the_environment(monkeypatch):
    monkeypatch.delenv("OPENGLM_SECRET_KEY", raising=False)


def test_the_master_key_is_made_once_and_only_its_owner_may_read_it(tmp_path):
    first = Secrets.open(tmp_path)
    path = tmp_path / "secret.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert Secrets.open(tmp_path).derive("x") == first.derive("x")
    assert [entry.name for entry in tmp_path.iterdir()] == ["secret.key"]


def test_processes_that_start_at_once_agree_on_one_master_key(tmp_path):
    derived: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: derived.append(Secrets.open(tmp_path).derive("x"))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(derived) == 8
    assert len(set(derived)) == 1


def test_a_master_key_that_others_can_read_is_refused(tmp_path):
    Secrets.open(tmp_path)
    (tmp_path / "secret.key").chmod(0o644)
    with pytest.raises(OpenGLMError, match="others can read"):
        Secrets.open(tmp_path)


@pytest.mark.parametrize(
    "text", ["short", "é" * 32, "00" * 31, base64.b64encode(b"x" * 31).decode(), "zz" * 32]
)
def test_a_master_key_of_the_wrong_size_is_refused_without_being_shown(tmp_path, monkeypatch, text):
    monkeypatch.setenv("OPENGLM_SECRET_KEY", text)
    with pytest.raises(OpenGLMError) as caught:
        Secrets.open(tmp_path)
    assert text not in str(caught.value)


def test_the_environment_may_hold_the_master_key_in_base64_or_hex(tmp_path, monkeypatch):
    raw = bytes(range(32))
    monkeypatch.setenv("OPENGLM_SECRET_KEY", base64.b64encode(raw).decode())
    first = Secrets.open(tmp_path).derive("x")
    monkeypatch.setenv("OPENGLM_SECRET_KEY", raw.hex())
    assert Secrets.open(tmp_path).derive("x") == first
    assert not (tmp_path / "secret.key").exists()


def test_a_sealed_value_opens_for_its_purpose_and_context_only():
    secrets = Secrets(b"k" * 32)
    sealed = secrets.seal("api-key", b"hush", context="key_1")
    assert b"hush" not in sealed
    assert secrets.unseal("api-key", memoryview(sealed), context="key_1") == b"hush"
    assert sealed != secrets.seal("api-key", b"hush", context="key_1")
    for purpose, context, value, master in [
        ("api-key", "key_2", sealed, b"k"),
        ("other", "key_1", sealed, b"k"),
        ("api-key", "key_1", sealed[:-1] + bytes([sealed[-1] ^ 1]), b"k"),
        ("api-key", "key_1", b"\x02" + sealed[1:], b"k"),
        ("api-key", "key_1", sealed[:20], b"k"),
        ("api-key", "key_1", b"", b"k"),
        ("api-key", "key_1", sealed, b"l"),
    ]:
        with pytest.raises(SealBroken):
            Secrets(master * 32).unseal(purpose, value, context=context)


def test_derived_keys_differ_by_purpose_and_macs_by_value():
    secrets = Secrets(b"k" * 32)
    assert len({secrets.derive("a"), secrets.derive("b"), b"k" * 32}) == 3
    assert secrets.mac("a", "x") != secrets.mac("a", "y") != secrets.mac("b", "y")


def test_comparison_takes_any_text():
    assert same("abc", "abc")
    assert not same("é\udcff", "abc")
    assert fingerprint("a") != fingerprint("b")
