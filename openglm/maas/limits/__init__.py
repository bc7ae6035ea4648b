"""Who waits: answers in flight, requests and tokens a minute, and a fair queue before a full model server.

Counts are this process's own; rules are rows that every process reads.
"""

from openglm.maas.limits.fair_queue import FairQueue
from openglm.maas.limits.limits import Limits, Slot
from openglm.maas.limits.rate import Rate
from openglm.maas.limits.rules import Rule, Rules

__all__ = ["FairQueue", "Limits", "Rate", "Rule", "Rules", "Slot"]
