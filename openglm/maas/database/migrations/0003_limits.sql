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
