"""What an operator decides: flags and environment first, then `platform.toml` in the data folder.

An unknown key is an error that names the nearest one. Secrets stand in the environment or in files of their
own, never in this one.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from openglm.errors import OpenGLMError

CURRENCIES = ("CNY", "USD", "EUR")


@dataclass(frozen=True, slots=True)
class Settings:
    """One platform's settings. `data` is the folder that holds everything that a backup must keep."""

    data: Path
    database_url: str = ""  # default: SQLite in the data folder
    blobs_url: str = ""  # default: a folder beside it; s3://bucket/prefix
    currency: str = "CNY"  # of the wallet and of all prices
    sign_up: Literal["open", "invitation", "closed"] = "open"  # the first user always can
    jwt_keys: bool = True  # Zhipu's signed tokens beside raw keys
    metrics_token: str = ""  # lets Prometheus read /metrics from elsewhere; from this machine it needs none
    search_url: str = ""  # of a SearXNG; default: the index in the data folder

    @property
    def database(self) -> str:
        return self.database_url or f"sqlite:///{self.data / 'openglm.db'}"

    @property
    def blobs(self) -> str:
        return self.blobs_url or str(self.data / "blobs")


def default_data_folder() -> Path:
    """$OPENGLM_DATA, else the user's data folder."""
    if chosen := os.environ.get("OPENGLM_DATA"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_DATA_HOME", "~/.local/share")).expanduser() / "openglm"


def read_settings(data: Path | None = None) -> Settings:
    """The settings of a data folder, which is made if it is not there."""
    folder = (data or default_data_folder()).expanduser().absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise OpenGLMError(
            f"cannot use {folder} as the data folder: {error.strerror}", hint="name another one with --data"
        ) from error
    given = _file(folder / "platform.toml")
    for name, variable in (
        ("database_url", "OPENGLM_DATABASE_URL"),
        ("blobs_url", "OPENGLM_BLOBS_URL"),
        ("metrics_token", "OPENGLM_METRICS_TOKEN"),
    ):
        if value := os.environ.get(variable):
            given[name] = value
    settings = Settings(data=folder, **given)
    _one_of("currency", settings.currency, CURRENCIES)
    _one_of("sign_up", settings.sign_up, ("open", "invitation", "closed"))
    return settings


def _file(path: Path) -> dict[str, Any]:
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise OpenGLMError(f"{path} is not valid TOML: {error}") from None
    known = {entry.name: entry for entry in fields(Settings) if entry.name != "data"}
    for name, value in data.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}?" if near else "known: " + ", ".join(known)
            raise OpenGLMError(f"{path}: unknown setting {name!r}", hint=hint)
        kind = bool if known[name].type == "bool" else str
        if not isinstance(value, kind):
            raise OpenGLMError(f"{path}: {name} must be a {kind.__name__}, got {value!r}")
    return data


def _one_of(name: str, value: str, words: tuple[str, ...]) -> None:
    if value not in words:
        raise OpenGLMError(f"the setting {name} must be one of {', '.join(words)}, got {value!r}")
