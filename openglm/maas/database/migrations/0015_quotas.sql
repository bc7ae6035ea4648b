-- What an organisation may have, by tier and name; NULL is no bound. Code has a default for each name.
CREATE TABLE quota (
    tier TEXT NOT NULL,
    name TEXT NOT NULL,
    most BIGINT,
    PRIMARY KEY (tier, name)
);
CREATE INDEX api_key_live ON api_key (org_id, revoked_at);
CREATE INDEX oidc_login_by_expiry ON oidc_login (expires_at);

-- Documents wait by their lease now; `due_at` is left for nodes of the version before.
CREATE INDEX knowledge_document_waits ON knowledge_document (state, lease_until);
