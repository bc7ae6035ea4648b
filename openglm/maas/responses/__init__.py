"""Responses that are kept for some days, so that a conversation can go on from them."""

from openglm.maas.responses.store import Kept, Responses

__all__ = ["Kept", "Responses"]
