"""The gateway: routes of every dialect, and the one road that a request takes through the platform."""

from openglm.maas.gateway.app import create_app
from openglm.maas.gateway.call import Call, Surface
from openglm.maas.gateway.exchange import Exchange
from openglm.maas.gateway.generation import whole
from openglm.maas.gateway.images import Drawn, draw
from openglm.maas.gateway.loop import Loop, open_answer, turn_ids
from openglm.maas.gateway.payer import plan_pays
from openglm.maas.gateway.retold import Watched

__all__ = [
    "Call",
    "Drawn",
    "Exchange",
    "Loop",
    "Surface",
    "Watched",
    "create_app",
    "draw",
    "open_answer",
    "plan_pays",
    "turn_ids",
    "whole",
]
