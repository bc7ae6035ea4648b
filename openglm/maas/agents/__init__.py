"""Agents as data: instructions over declared variables, sampling, tools; and what they remember."""

from openglm.maas.agents.agent import Agent
from openglm.maas.agents.agents import Agents
from openglm.maas.agents.conversations import Conversations

__all__ = ["Agent", "Agents", "Conversations"]
