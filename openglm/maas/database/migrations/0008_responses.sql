-- Responses that may be asked for again, or continued. `items` are the input's own, without earlier turns.

CREATE TABLE response (
    id TEXT PRIMARY KEY,
    org_id TEXT NOT NULL,
    previous_id TEXT,
    node_id TEXT NOT NULL,
    status TEXT NOT NULL,
    body BLOB NOT NULL,
    items BLOB NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX response_by_expiry ON response (expires_at);
