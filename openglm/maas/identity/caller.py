"""Who makes an API request, and what their key lets them do."""

from __future__ import annotations

from dataclasses import dataclass

from openglm.errors import Forbidden

# What a key may be limited to. Lists of models, and routes that are not offered yet, are open to every key.
ENDPOINTS = {
    "chat": "chat completions of OpenAI and Zhipu, asynchronous ones too, and Zhipu's tokenizer",
    "completions": "plain completions",
    "responses": "OpenAI's Responses",
    "messages": "Anthropic's messages",
    "embeddings": "embeddings",
    "images": "images",
    "agents": "agents",
    "rerank": "reranking",
    "files": "files",
    "batches": "batches; each row needs its own endpoint's word too",
    "fine_tuning": "fine-tuning jobs",
    "knowledge": "knowledge bases, and retrieval in chats",
    "tools": "search and reader, and web search in chats",
    "moderations": "moderations",
    "monitor": "the meters of the coding plan",
}


@dataclass(frozen=True, slots=True)
class Caller:
    """The holder of a valid key. Empty scopes allow everything."""

    org_id: str
    project_id: str
    key_id: str
    user_id: str | None = None
    tier: str = "default"
    models: tuple[str, ...] = ()  # names, or prefix*
    endpoints: tuple[str, ...] = ()  # words of ENDPOINTS
    body_days: int = 0  # for how long the project keeps whole requests; 0: not at all

    def sees(self, model: str) -> bool:
        """Whether the key's scope covers a model."""
        return not self.models or any(_covers(pattern, model) for pattern in self.models)

    def may_use(self, model: str) -> None:
        if not self.sees(model):
            raise Forbidden(
                f"this key may not use the model {model!r}", hint=f"it may use: {', '.join(self.models)}"
            )

    def may_call(self, endpoint: str) -> None:
        assert endpoint in ENDPOINTS, endpoint
        if self.endpoints and endpoint not in self.endpoints:
            raise Forbidden(
                f"this key may not call {endpoint!r}", hint=f"it may call: {', '.join(self.endpoints)}"
            )


def _covers(pattern: str, model: str) -> bool:
    return model.startswith(pattern[:-1]) if pattern.endswith("*") else model == pattern
