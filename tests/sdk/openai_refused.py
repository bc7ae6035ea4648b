"""What the OpenAI client has and this platform does not offer: each ends in 404 not_offered."""

from __future__ import annotations

from tests.sdk.openai_sdk import table

table.refuses("not_offered", "audio.*", "containers.*", "content_provenance_checks.*", "conversations.*")
table.refuses("not_offered", "decisions.*", "evals.*", "images.*", "live.*", "realtime.*", "safety.*")
table.refuses("not_offered", "skills.*", "uploads.*", "vector_stores.*", "videos.*", "admin.*")
table.refuses("not_offered", "beta.agents.*", "beta.assistants.*", "beta.chatkit.*", "beta.realtime.*")
table.refuses("not_offered", "beta.threads.*", "fine_tuning.*", "models.delete", "responses.connect")
table.refuses("not_offered", "beta.responses.connect")
# Chats are not kept; the Responses are.
table.refuses(
    "not_offered",
    "chat.completions.list",
    "chat.completions.retrieve",
    "chat.completions.update",
    "chat.completions.delete",
    "chat.completions.messages.list",
)
table.refuses("not_offered", "webhooks.*")
