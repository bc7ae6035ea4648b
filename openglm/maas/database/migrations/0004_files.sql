CREATE TABLE file (
  id TEXT PRIMARY KEY,
  org_id TEXT NOT NULL,
  project_id TEXT NOT NULL,
  purpose TEXT NOT NULL,
  name TEXT NOT NULL,
  bytes BIGINT NOT NULL,
  created_at BIGINT NOT NULL
);
CREATE INDEX file_owner ON file (org_id, project_id, id);

CREATE TABLE batch (
  id TEXT PRIMARY KEY,
  org_id TEXT NOT NULL,
  project_id TEXT NOT NULL,
  caller TEXT NOT NULL,
  dialect TEXT NOT NULL,
  endpoint TEXT NOT NULL,
  completion_window TEXT NOT NULL,
  input_file_id TEXT NOT NULL,
  auto_delete_input BIGINT NOT NULL,
  metadata TEXT NOT NULL,
  state TEXT NOT NULL,
  ending TEXT,
  errors TEXT NOT NULL DEFAULT '[]',
  total BIGINT NOT NULL DEFAULT 0,
  completed BIGINT NOT NULL DEFAULT 0,
  failed BIGINT NOT NULL DEFAULT 0,
  output_file_id TEXT NOT NULL,
  error_file_id TEXT NOT NULL,
  has_output BIGINT NOT NULL DEFAULT 0,
  has_errors BIGINT NOT NULL DEFAULT 0,
  created_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL,
  in_progress_at BIGINT,
  finalizing_at BIGINT,
  cancelling_at BIGINT,
  ended_at BIGINT,
  cleaned BIGINT NOT NULL DEFAULT 0,
  lease_owner TEXT,
  lease_until BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX batch_owner ON batch (org_id, project_id, id);
CREATE INDEX batch_running ON batch (cleaned, lease_until);
CREATE INDEX batch_input ON batch (input_file_id);

CREATE TABLE batch_row (
  batch_id TEXT NOT NULL,
  number BIGINT NOT NULL,
  custom_id TEXT NOT NULL,
  line_at BIGINT NOT NULL,
  line_bytes BIGINT NOT NULL,
  state TEXT NOT NULL DEFAULT 'waiting',
  status BIGINT,
  answer BLOB,
  PRIMARY KEY (batch_id, number)
);

CREATE TABLE async_task (
  id TEXT PRIMARY KEY,
  org_id TEXT NOT NULL,
  request_id TEXT NOT NULL,
  caller TEXT NOT NULL,
  endpoint TEXT NOT NULL,
  model TEXT NOT NULL,
  body BLOB NOT NULL,
  state TEXT NOT NULL,
  status BIGINT,
  answer BLOB,
  created_at BIGINT NOT NULL,
  ended_at BIGINT,
  lease_owner TEXT,
  lease_until BIGINT NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX async_task_request ON async_task (org_id, request_id);
CREATE INDEX async_task_state ON async_task (state, lease_until);
CREATE INDEX async_task_ended ON async_task (ended_at);
