"""Responses that are kept for some days, so that a conversation can go on from them."""

from openglm.maas.responses.line import Line
from openglm.maas.responses.store import RUNNING, Kept, Responses

__all__ = ["RUNNING", "Kept", "Line", "Responses"]
