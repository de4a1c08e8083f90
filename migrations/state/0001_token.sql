-- Times are milliseconds since 1970 UTC. A token's text is never stored: hash is its SHA-256.
CREATE TABLE token (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  role TEXT NOT NULL CHECK (role IN ('admin', 'auditor', 'reader', 'uploader')),
  hash BLOB NOT NULL UNIQUE CHECK (length(hash) = 32),
  created_at_ms INTEGER NOT NULL,
  revoked_at_ms INTEGER
) STRICT;
