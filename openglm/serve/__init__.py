"""One model behind an HTTP server, no accounts: `create_app(service)`, served by `openglm.asgi.run`."""

from openglm.serve.app import create_app
from openglm.serve.service import ModelCard, Service

__all__ = ["ModelCard", "Service", "create_app"]
