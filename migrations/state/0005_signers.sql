-- Who may sign what. A signer's grants and tokens end with it; its name may be used again, because old tokens stay revoked.
CREATE TABLE signer (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  description TEXT NOT NULL,
  created_at_ms INTEGER NOT NULL,
  disabled_at_ms INTEGER
) STRICT;

-- The lists are JSON arrays, sorted and without repeats, so that the same grant is the same row.
CREATE TABLE signer_grant (
  -- AUTOINCREMENT: who removes grant 7 must not hit another one of that number
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  signer_id INTEGER NOT NULL REFERENCES signer (id) ON DELETE CASCADE,
  -- patterns of src/domain/pattern.ts
  repositories TEXT NOT NULL CHECK (json_valid(repositories)),
  -- of primary keys
  fingerprints TEXT NOT NULL CHECK (json_valid(fingerprints)),
  -- patterns; empty: every reference, also one without a tag
  tags TEXT NOT NULL CHECK (json_valid(tags)),
  created_at_ms INTEGER NOT NULL,
  UNIQUE (signer_id, repositories, fingerprints, tags)
) STRICT;

-- Name of the signer whose grants bind the token; NULL: none. It stays when the signer is removed and the token revoked.
ALTER TABLE token ADD COLUMN signer TEXT;
-- To the minute.
ALTER TABLE token ADD COLUMN last_used_at_ms INTEGER;
