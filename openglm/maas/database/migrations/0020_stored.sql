-- What an organisation keeps, counted as it comes and goes: a quota is judged by one row, however much there is.
-- Triggers count, so nodes of the version before count too.
CREATE TABLE stored (
    org_id TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('file', 'document', 'response')),
    number BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    characters BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (org_id, kind)
);

-- sqlite
CREATE TRIGGER file_comes AFTER INSERT ON file
BEGIN
    INSERT INTO stored (org_id, kind, number, bytes) VALUES (NEW.org_id, 'file', 1, NEW.bytes)
    ON CONFLICT (org_id, kind) DO UPDATE SET number = number + 1, bytes = bytes + NEW.bytes;
END;
CREATE TRIGGER file_changes AFTER UPDATE OF bytes ON file
BEGIN
    UPDATE stored SET bytes = bytes + NEW.bytes - OLD.bytes WHERE org_id = NEW.org_id AND kind = 'file';
END;
CREATE TRIGGER file_goes AFTER DELETE ON file
BEGIN
    UPDATE stored SET number = number - 1, bytes = bytes - OLD.bytes WHERE org_id = OLD.org_id AND kind = 'file';
END;
CREATE TRIGGER document_comes AFTER INSERT ON knowledge_document
BEGIN
    INSERT INTO stored (org_id, kind, number, bytes, characters)
    VALUES (NEW.org_id, 'document', 1, NEW.bytes, NEW.word_num)
    ON CONFLICT (org_id, kind) DO UPDATE SET number = number + 1, bytes = bytes + NEW.bytes,
        characters = characters + NEW.word_num;
END;
CREATE TRIGGER document_changes AFTER UPDATE OF bytes, word_num ON knowledge_document
BEGIN
    UPDATE stored SET bytes = bytes + NEW.bytes - OLD.bytes, characters = characters + NEW.word_num - OLD.word_num
    WHERE org_id = NEW.org_id AND kind = 'document';
END;
CREATE TRIGGER document_goes AFTER DELETE ON knowledge_document
BEGIN
    UPDATE stored SET number = number - 1, bytes = bytes - OLD.bytes, characters = characters - OLD.word_num
    WHERE org_id = OLD.org_id AND kind = 'document';
END;
CREATE TRIGGER response_comes AFTER INSERT ON response
BEGIN
    INSERT INTO stored (org_id, kind, number, bytes)
    VALUES (NEW.org_id, 'response', 1, length(NEW.body) + length(NEW.items))
    ON CONFLICT (org_id, kind) DO UPDATE SET number = number + 1, bytes = bytes + excluded.bytes;
END;
CREATE TRIGGER response_changes AFTER UPDATE OF body ON response
BEGIN
    UPDATE stored SET bytes = bytes + length(NEW.body) - length(OLD.body)
    WHERE org_id = NEW.org_id AND kind = 'response';
END;
CREATE TRIGGER response_goes AFTER DELETE ON response
BEGIN
    UPDATE stored SET number = number - 1, bytes = bytes - length(OLD.body) - length(OLD.items)
    WHERE org_id = OLD.org_id AND kind = 'response';
END;
-- postgres
CREATE FUNCTION stored_counts(owner TEXT, what TEXT, more BIGINT, more_bytes BIGINT, more_characters BIGINT)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO stored AS known (org_id, kind, number, bytes, characters)
    VALUES (owner, what, more, more_bytes, more_characters)
    ON CONFLICT (org_id, kind) DO UPDATE SET number = known.number + more, bytes = known.bytes + more_bytes,
        characters = known.characters + more_characters;
END;
$$;
CREATE FUNCTION file_is_counted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        PERFORM stored_counts(NEW.org_id, 'file', 1, NEW.bytes, 0);
    ELSIF TG_OP = 'UPDATE' THEN
        PERFORM stored_counts(NEW.org_id, 'file', 0, NEW.bytes - OLD.bytes, 0);
    ELSE
        PERFORM stored_counts(OLD.org_id, 'file', -1, -OLD.bytes, 0);
    END IF;
    RETURN NULL;
END;
$$;
CREATE FUNCTION document_is_counted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        PERFORM stored_counts(NEW.org_id, 'document', 1, NEW.bytes, NEW.word_num);
    ELSIF TG_OP = 'UPDATE' THEN
        PERFORM stored_counts(NEW.org_id, 'document', 0, NEW.bytes - OLD.bytes, NEW.word_num - OLD.word_num);
    ELSE
        PERFORM stored_counts(OLD.org_id, 'document', -1, -OLD.bytes, -OLD.word_num);
    END IF;
    RETURN NULL;
END;
$$;
CREATE FUNCTION response_is_counted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        PERFORM stored_counts(NEW.org_id, 'response', 1, length(NEW.body) + length(NEW.items), 0);
    ELSIF TG_OP = 'UPDATE' THEN
        PERFORM stored_counts(NEW.org_id, 'response', 0, length(NEW.body) - length(OLD.body), 0);
    ELSE
        PERFORM stored_counts(OLD.org_id, 'response', -1, -length(OLD.body) - length(OLD.items), 0);
    END IF;
    RETURN NULL;
END;
$$;
CREATE TRIGGER file_is_counted AFTER INSERT OR DELETE OR UPDATE OF bytes ON file
    FOR EACH ROW EXECUTE FUNCTION file_is_counted();
CREATE TRIGGER document_is_counted AFTER INSERT OR DELETE OR UPDATE OF bytes, word_num ON knowledge_document
    FOR EACH ROW EXECUTE FUNCTION document_is_counted();
CREATE TRIGGER response_is_counted AFTER INSERT OR DELETE OR UPDATE OF body ON response
    FOR EACH ROW EXECUTE FUNCTION response_is_counted();
-- both

INSERT INTO stored (org_id, kind, number, bytes)
SELECT org_id, 'file', count(*), sum(bytes) FROM file GROUP BY org_id;
INSERT INTO stored (org_id, kind, number, bytes, characters)
SELECT org_id, 'document', count(*), sum(bytes), sum(word_num) FROM knowledge_document GROUP BY org_id;
INSERT INTO stored (org_id, kind, number, bytes)
SELECT org_id, 'response', count(*), sum(length(body) + length(items)) FROM response GROUP BY org_id;

-- A quota may be one organisation's or one person's own: an id, a tier's name, or * for all.
ALTER TABLE quota RENAME COLUMN tier TO holder;

-- Who made an organisation: an owner may leave it, and would be free to make another.
ALTER TABLE org ADD COLUMN founder TEXT;
UPDATE org SET founder = (
    SELECT user_id FROM member WHERE member.org_id = org.id AND role = 'owner' ORDER BY created_at, user_id LIMIT 1
);
CREATE INDEX org_by_founder ON org (founder);

CREATE INDEX batch_unended ON batch (org_id) WHERE ended_at IS NULL;
CREATE INDEX fine_tuning_job_unended ON fine_tuning_job (org_id) WHERE ended_at IS NULL;
CREATE INDEX model_of_org ON model (owner_org) WHERE owner_org IS NOT NULL;
