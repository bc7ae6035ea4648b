"""What an operator decides: flags and environment first, then `platform.toml` in the data folder.

An unknown key is an error that names the nearest one. Secrets stand in the environment or in files of their
own: one in `platform.toml` is an error, and none is shown by `repr`.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, cast
from urllib.parse import urlsplit

from openglm.dialects.fields import Fields
from openglm.dialects.mcp import McpServer, Transport, read_allowed, read_label, read_url
from openglm.errors import InvalidRequest, OpenGLMError
from openglm.maas.identity.oidc import Provider

CURRENCIES = ("CNY", "USD", "EUR")
MOST_TRAININGS = 64
_KINDS: dict[str, type] = {"bool": bool, "int": int}


VARIABLES = {
    "database_url": "OPENGLM_DATABASE_URL",
    "blobs_url": "OPENGLM_BLOBS_URL",
    "metrics_token": "OPENGLM_METRICS_TOKEN",
    "public_url": "OPENGLM_PUBLIC_URL",
    "payment_secret": "OPENGLM_PAYMENT_SECRET",
}


@dataclass(frozen=True, slots=True)
class Settings:
    """One platform's settings. `data` is the folder that holds everything that a backup must keep."""

    data: Path
    database_url: str = field(default="", repr=False)  # default: SQLite in the data folder
    blobs_url: str = field(default="", repr=False)  # default: a folder beside it; s3://bucket/prefix
    currency: str = "CNY"  # of the wallet and of all prices
    sign_up: Literal["open", "invitation", "closed"] = "open"  # closed: operators alone add users
    jwt_keys: bool = True  # Zhipu's signed tokens beside raw keys
    metrics_token: str = field(default="", repr=False)  # lets Prometheus read /metrics
    public_url: str = ""  # where browsers see the platform; with one, nothing counts as of this machine
    oidc: tuple[Provider, ...] = ()  # [oidc.NAME] tables: who else may say who somebody is
    payment_secret: str = field(default="", repr=False)  # signs notices of the adapter "manual"; "": none
    trainings_at_once: int = 1  # fine-tuning jobs that train side by side on this node
    search_url: str = ""  # of a SearXNG; default: the index in the data folder
    mcp: tuple[McpServer, ...] = ()  # [mcp.NAME] tables: servers that requests and agents may name by label

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


def read_settings(data: Path | None = None, *, make: bool = True) -> Settings:
    """The settings of a data folder; with `make` it is made if it is not there."""
    folder = (data or default_data_folder()).expanduser().absolute()
    try:
        if make:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise OpenGLMError(
            f"cannot use {folder} as the data folder: {error.strerror}", hint="name another one with --data"
        ) from error
    given = _file(folder / "platform.toml")
    for name, variable in VARIABLES.items():
        if value := os.environ.get(variable):
            given[name] = value
    settings = Settings(data=folder, **given)
    _check_public_url(settings.public_url)
    _one_of("currency", settings.currency, CURRENCIES)
    _one_of("sign_up", settings.sign_up, ("open", "invitation", "closed"))
    if not 0 <= settings.trainings_at_once <= MOST_TRAININGS:
        raise OpenGLMError(
            f"the setting trainings_at_once must be from 0 to {MOST_TRAININGS},"
            f" got {settings.trainings_at_once}"
        )
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
        if name in ("oidc", "mcp"):
            continue
        kind = _KINDS.get(str(known[name].type), str)
        if type(value) is not kind:
            raise OpenGLMError(f"{path}: {name} must be a {kind.__name__}, got {value!r}")
        if name in ("metrics_token", "payment_secret") or (
            name in ("database_url", "blobs_url") and urlsplit(str(value)).password
        ):
            raise OpenGLMError(
                f"{path}: {name} holds a secret, which must not stand in this file",
                hint=f"set {VARIABLES[name]} in the environment",
            )
    if "oidc" in data:
        data["oidc"] = _providers(path, data["oidc"])
    if "mcp" in data:
        data["mcp"] = _mcp_servers(path, data["mcp"])
    return data


def _providers(path: Path, tables: Any) -> tuple[Provider, ...]:
    """`[oidc.NAME]`: issuer and client_id, at will title, scopes and client_secret_file. The secret may also
    stand in $OPENGLM_OIDC_NAME_SECRET; without one the client is public."""
    if not isinstance(tables, dict) or not all(isinstance(table, dict) for table in tables.values()):
        raise OpenGLMError(f"{path}: oidc must be tables such as [oidc.company]")
    found = []
    for name, table in tables.items():
        if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,30}", name) or name == "callback":
            raise OpenGLMError(f"{path}: [oidc.{name}] must be named by a-z, 0-9 and -, and not callback")
        words = ("issuer", "client_id", "title", "scopes", "client_secret_file")
        for word, value in table.items():
            if word not in words or not isinstance(value, str):
                raise OpenGLMError(
                    f"{path}: [oidc.{name}] takes texts named {', '.join(words)}, got {word!r}"
                )
        if not table.get("issuer") or not table.get("client_id"):
            raise OpenGLMError(f"{path}: [oidc.{name}] needs issuer and client_id")
        given = {word: table[word] for word in words[:4] if word in table}
        secret = os.environ.get(f"OPENGLM_OIDC_{name.upper().replace('-', '_')}_SECRET", "")
        if not secret and (file := table.get("client_secret_file")):
            try:
                secret = (path.parent / file).read_text(encoding="utf-8").strip()
            except OSError as error:
                raise OpenGLMError(f"{path}: client_secret_file {file}: {error.strerror}") from error
        found.append(Provider(name=name, client_secret=secret, **given))
    return tuple(found)


def _mcp_servers(path: Path, tables: Any) -> tuple[McpServer, ...]:
    """`[mcp.NAME]`: url, and at will transport and allowed_tools. What it wants in the Authorization header
    stands in $OPENGLM_MCP_NAME_AUTHORIZATION."""
    if not isinstance(tables, dict) or not all(isinstance(table, dict) for table in tables.values()):
        raise OpenGLMError(f"{path}: mcp must be tables such as [mcp.wiki]")
    found = []
    for name, table in tables.items():
        words = ("url", "transport", "allowed_tools")
        if unknown := sorted(table.keys() - set(words)):
            raise OpenGLMError(f"{path}: [mcp.{name}] takes {', '.join(words)}, got {unknown[0]!r}")
        fields = Fields({"server_label": name, "server_url": table.get("url"), **table}, f"[mcp.{name}]")
        secret = os.environ.get(f"OPENGLM_MCP_{re.sub(r'[^A-Z0-9]', '_', name.upper())}_AUTHORIZATION", "")
        try:
            transport = fields.word("transport", ("sse", "streamable-http"))
            server = McpServer(
                read_label(fields),
                read_url(fields),
                cast(Transport | None, transport),
                read_allowed(fields),
                (("authorization", secret),) if secret else (),
            )
        except InvalidRequest as error:
            raise OpenGLMError(f"{path}: {error.message}") from None
        if not server.url:
            raise OpenGLMError(f"{path}: [mcp.{name}] needs a url")
        found.append(server)
    return tuple(found)


def _check_public_url(url: str) -> None:
    parsed = urlsplit(url)
    if url and (parsed.scheme not in ("http", "https") or not parsed.netloc or parsed.path not in ("", "/")):
        raise OpenGLMError(
            f"the setting public_url must be like https://glm.example.org without a path, got {url!r}"
        )


def _one_of(name: str, value: str, words: tuple[str, ...]) -> None:
    if value not in words:
        raise OpenGLMError(f"the setting {name} must be one of {', '.join(words)}, got {value!r}")
