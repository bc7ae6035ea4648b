"""The routes below /api/chat, by what they are about."""
