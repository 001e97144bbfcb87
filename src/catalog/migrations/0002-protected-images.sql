-- Protection against deletion, and versions that no two images share under one name.

ALTER TABLE images ADD COLUMN protected INTEGER NOT NULL DEFAULT 0 CHECK (protected IN (0, 1));

-- The highest version that any image ever had. Whoever takes a name goes on above it: a tag of an image that had the
-- name before then never fits the one that has it now.
CREATE TABLE version_mark (
  only    INTEGER NOT NULL PRIMARY KEY CHECK (only = 1),
  highest INTEGER NOT NULL
) STRICT;

INSERT INTO version_mark (only, highest) SELECT 1, coalesce(max(version), 0) FROM images;

CREATE TRIGGER version_of_new_image AFTER INSERT ON images
BEGIN
  UPDATE version_mark SET highest = max(highest, NEW.version);
END;

CREATE TRIGGER version_of_changed_image AFTER UPDATE OF version ON images
BEGIN
  UPDATE version_mark SET highest = max(highest, NEW.version);
END;
