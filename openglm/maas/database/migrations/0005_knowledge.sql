-- Knowledge bases. What a document gave is a reading: its chunks, terms and vectors carry the reading's number.
-- The one that is shown answers questions; others are being written, or wait to be swept.

CREATE TABLE knowledge_base (
  id TEXT PRIMARY KEY,
  org_id TEXT NOT NULL,
  project_id TEXT NOT NULL,
  name TEXT NOT NULL,
  description TEXT,
  embedding_id BIGINT NOT NULL,
  background TEXT,
  icon TEXT,
  created_at BIGINT NOT NULL
);
CREATE INDEX knowledge_base_owner ON knowledge_base (org_id, id);

CREATE TABLE knowledge_document (
  id TEXT PRIMARY KEY,
  knowledge_id TEXT NOT NULL,
  org_id TEXT NOT NULL,
  caller TEXT NOT NULL,
  name TEXT NOT NULL,
  url TEXT,
  kind TEXT,
  knowledge_type BIGINT,
  separators TEXT NOT NULL,
  sentence_size BIGINT,
  bytes BIGINT NOT NULL,
  word_num BIGINT NOT NULL DEFAULT 0,
  state BIGINT NOT NULL DEFAULT 0,
  fail_code BIGINT,
  fail_message TEXT,
  revision BIGINT NOT NULL DEFAULT 1,
  attempts BIGINT NOT NULL DEFAULT 0,
  due_at BIGINT NOT NULL DEFAULT 0,
  created_at BIGINT NOT NULL,
  lease_owner TEXT,
  lease_until BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX knowledge_document_base ON knowledge_document (knowledge_id, id);
CREATE INDEX knowledge_document_owner ON knowledge_document (org_id);
CREATE INDEX knowledge_document_work ON knowledge_document (state, due_at);

CREATE TABLE knowledge_reading (
  id BIGINT PRIMARY KEY,
  document_id TEXT NOT NULL,
  knowledge_id TEXT NOT NULL,
  revision BIGINT NOT NULL,
  chunks BIGINT NOT NULL DEFAULT 0,
  lengths BLOB,
  vector_model TEXT,
  shown BIGINT NOT NULL DEFAULT 0,
  free_at BIGINT NOT NULL
);
CREATE INDEX knowledge_reading_base ON knowledge_reading (knowledge_id, shown);
CREATE INDEX knowledge_reading_document ON knowledge_reading (document_id);
CREATE INDEX knowledge_reading_free ON knowledge_reading (shown, free_at);

CREATE TABLE knowledge_chunk (
  reading BIGINT NOT NULL,
  number BIGINT NOT NULL,
  start_at BIGINT NOT NULL,
  end_at BIGINT NOT NULL,
  page BIGINT,
  row_number BIGINT,
  heading TEXT NOT NULL,
  text TEXT NOT NULL,
  PRIMARY KEY (reading, number)
);

-- The chunks of one reading that hold a term: 32-bit numbers, the chunk's above eight bits of its count.
CREATE TABLE knowledge_term (
  knowledge_id TEXT NOT NULL,
  term TEXT NOT NULL,
  reading BIGINT NOT NULL,
  postings BLOB NOT NULL,
  PRIMARY KEY (knowledge_id, term, reading)
);
CREATE INDEX knowledge_term_reading ON knowledge_term (reading);

-- Vectors of chunks first, first + 1 ...: 16-bit floats of length one, written with the bill that paid them.
CREATE TABLE knowledge_vector (
  reading BIGINT NOT NULL,
  first BIGINT NOT NULL,
  dimension BIGINT NOT NULL,
  data BLOB NOT NULL,
  PRIMARY KEY (reading, first)
);
