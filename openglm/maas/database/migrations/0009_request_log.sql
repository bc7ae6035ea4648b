-- What was refused, and what projects asked to be kept. Bodies are compressed and sealed. Times are ms UTC.

ALTER TABLE project ADD COLUMN body_days BIGINT NOT NULL DEFAULT 0;

CREATE TABLE request_log (
    request_id TEXT PRIMARY KEY,
    org_id TEXT NOT NULL,
    project_id TEXT NOT NULL,
    key_id TEXT NOT NULL,
    path TEXT NOT NULL,
    model TEXT,
    status BIGINT NOT NULL,
    failure TEXT,
    message TEXT,
    duration_ms BIGINT NOT NULL,
    asked BLOB,
    answered BLOB,
    is_cut BIGINT NOT NULL DEFAULT 0,
    expires_at BIGINT NOT NULL,
    at BIGINT NOT NULL
);
CREATE INDEX request_log_of_org ON request_log (org_id, request_id);
CREATE INDEX request_log_by_expiry ON request_log (expires_at);
