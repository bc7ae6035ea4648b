CREATE TABLE channel (
  id TEXT PRIMARY KEY,
  org_id TEXT,
  name TEXT NOT NULL,
  base_url TEXT NOT NULL,
  sealed_key TEXT,
  weight BIGINT NOT NULL,
  priority BIGINT NOT NULL,
  max_in_flight BIGINT,
  leaving TEXT NOT NULL,
  drain_tokens BIGINT NOT NULL,
  state TEXT NOT NULL,
  created_at BIGINT NOT NULL
);

CREATE TABLE channel_model (
  channel_id TEXT NOT NULL,
  model TEXT NOT NULL,
  wire_name TEXT NOT NULL,
  PRIMARY KEY (channel_id, model)
);
CREATE INDEX channel_model_model ON channel_model (model);

CREATE TABLE model (
  name TEXT PRIMARY KEY,
  org_id TEXT,
  kind TEXT NOT NULL,
  title TEXT NOT NULL,
  description TEXT NOT NULL,
  context BIGINT,
  aliases TEXT NOT NULL,
  sampling TEXT NOT NULL,
  created_at BIGINT NOT NULL
);

CREATE TABLE limit_rule (
  id TEXT PRIMARY KEY,
  tier TEXT NOT NULL,
  model TEXT NOT NULL,
  subject TEXT NOT NULL,
  concurrency BIGINT,
  rpm BIGINT,
  tpm BIGINT,
  UNIQUE (tier, model, subject)
);
