-- Times are milliseconds since 1970 UTC. Paths and names are ASCII, so byte order is their order.
CREATE TABLE signature (
  site TEXT NOT NULL,
  path TEXT NOT NULL,
  layout TEXT NOT NULL CHECK (layout IN ('repository', 'release')),
  algorithm TEXT NOT NULL CHECK (algorithm IN ('sha256', 'sha384', 'sha512')),
  digest BLOB NOT NULL,
  number INTEGER NOT NULL CHECK (number >= 1),
  sha256 BLOB NOT NULL CHECK (length(sha256) = 32),
  size_bytes INTEGER NOT NULL CHECK (size_bytes >= 0),
  stored_at_ms INTEGER NOT NULL,
  -- NULL over 8 KiB: keep in sync with MAX_INDEXED_BYTES in src/domain/limits.ts
  bytes BLOB CHECK (bytes IS NULL OR (length(bytes) = size_bytes AND size_bytes <= 8192)),
  verdict TEXT NOT NULL DEFAULT 'unverified'
    CHECK (verdict IN ('good', 'bad', 'no-key', 'unsupported', 'unreadable', 'unverified')),
  UNIQUE (site, path, layout, algorithm, digest, number)
) STRICT;

-- One row for each folder that has an image somewhere below, and for each image's own folder.
CREATE TABLE folder_entry (
  site TEXT NOT NULL,
  -- '' is the site's top
  folder TEXT NOT NULL,
  -- naturalKey(name) of src/domain/natural-order.ts
  sort_key TEXT NOT NULL,
  name TEXT NOT NULL,
  images INTEGER NOT NULL CHECK (images >= 0),
  PRIMARY KEY (site, folder, sort_key, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE site (
  name TEXT PRIMARY KEY,
  images INTEGER NOT NULL DEFAULT 0 CHECK (images >= 0),
  signatures INTEGER NOT NULL DEFAULT 0 CHECK (signatures >= 0),
  -- 1 once a whole scan of the tree is recorded
  complete INTEGER NOT NULL DEFAULT 0 CHECK (complete IN (0, 1))
) STRICT, WITHOUT ROWID;
