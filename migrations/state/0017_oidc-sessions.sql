-- Log-ins to the web pages through an OpenID provider: such a session has no token, but says itself who it is.
CREATE TABLE page_session_next (
  -- AUTOINCREMENT: who ends session 7 must not hit another one of that number
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  -- NULL: an OpenID provider said who it is
  token_id INTEGER REFERENCES token (id) ON DELETE CASCADE,
  hash BLOB NOT NULL UNIQUE CHECK (length(hash) = 32),
  created_at_ms INTEGER NOT NULL,
  expires_at_ms INTEGER NOT NULL,
  issuer TEXT,
  -- as audit events name it: issuer and subject, perhaps with the signer in front
  identity_name TEXT,
  -- as pages show it
  identity_shown TEXT,
  identity_role TEXT CHECK (identity_role IN ('admin', 'auditor', 'reader', 'uploader')),
  signer_id INTEGER REFERENCES signer (id) ON DELETE CASCADE,
  CHECK ((token_id IS NULL) = (issuer IS NOT NULL)),
  CHECK ((issuer IS NULL) = (identity_name IS NULL)),
  CHECK ((issuer IS NULL) = (identity_shown IS NULL)),
  CHECK ((issuer IS NULL) = (identity_role IS NULL))
) STRICT;

-- no number is used a second time
INSERT INTO sqlite_sequence (name, seq)
SELECT 'page_session_next', seq
FROM sqlite_sequence
WHERE name = 'page_session';

INSERT INTO page_session_next (id, token_id, hash, created_at_ms, expires_at_ms)
SELECT id, token_id, hash, created_at_ms, expires_at_ms
FROM page_session;

DROP TABLE page_session;

ALTER TABLE page_session_next RENAME TO page_session;

CREATE INDEX page_session_by_token ON page_session (token_id, id);

CREATE INDEX page_session_by_identity ON page_session (identity_name, id)
WHERE identity_name IS NOT NULL;

CREATE INDEX page_session_by_signer ON page_session (signer_id)
WHERE signer_id IS NOT NULL;
