-- Changes that somebody made, in the order of their commits; the numbers have no holes.
CREATE TABLE audit_event (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  at_ms INTEGER NOT NULL,
  -- leafText() of src/domain/audit.ts; its member "private" is the SHA-256 of salt and private
  leaf TEXT NOT NULL CHECK (leaf ->> '$.seq' = seq),
  -- privateText() of src/domain/audit.ts: who it was. Both NULL once forgotten
  private TEXT,
  salt BLOB CHECK (length(salt) = 32),
  CHECK ((private IS NULL) = (salt IS NULL))
) STRICT;

CREATE TRIGGER audit_event_is_never_replaced
BEFORE INSERT ON audit_event
WHEN EXISTS (SELECT 1 FROM audit_event WHERE seq = NEW.seq)
BEGIN
  SELECT RAISE(ABORT, 'an audit event is never replaced');
END;

-- Who it was may be forgotten, and nothing else may change.
CREATE TRIGGER audit_event_is_never_changed
BEFORE UPDATE ON audit_event
WHEN NEW.seq IS NOT OLD.seq
  OR NEW.at_ms IS NOT OLD.at_ms
  OR NEW.leaf IS NOT OLD.leaf
  OR NEW.private IS NOT NULL
  OR NEW.salt IS NOT NULL
BEGIN
  SELECT RAISE(ABORT, 'an audit event is never changed');
END;

CREATE TRIGGER audit_event_is_never_deleted
BEFORE DELETE ON audit_event
BEGIN
  SELECT RAISE(ABORT, 'an audit event is never deleted');
END;

CREATE TABLE openpgp_key (
  id INTEGER PRIMARY KEY,
  -- of the primary key
  fingerprint TEXT NOT NULL UNIQUE
    CHECK (length(fingerprint) = 40 AND fingerprint NOT GLOB '*[^0-9A-F]*'),
  -- KeyDetails of src/domain/key.ts, its times as in RFC 3339
  details TEXT NOT NULL CHECK (json_valid(details)),
  added_at_ms INTEGER NOT NULL,
  changed_at_ms INTEGER NOT NULL,
  -- binary, cleaned
  certificate BLOB NOT NULL
) STRICT;

-- What uploads brought, whatever became of the files; in the order of uploading.
CREATE TABLE upload (
  audit_seq INTEGER PRIMARY KEY REFERENCES audit_event (seq),
  site TEXT NOT NULL,
  -- the image's folder, as in the tree
  image TEXT NOT NULL,
  sha256 BLOB NOT NULL CHECK (length(sha256) = 32),
  size_bytes INTEGER NOT NULL CHECK (size_bytes >= 0),
  -- the token's name, or administrator
  uploader TEXT NOT NULL,
  stored_at_ms INTEGER NOT NULL,
  -- kept where other programs may overwrite the file
  bytes BLOB CHECK (bytes IS NULL OR length(bytes) = size_bytes),
  UNIQUE (site, image, sha256)
) STRICT;

CREATE INDEX upload_by_uploader ON upload (site, uploader, audit_seq);
