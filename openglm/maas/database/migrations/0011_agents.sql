-- Conversations that agents remember, and their turns. `body` is what was asked and answered, as JSON.

CREATE TABLE agent_conversation (
    id TEXT PRIMARY KEY,
    org_id TEXT NOT NULL,
    agent_id TEXT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX agent_conversation_by_expiry ON agent_conversation (expires_at);

CREATE TABLE agent_turn (
    conversation_id TEXT NOT NULL,
    number BIGINT NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (conversation_id, number)
);
