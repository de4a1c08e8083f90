-- Log-ins to the web pages. A session's text is never stored: hash is its SHA-256. Who ends one deletes its row.
CREATE TABLE page_session (
  -- AUTOINCREMENT: who ends session 7 must not hit another one of that number
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  token_id INTEGER NOT NULL REFERENCES token (id) ON DELETE CASCADE,
  hash BLOB NOT NULL UNIQUE CHECK (length(hash) = 32),
  created_at_ms INTEGER NOT NULL,
  expires_at_ms INTEGER NOT NULL
) STRICT;

CREATE INDEX page_session_by_token ON page_session (token_id, id);
