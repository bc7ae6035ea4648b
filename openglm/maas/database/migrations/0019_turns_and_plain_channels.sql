-- How many tasks of an organisation wait is asked with every new one.
CREATE INDEX async_task_waiting ON async_task (org_id) WHERE state = 'PROCESSING';

-- Channels of services that refuse what OpenAI does not document.
ALTER TABLE channel ADD COLUMN extensions BIGINT NOT NULL DEFAULT 1;
