-- What people keep beside their conversations. `body` is JSON; `sealed` are its secrets.

CREATE TABLE chat_item (
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    org_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    visibility TEXT NOT NULL,
    body TEXT NOT NULL,
    sealed BLOB,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX chat_item_own ON chat_item (org_id, user_id, kind, id);
CREATE INDEX chat_item_shown ON chat_item (kind, visibility, org_id, id);

CREATE TABLE chat_person (
    org_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    memory_on BIGINT NOT NULL,
    PRIMARY KEY (org_id, user_id)
);

-- Attachments are files of the platform under the same id, with the text that was read of them. They go with
-- the conversation that they were first sent in; those of projects stay until they are deleted.
CREATE TABLE chat_attachment (
    id TEXT PRIMARY KEY,
    org_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    file_org_id TEXT NOT NULL,
    file_project_id TEXT NOT NULL,
    name TEXT NOT NULL,
    bytes BIGINT NOT NULL,
    media_type TEXT NOT NULL,
    state TEXT NOT NULL,
    conversation_id TEXT,
    in_project BIGINT NOT NULL DEFAULT 0,
    error TEXT,
    created_at BIGINT NOT NULL,
    text TEXT
);
CREATE INDEX chat_attachment_own ON chat_attachment (org_id, user_id);
CREATE INDEX chat_attachment_of ON chat_attachment (conversation_id);
CREATE INDEX chat_attachment_unsent ON chat_attachment (created_at)
    WHERE conversation_id IS NULL AND in_project = 0;

CREATE TABLE chat_share (
    id TEXT PRIMARY KEY,
    org_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    conversation_id TEXT NOT NULL,
    token_hash TEXT NOT NULL UNIQUE,
    expires_at BIGINT,
    created_at BIGINT NOT NULL,
    snapshot TEXT NOT NULL
);
CREATE INDEX chat_share_of ON chat_share (conversation_id);

-- The words of messages: words, and pairs of Chinese, Japanese and Korean letters.
CREATE TABLE chat_term (
    org_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    term TEXT NOT NULL,
    message_id TEXT NOT NULL,
    conversation_id TEXT NOT NULL,
    PRIMARY KEY (org_id, user_id, term, message_id)
);
CREATE INDEX chat_term_conversation ON chat_term (conversation_id);
