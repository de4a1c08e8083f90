-- Images that were asked for and had no signature then, summed up by day, so that a question over a month of them takes milliseconds.
-- All of it is made from the days of the access record, from state.db and from index.db, and may be deleted. Numbers in blobs are
-- 32 bits each, in the order of bytes of the machine.
CREATE TABLE image (
  -- from 1, without holes
  id INTEGER PRIMARY KEY,
  site TEXT NOT NULL,
  path TEXT NOT NULL,
  layout TEXT NOT NULL,
  algorithm TEXT NOT NULL,
  digest BLOB NOT NULL,
  UNIQUE (site, path, layout, algorithm, digest)
) STRICT;

-- A repository, or the folder of the release layout.
CREATE TABLE place (
  -- from 0, without holes
  id INTEGER PRIMARY KEY,
  site TEXT NOT NULL,
  path TEXT NOT NULL,
  UNIQUE (site, path)
) STRICT;

-- What is known of 65,536 images in the order of their ids.
CREATE TABLE block (
  -- 0 for the ids 0 to 65,535
  id INTEGER PRIMARY KEY,
  places BLOB NOT NULL,
  -- a byte each: 1 once the image has had a signature
  signed BLOB NOT NULL
) STRICT;

CREATE TABLE day (
  day TEXT PRIMARY KEY,
  -- as in the day's own file; NULL: the day was not over
  closed_at_ms INTEGER,
  -- rows of images that were asked for then or later are not in the pieces; NULL: all are
  until_ms INTEGER,
  -- requests in all pieces
  requests INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Up to 65,536 images of a day: all their ids, all their requests, all first times, all last times. Times are milliseconds of the day.
CREATE TABLE piece (
  day TEXT NOT NULL REFERENCES day (day),
  number INTEGER NOT NULL,
  numbers BLOB NOT NULL,
  PRIMARY KEY (day, number)
) STRICT;

-- Up to which row the signatures of other databases are noted in block.signed. file: the inode.
CREATE TABLE noted (
  name TEXT PRIMARY KEY CHECK (name IN ('upload', 'signature')),
  file TEXT NOT NULL,
  row INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
