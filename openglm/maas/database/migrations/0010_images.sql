-- Images are priced by the piece; a file that is made for a while says until when.

ALTER TABLE price_version ADD COLUMN per_image_nano BIGINT NOT NULL DEFAULT 0 CHECK (per_image_nano >= 0);
ALTER TABLE hold ADD COLUMN images BIGINT NOT NULL DEFAULT 0;
ALTER TABLE usage_event ADD COLUMN images BIGINT NOT NULL DEFAULT 0;
ALTER TABLE file ADD COLUMN expires_at BIGINT;
CREATE INDEX file_by_expiry ON file (expires_at);
