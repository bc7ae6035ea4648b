-- Fine-tuning: jobs, what they tell, and the private models that come of them. Times are ms UTC.

-- A model with a base is an adapter over it; `adapter` is its folder, seen from the data folder.
ALTER TABLE model ADD COLUMN base TEXT;
ALTER TABLE model ADD COLUMN adapter TEXT;

-- Pico-currency for a trained token. NULL: the model is not trained for money.
ALTER TABLE price_version ADD COLUMN training_pico BIGINT CHECK (training_pico >= 0);

-- The model whose weights in plans hold for this one.
ALTER TABLE hold ADD COLUMN base TEXT;

CREATE TABLE fine_tuning_job (
    id TEXT PRIMARY KEY,
    org_id TEXT NOT NULL,
    project_id TEXT NOT NULL,
    caller TEXT NOT NULL,
    dialect TEXT NOT NULL,
    request_id TEXT,
    model TEXT NOT NULL,
    base TEXT NOT NULL,
    training_file TEXT NOT NULL,
    validation_file TEXT,
    suffix TEXT,
    seed BIGINT NOT NULL,
    hyperparameters TEXT NOT NULL,
    metadata TEXT NOT NULL,
    state TEXT NOT NULL CHECK (
        state IN ('validating_files', 'queued', 'running', 'pausing', 'paused', 'cancelling', 'succeeded',
                  'failed', 'cancelled')
    ),
    error TEXT,
    examples BIGINT NOT NULL DEFAULT 0,
    expected_tokens BIGINT NOT NULL DEFAULT 0,
    trained_tokens BIGINT NOT NULL DEFAULT 0,
    fine_tuned_model TEXT,
    result_file_id TEXT,
    memory_bytes BIGINT,
    tries BIGINT NOT NULL DEFAULT 0,
    created_at BIGINT NOT NULL,
    started_at BIGINT,
    expected_end_at BIGINT,
    ended_at BIGINT,
    cleaned BIGINT NOT NULL DEFAULT 0,
    deleted BIGINT NOT NULL DEFAULT 0,
    lease_owner TEXT,
    lease_until BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX fine_tuning_job_owner ON fine_tuning_job (org_id, project_id, id);
CREATE INDEX fine_tuning_job_open ON fine_tuning_job (cleaned, lease_until);
CREATE INDEX fine_tuning_job_files ON fine_tuning_job (training_file);
CREATE INDEX fine_tuning_job_model ON fine_tuning_job (fine_tuned_model);

-- What a job tells: messages, and one row of figures for each step that was logged.
CREATE TABLE fine_tuning_event (
    job_id TEXT NOT NULL,
    number BIGINT NOT NULL,
    step BIGINT,
    level TEXT NOT NULL,
    message TEXT NOT NULL,
    data TEXT,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (job_id, number)
);
CREATE UNIQUE INDEX fine_tuning_event_step ON fine_tuning_event (job_id, step);
