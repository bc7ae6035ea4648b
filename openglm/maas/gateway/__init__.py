"""The gateway: routes of every dialect, and the one road that a request takes through the platform."""

from openglm.maas.gateway.app import create_app

__all__ = ["create_app"]
