-- Sites that are filled from elsewhere. settings: MirrorSettings of src/domain/mirror.ts.
CREATE TABLE mirror (
  name TEXT PRIMARY KEY,
  settings TEXT NOT NULL CHECK (json_valid(settings)),
  added_at_ms INTEGER NOT NULL
) STRICT;

-- What the last whole walk has found of an image. Faults change nothing here.
CREATE TABLE mirror_set (
  site TEXT NOT NULL,
  -- the image's folder, as in the tree
  image TEXT NOT NULL,
  checked_at_ms INTEGER NOT NULL,
  -- the URL of the upstream that the stored set came from; NULL while there is none
  upstream TEXT,
  -- SHA-256 in hex of what is served here and is gone there, as JSON
  gone TEXT NOT NULL CHECK (json_valid(gone)),
  -- [{sha256, code}] of what is not served, as no client could use it, as JSON
  left_out TEXT NOT NULL CHECK (json_valid(left_out)),
  -- since when somebody keeps it: NULL when it came by a read alone
  synced_at_ms INTEGER,
  PRIMARY KEY (site, image)
) STRICT, WITHOUT ROWID;
