-- Signatures that were withdrawn: their bytes are refused, and another signature of the image stands at their numbers. A row
-- stays when the withdrawal has ended, for its fillers.
CREATE TABLE tombstone (
  site TEXT NOT NULL,
  -- the image's folder, as in the tree
  image TEXT NOT NULL,
  sha256 BLOB NOT NULL CHECK (length(sha256) = 32),
  -- under which clients got it
  number INTEGER NOT NULL CHECK (number >= 1),
  -- JSON: numbers of files that hold a copy of another signature since
  fillers TEXT NOT NULL CHECK (json_valid(fillers)),
  audit_seq INTEGER NOT NULL REFERENCES audit_event (seq),
  withdrawn_at_ms INTEGER NOT NULL,
  -- the token's name, or administrator
  withdrawn_by TEXT NOT NULL,
  reason TEXT NOT NULL,
  -- when it comes back by itself; NULL: never
  until_ms INTEGER,
  -- kept where it comes back by itself
  bytes BLOB,
  -- 0 until the files and the index are as they should be
  settled INTEGER NOT NULL CHECK (settled IN (0, 1)),
  -- since when it is no longer withdrawn
  lifted_at_ms INTEGER,
  PRIMARY KEY (site, image, sha256)
) STRICT;

CREATE INDEX tombstone_to_settle ON tombstone (site) WHERE settled = 0;

CREATE INDEX tombstone_by_end ON tombstone (until_ms) WHERE until_ms IS NOT NULL AND lifted_at_ms IS NULL;
