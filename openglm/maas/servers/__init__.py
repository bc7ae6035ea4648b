"""Model servers of this machine: child processes that are started, watched, restarted and unloaded."""

from openglm.maas.servers.server import Server, Status
from openglm.maas.servers.servers import Command, Servers, serve_command

__all__ = ["Command", "Server", "Servers", "Status", "serve_command"]
