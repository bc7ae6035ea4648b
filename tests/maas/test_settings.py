"""Settings of an operator: where they may stand, and what never shows."""

from __future__ import annotations

import pytest

from openglm.errors import OpenGLMError
from openglm.maas.settings import VARIABLES, Settings, read_settings

HUSH = "hunter22"


@pytest.fixture(autouse=True)
def no_settings_in_the_environment(monkeypatch):
    for variable in VARIABLES.values():
        monkeypatch.delenv(variable, raising=False)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("metrics_token", HUSH),
        ("payment_secret", HUSH),
        ("database_url", f"postgresql://glm:{HUSH}@db/glm"),
        ("blobs_url", f"s3://glm:{HUSH}@bucket/x"),
    ],
)
def test_a_secret_stands_in_the_environment_and_not_in_the_file(tmp_path, monkeypatch, name, value):
    (tmp_path / "platform.toml").write_text(f'{name} = "{value}"\n')
    with pytest.raises(OpenGLMError, match=VARIABLES[name]) as refused:
        read_settings(tmp_path)
    assert HUSH not in str(refused.value)
    (tmp_path / "platform.toml").unlink()
    monkeypatch.setenv(VARIABLES[name], value)
    settings = read_settings(tmp_path)
    assert getattr(settings, name) == value
    assert HUSH not in repr(settings)


def test_a_database_without_a_password_may_stand_in_the_file(tmp_path):
    (tmp_path / "platform.toml").write_text('database_url = "postgresql://glm@db/glm"\n')
    assert read_settings(tmp_path).database == "postgresql://glm@db/glm"


def test_an_unknown_setting_names_the_nearest_one(tmp_path):
    (tmp_path / "platform.toml").write_text('curency = "CNY"\n')
    with pytest.raises(OpenGLMError, match="currency"):
        read_settings(tmp_path)


def test_what_is_kept_is_for_its_owner_alone(tmp_path):
    from openglm.maas.platform import Platform

    platform = Platform(Settings(data=tmp_path), serves=False)
    for name in ("openglm.db", "search.db", "secret.key"):
        assert (tmp_path / name).stat().st_mode & 0o077 == 0, name
    platform.database.close()
