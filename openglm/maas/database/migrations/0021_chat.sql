-- Conversations as trees of messages. `user_id` is '' for whoever sits at the machine of a household.

CREATE TABLE chat_conversation (
    id TEXT PRIMARY KEY,
    org_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    title TEXT NOT NULL,
    titled_by TEXT NOT NULL,
    model TEXT,
    project_id TEXT,
    assistant_id TEXT,
    leaf_id TEXT,
    messages BIGINT NOT NULL DEFAULT 0,
    pinned_at BIGINT,
    archived_at BIGINT,
    temporary BIGINT NOT NULL DEFAULT 0,
    settings TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX chat_conversation_list ON chat_conversation (org_id, user_id, updated_at);
CREATE INDEX chat_conversation_project ON chat_conversation (project_id, updated_at);
CREATE INDEX chat_conversation_temporary ON chat_conversation (created_at) WHERE temporary = 1;

-- Long texts come last, so that a walk along the tree does not read them. While an answer runs, its text is in
-- chat_piece, which grows by what is new; at its end it is written here once.
CREATE TABLE chat_message (
    id TEXT PRIMARY KEY,
    conversation_id TEXT NOT NULL,
    parent_id TEXT,
    role TEXT NOT NULL,
    state TEXT NOT NULL,
    model TEXT,
    node_id TEXT,
    request_id TEXT,
    stop_at BIGINT,
    version BIGINT NOT NULL DEFAULT 0,
    finish TEXT,
    ttft_ms BIGINT,
    reasoning_ms BIGINT,
    duration_ms BIGINT,
    rating BIGINT,
    created_at BIGINT NOT NULL,
    settings TEXT,
    error TEXT,
    bill TEXT,
    parts TEXT NOT NULL DEFAULT '[]',
    reasoning TEXT NOT NULL DEFAULT '',
    text TEXT NOT NULL DEFAULT ''
);
CREATE INDEX chat_message_tree ON chat_message (conversation_id, parent_id, id);
CREATE INDEX chat_message_running ON chat_message (conversation_id) WHERE state = 'running';

CREATE TABLE chat_piece (
    message_id TEXT NOT NULL,
    number BIGINT NOT NULL,
    kind TEXT NOT NULL,
    text TEXT NOT NULL,
    PRIMARY KEY (message_id, number)
);

-- What a browser has sent, by the name it gave it: sent again, it is the same turn.
CREATE TABLE chat_send (
    conversation_id TEXT NOT NULL,
    client_id TEXT NOT NULL,
    user_message_id TEXT,
    answer_ids TEXT NOT NULL,
    PRIMARY KEY (conversation_id, client_id)
);
