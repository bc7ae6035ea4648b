"""Model servers as the platform sees them: ours, vLLM, SGLang, or anything that speaks OpenAI."""

from openglm.maas.upstreams.answer import UpstreamAnswer
from openglm.maas.upstreams.channel import Channel
from openglm.maas.upstreams.channels import Channels
from openglm.maas.upstreams.client import Client, ModelCard
from openglm.maas.upstreams.router import Health, Router

__all__ = ["Channel", "Channels", "Client", "Health", "ModelCard", "Router", "UpstreamAnswer"]
