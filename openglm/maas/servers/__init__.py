"""Model servers of this machine: child processes that are started, watched, restarted and unloaded."""

from openglm.maas.servers.server import Server, Status
from openglm.maas.servers.servers import Servers

__all__ = ["Server", "Servers", "Status"]
