-- What can be called, and where it is answered. A channel's key is sealed.

CREATE TABLE model (
    name TEXT PRIMARY KEY,
    title TEXT NOT NULL DEFAULT '',
    owner_org TEXT,
    alias_of TEXT,
    source TEXT,
    flags TEXT NOT NULL DEFAULT '[]',
    load TEXT NOT NULL DEFAULT 'always' CHECK (load IN ('always', 'on_demand')),
    idle_s BIGINT NOT NULL DEFAULT 600,
    memory_bytes BIGINT,
    state TEXT NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'disabled')),
    created_at BIGINT NOT NULL
);

CREATE TABLE channel (
    id TEXT PRIMARY KEY,
    base_url TEXT NOT NULL,
    sealed_key BLOB,
    models TEXT NOT NULL,
    weight BIGINT NOT NULL DEFAULT 1,
    priority BIGINT NOT NULL DEFAULT 0,
    max_in_flight BIGINT,
    leaving TEXT NOT NULL DEFAULT 'abort' CHECK (leaving IN ('cancel', 'drain', 'abort')),
    drain_tokens BIGINT NOT NULL DEFAULT 256,
    state TEXT NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'draining', 'disabled')),
    created_at BIGINT NOT NULL
);
