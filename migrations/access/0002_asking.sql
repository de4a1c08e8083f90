-- Which bytes a read got: numbers can come to mean another signature. Row 0 stands for none.
CREATE TABLE signature (
  id INTEGER PRIMARY KEY,
  sha256 BLOB NOT NULL UNIQUE CHECK (id = 0 OR length(sha256) = 32)
) STRICT;

INSERT INTO signature (id, sha256) VALUES (0, x'');

CREATE TABLE new_read (
  minute INTEGER NOT NULL,
  image INTEGER NOT NULL REFERENCES image (id),
  -- 0: a name that is no signature number, or a number that no image can have; -1: numbers that are told apart no more
  number INTEGER NOT NULL,
  status INTEGER NOT NULL,
  address INTEGER NOT NULL REFERENCES address (id),
  agent INTEGER NOT NULL REFERENCES agent (id),
  token INTEGER NOT NULL REFERENCES token (id),
  signature INTEGER NOT NULL REFERENCES signature (id),
  first_at_ms INTEGER NOT NULL,
  last_at_ms INTEGER NOT NULL,
  count INTEGER NOT NULL,
  bytes INTEGER NOT NULL,
  PRIMARY KEY (minute, image, number, status, address, agent, token, signature)
) STRICT, WITHOUT ROWID;

INSERT INTO new_read
  (minute, image, number, status, address, agent, token, signature, first_at_ms, last_at_ms, count, bytes)
SELECT minute, image, number, status, address, agent, token, 0, first_at_ms, last_at_ms, count, bytes
FROM read;

DROP TABLE read;

ALTER TABLE new_read RENAME TO read;

-- Reads that found no room, by the hour in which they were first dropped.
CREATE TABLE dropped (
  hour INTEGER PRIMARY KEY,
  count INTEGER NOT NULL,
  first_at_ms INTEGER NOT NULL,
  last_at_ms INTEGER NOT NULL
) STRICT;

-- Once the day is over it gets indexes, and its totals go to state.db. NULL: not yet, or rows have come since.
CREATE TABLE day (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  closed_at_ms INTEGER
) STRICT;

INSERT INTO day (id, closed_at_ms) VALUES (1, NULL);
