-- The image that an image is being put on, while `structural` says that it is: the file names the old one or this one.

ALTER TABLE images ADD COLUMN next_backing_id TEXT REFERENCES images (id);

CREATE INDEX images_by_next_backing ON images (next_backing_id) WHERE next_backing_id IS NOT NULL;
