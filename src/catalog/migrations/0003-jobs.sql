-- Jobs: long work that outlived the request that asked for it. Times in milliseconds since 1970; options, trace, result
-- and fault are JSON. The image may be gone long before its jobs are.

CREATE TABLE jobs (
  id            TEXT    NOT NULL PRIMARY KEY,
  kind          TEXT    NOT NULL,
  image_id      TEXT,
  state         TEXT    NOT NULL,
  options       TEXT    NOT NULL,
  trace         TEXT    NOT NULL,
  done          INTEGER NOT NULL,
  total         INTEGER NOT NULL,
  result        TEXT,
  fault         TEXT,
  request_id    TEXT    NOT NULL,
  created_at_ms INTEGER NOT NULL,
  started_at_ms INTEGER,
  ended_at_ms   INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX jobs_unfinished ON jobs (id) WHERE ended_at_ms IS NULL;
CREATE INDEX jobs_by_end ON jobs (ended_at_ms, id) WHERE ended_at_ms IS NOT NULL;

-- Idempotency keys: the id is a digest of principal, route and key; the subject names what the request makes.
CREATE TABLE idempotency_keys (
  id            TEXT    NOT NULL PRIMARY KEY,
  fingerprint   TEXT    NOT NULL,
  settled       INTEGER NOT NULL CHECK (settled IN (0, 1)),
  subject       TEXT,
  answer        TEXT,
  created_at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at_ms);
