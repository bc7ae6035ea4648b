"""The chat app's backend: conversations, and answers that belong to the server. No torch."""

from openglm.chat.app import PATH, create_chat
from openglm.chat.room import Chat

__all__ = ["PATH", "Chat", "create_chat"]
