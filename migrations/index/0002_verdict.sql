-- Which file this is: ids of its signatures mean nothing in another.
CREATE TABLE generation (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  value TEXT NOT NULL
) STRICT;

INSERT INTO generation (id, value) VALUES (1, lower(hex(randomblob(16))));

CREATE TABLE new_signature (
  -- never used twice: what follows the changes goes on from the last one it saw
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  site TEXT NOT NULL,
  path TEXT NOT NULL,
  layout TEXT NOT NULL CHECK (layout IN ('repository', 'release')),
  algorithm TEXT NOT NULL CHECK (algorithm IN ('sha256', 'sha384', 'sha512')),
  digest BLOB NOT NULL,
  number INTEGER NOT NULL CHECK (number >= 1),
  sha256 BLOB NOT NULL CHECK (length(sha256) = 32),
  size_bytes INTEGER NOT NULL CHECK (size_bytes >= 0),
  stored_at_ms INTEGER NOT NULL,
  -- Judgement of src/domain/verdict.ts
  verdict TEXT NOT NULL DEFAULT 'unverified'
    CHECK (verdict IN ('good', 'bad', 'no-key', 'unsupported', 'unreadable', 'unverified')),
  -- the refusal's code
  reason TEXT,
  form TEXT CHECK (form IN ('binary', 'tagged', 'tagged-cleartext', 'cosign')),
  -- a fingerprint or key ID
  issuer TEXT,
  fingerprint TEXT,
  signing_fingerprint TEXT,
  signed_at_ms INTEGER,
  expires_at_ms INTEGER,
  -- of the claim
  claimed_algorithm TEXT,
  claimed_digest BLOB,
  docker_reference TEXT,
  creator TEXT,
  -- an unverified one is not worth a look before
  judge_after_ms INTEGER NOT NULL DEFAULT 0,
  -- NULL over 8 KiB: keep in sync with MAX_INDEXED_BYTES in src/domain/limits.ts. Last, so that the columns before it
  -- are read without it
  bytes BLOB CHECK (bytes IS NULL OR (length(bytes) = size_bytes AND size_bytes <= 8192)),
  UNIQUE (site, path, layout, algorithm, digest, number)
) STRICT;

INSERT INTO new_signature
  (site, path, layout, algorithm, digest, number, sha256, size_bytes, stored_at_ms, verdict, bytes)
SELECT site, path, layout, algorithm, digest, number, sha256, size_bytes, stored_at_ms, verdict, bytes
FROM signature
ORDER BY rowid;

DROP TABLE signature;

ALTER TABLE new_signature RENAME TO signature;

-- For searches by id. With the time of storing, rows that are outside it are passed over without being read.
CREATE INDEX signature_by_id ON signature (site, id, stored_at_ms);

CREATE INDEX signature_by_path ON signature (site, path, id, stored_at_ms);

CREATE INDEX signature_by_fingerprint ON signature (site, fingerprint, id, stored_at_ms)
WHERE fingerprint IS NOT NULL;

-- Six bytes tell digests apart well enough, and make an index that is a third as large.
CREATE INDEX signature_by_digest ON signature (substr(digest, 1, 6), id);

CREATE INDEX signature_unverified ON signature (site, id)
WHERE verdict = 'unverified';
