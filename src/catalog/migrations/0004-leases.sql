-- Leases: what clients claim. `key` is the SHA-256 of the lease's id, which only its holder knows.
-- How long a lease still holds is the running process's business; after a restart it has one full period again.

CREATE TABLE leases (
  key            TEXT    NOT NULL PRIMARY KEY,
  image_id       TEXT    NOT NULL REFERENCES images (id) ON DELETE CASCADE,
  mode           TEXT    NOT NULL CHECK (mode IN ('exclusive', 'shared')),
  owner          TEXT,
  fencing_token  INTEGER NOT NULL,
  ttl_ms         INTEGER NOT NULL,
  breaking_ms    INTEGER,
  acquired_at_ms INTEGER NOT NULL,
  renewed_at_ms  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX leases_by_image ON leases (image_id);

-- The fencing token of the last exclusive lease of an image; it outlives the lease.
CREATE TABLE fencing_tokens (
  image_id TEXT    NOT NULL PRIMARY KEY REFERENCES images (id) ON DELETE CASCADE,
  token    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
