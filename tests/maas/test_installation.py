"""The master key belongs to its database: another one is refused before anything is sealed with it."""

from __future__ import annotations

import base64

import pytest

from openglm.errors import OpenGLMError
from openglm.maas.installation import accept_key, open_installation


@pytest.fixture(autouse=True)
def no_key_in_the_environment(monkeypatch):
    monkeypatch.delenv("OPENGLM_SECRET_KEY", raising=False)


def test_the_first_start_makes_the_key_and_later_ones_agree(database, tmp_path):
    first, second = (open_installation(tmp_path, database) for _ in range(2))
    assert (first.id, first.setup_token) == (second.id, second.setup_token)
    assert first.is_setup_token(second.setup_token)
    assert not any(first.is_setup_token(word) for word in (None, "", "glmu_", first.id))


def test_a_database_that_was_sealed_gets_no_new_key_from_an_empty_folder(database, tmp_path):
    open_installation(tmp_path / "one", database)
    with pytest.raises(OpenGLMError, match=r"secret\.key is missing"):
        open_installation(tmp_path / "two", database)
    assert not (tmp_path / "two").exists()


def test_another_key_is_refused_with_what_to_do(database, tmp_path, monkeypatch):
    right = open_installation(tmp_path, database)
    monkeypatch.setenv("OPENGLM_SECRET_KEY", base64.b64encode(b"w" * 32).decode())
    with pytest.raises(OpenGLMError, match="another master key") as raised:
        open_installation(tmp_path, database)
    assert "glm admin accept-key" in str(raised.value)
    monkeypatch.delenv("OPENGLM_SECRET_KEY")
    assert open_installation(tmp_path, database).setup_token == right.setup_token


def test_who_lost_the_key_goes_on_with_another(database, tmp_path, monkeypatch):
    right = open_installation(tmp_path, database)
    monkeypatch.setenv("OPENGLM_SECRET_KEY", base64.b64encode(b"n" * 32).decode())
    accept_key(tmp_path, database)
    now = open_installation(tmp_path, database)
    assert now.id == right.id
    assert now.setup_token != right.setup_token
