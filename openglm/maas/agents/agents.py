"""All agents of this platform: `agents.toml` of the data folder, which replaces ours."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

from openglm.errors import InvalidRequest, NotOffered, OpenGLMError
from openglm.maas.agents.agent import Agent, read_agent

if TYPE_CHECKING:
    from collections.abc import Sequence

SHIPPED = Path(__file__).parent / "agents.toml"
_ID = re.compile(r"[\w.-]{1,64}")


class Agents:
    """`load` reads the file; a file that cannot be read keeps the platform from starting."""

    def __init__(self, file: Path | None = None):
        self._file = file
        self._agents: dict[str, Agent] = {}

    def load(self) -> None:
        path = self._file if self._file and self._file.exists() else SHIPPED
        try:
            self._agents = read_agents(path.read_text(encoding="utf-8"))
        except (OpenGLMError, UnicodeDecodeError) as error:
            hint = error.hint if isinstance(error, OpenGLMError) else None
            message = error.message if isinstance(error, OpenGLMError) else str(error)
            raise OpenGLMError(f"{path}: {message}", hint=hint) from error

    def all(self) -> list[Agent]:
        return list(self._agents.values())

    def get(self, agent_id: str) -> Agent:
        agent = self._agents.get(agent_id)
        if agent is None:
            known = ", ".join(self._agents) or "none"
            raise InvalidRequest(
                f"there is no agent {agent_id!r}",
                param="agent_id",
                code="invalid_value",
                hint=f"there is: {known}",
            )
        return agent


def read_agents(text: str) -> dict[str, Agent]:
    """The agents of a TOML text, by id."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise OpenGLMError(f"this is no TOML: {error}") from error
    if unknown := sorted(document.keys() - {"model", "agents"}):
        raise OpenGLMError(f"unknown key {unknown[0]!r}", hint="known: model, agents")
    model, tables = document.get("model"), document.get("agents", {})
    if model is not None and not isinstance(model, str):
        raise OpenGLMError(f"model must be a text, got {model!r}")
    if not isinstance(tables, dict):
        raise OpenGLMError("agents must be tables such as [agents.general_translation]")
    for agent_id in tables:
        if not _ID.fullmatch(agent_id):
            raise OpenGLMError(
                f"an agent's id must be 1 to 64 letters, digits or any of _ . -, got {agent_id!r}"
            )
    return {agent_id: read_agent(agent_id, table, model) for agent_id, table in tables.items()}


def model_of(agent: Agent, asked: str | None, offered: Sequence[str]) -> str:
    """The model that answers: the agent's own, else the one asked for, else the only one there is."""
    if agent.model:
        return agent.model
    if asked:
        return asked
    if len(offered) == 1:
        return offered[0]
    raise NotOffered(
        f"the agent {agent.id} names no model, and there are {len(offered)} to choose from",
        hint="name one as model in the request, or in the platform's agents.toml",
    )
