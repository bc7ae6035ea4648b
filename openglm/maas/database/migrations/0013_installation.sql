-- Which master key this database was first opened with: sealed values open with no other. One row.

CREATE TABLE installation (
    only_row BIGINT PRIMARY KEY CHECK (only_row = 1),
    id TEXT NOT NULL,
    key_mark TEXT NOT NULL,
    created_at BIGINT NOT NULL
);

-- A knowledge base belongs to its organisation; nothing ever asked for the project.
ALTER TABLE knowledge_base DROP COLUMN project_id;
