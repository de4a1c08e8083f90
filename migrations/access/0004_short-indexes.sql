-- A day's images and signatures come in random order. Indexes over all that they are have few of them on a page, so that each batch
-- of reads changed nearly all of these pages. Only the beginnings of digests are indexed now, and the rest is compared. The writer adds
-- an image or a signature only where there is none yet.
CREATE TABLE new_image (
  id INTEGER PRIMARY KEY,
  site TEXT NOT NULL,
  path TEXT NOT NULL,
  layout TEXT NOT NULL,
  algorithm TEXT NOT NULL,
  digest BLOB NOT NULL
) STRICT;

INSERT INTO new_image (id, site, path, layout, algorithm, digest)
SELECT id, site, path, layout, algorithm, digest
FROM image
ORDER BY id;

DROP TABLE image;

ALTER TABLE new_image RENAME TO image;

CREATE INDEX image_by_start ON image (substr(digest, 1, 6));

-- Row 0 stands for none.
CREATE TABLE new_signature (
  id INTEGER PRIMARY KEY,
  sha256 BLOB NOT NULL CHECK (id = 0 OR length(sha256) = 32)
) STRICT;

INSERT INTO new_signature (id, sha256)
SELECT id, sha256
FROM signature
ORDER BY id;

DROP TABLE signature;

ALTER TABLE new_signature RENAME TO signature;

CREATE INDEX signature_by_start ON signature (substr(sha256, 1, 6));

-- The indexes of a day that is over have gone with the table, and are made again.
UPDATE day
SET closed_at_ms = NULL;
