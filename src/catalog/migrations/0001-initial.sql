-- Images: one row each. Sizes in bytes, times in milliseconds since 1970.

CREATE TABLE images (
  id                  TEXT    NOT NULL PRIMARY KEY,
  name                TEXT    NOT NULL UNIQUE,
  description         TEXT    NOT NULL,
  state               TEXT    NOT NULL,
  state_reason        TEXT,
  backing_id          TEXT    REFERENCES images (id),
  version             INTEGER NOT NULL,
  generation          INTEGER NOT NULL,
  generation_ceiling  INTEGER NOT NULL,
  settled             INTEGER NOT NULL CHECK (settled IN (0, 1)),
  snapshot_id_ceiling INTEGER NOT NULL,
  structural          TEXT,
  identity            TEXT,
  created_at_ms       INTEGER NOT NULL,
  updated_at_ms       INTEGER NOT NULL,
  CHECK (generation <= generation_ceiling),
  CHECK (backing_id <> id)
) STRICT, WITHOUT ROWID;

CREATE INDEX images_by_backing ON images (backing_id, id) WHERE backing_id IS NOT NULL;
CREATE INDEX images_by_state ON images (state, id);

-- What lists show of a file: there once the file is.
CREATE TABLE image_facts (
  image_id         TEXT    NOT NULL PRIMARY KEY REFERENCES images (id) ON DELETE CASCADE,
  virtual_size     INTEGER NOT NULL,
  file_size        INTEGER NOT NULL,
  allocated_size   INTEGER NOT NULL,
  cluster_size     INTEGER NOT NULL,
  compat           TEXT    NOT NULL,
  refcount_bits    INTEGER NOT NULL,
  compression_type TEXT    NOT NULL,
  extended_l2      INTEGER NOT NULL CHECK (extended_l2 IN (0, 1)),
  lazy_refcounts   INTEGER NOT NULL CHECK (lazy_refcounts IN (0, 1)),
  encrypted        INTEGER NOT NULL CHECK (encrypted IN (0, 1)),
  dirty            INTEGER NOT NULL CHECK (dirty IN (0, 1)),
  corrupt          INTEGER NOT NULL CHECK (corrupt IN (0, 1)),
  snapshot_count   INTEGER NOT NULL,
  bitmap_count     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE image_labels (
  image_id TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE,
  key      TEXT NOT NULL,
  value    TEXT NOT NULL,
  PRIMARY KEY (image_id, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX image_labels_by_value ON image_labels (key, value, image_id);
