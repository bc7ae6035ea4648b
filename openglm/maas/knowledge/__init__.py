"""Knowledge bases: documents are read, cut into exact spans, and found by words and by meaning."""

from openglm.maas.knowledge.adopt import adopt
from openglm.maas.knowledge.knowledge import Knowledge
from openglm.maas.knowledge.retrieve import Found, Question
from openglm.maas.knowledge.routes import routes

__all__ = ["Found", "Knowledge", "Question", "adopt", "routes"]
