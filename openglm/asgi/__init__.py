"""HTTP for every server of ours: listening and stopping, bodies, clients that leave. Knows no dialect."""

from openglm.asgi.run import Running, open_socket, run

__all__ = ["Running", "open_socket", "run"]
