-- The Merkle tree over the leaves of audit_event, as C2SP tlog-tiles lays it out: level 0 has the hash of each leaf (n is seq - 1);
-- a level above has the hash of each full tile of 256 hashes below.
CREATE TABLE log_hash (
  level INTEGER NOT NULL CHECK (level >= 0),
  n INTEGER NOT NULL CHECK (n >= 0),
  hash BLOB NOT NULL CHECK (length(hash) = 32),
  PRIMARY KEY (level, n)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER log_hash_is_never_changed
BEFORE UPDATE ON log_hash
BEGIN
  SELECT RAISE(ABORT, 'a hash of the log is never changed');
END;

CREATE TRIGGER log_hash_is_never_deleted
BEFORE DELETE ON log_hash
BEGIN
  SELECT RAISE(ABORT, 'a hash of the log is never deleted');
END;

-- Under which names and keys checkpoints were signed, the newest last. vkey: formatNoteKey() of src/domain/signed-note.ts
CREATE TABLE log_identity (
  id INTEGER PRIMARY KEY,
  origin TEXT NOT NULL,
  vkey TEXT NOT NULL,
  since_ms INTEGER NOT NULL
) STRICT;

-- What the log has published: signed heads of its tree.
CREATE TABLE log_checkpoint (
  id INTEGER PRIMARY KEY,
  size INTEGER NOT NULL CHECK (size >= 0),
  root BLOB NOT NULL CHECK (length(root) = 32),
  at_ms INTEGER NOT NULL,
  -- a signed note; cosignatures of witnesses may be added to it
  note TEXT NOT NULL,
  -- when it was accepted that the tree no longer reaches it; NULL for all others
  void_ms INTEGER
) STRICT;

CREATE INDEX log_checkpoint_by_size ON log_checkpoint (size);

-- The newest checkpoints of other logs that this server has cosigned.
CREATE TABLE witnessed (
  origin TEXT PRIMARY KEY,
  size INTEGER NOT NULL CHECK (size >= 0),
  root BLOB NOT NULL CHECK (length(root) = 32),
  at_ms INTEGER NOT NULL,
  -- with the signature of the log and our own cosignature
  note TEXT NOT NULL
) STRICT;
