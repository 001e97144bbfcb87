-- What a request with an idempotency key has made, as JSON: stored in the step that makes it, so that the first answer
-- can be given again even when the process died before it answered, and what was made is gone since.

ALTER TABLE idempotency_keys ADD COLUMN outcome TEXT;
