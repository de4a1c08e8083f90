-- One day's reads. Times are milliseconds since 1970 UTC; minute and hour count from there too.
CREATE TABLE image (
  id INTEGER PRIMARY KEY,
  site TEXT NOT NULL,
  path TEXT NOT NULL,
  layout TEXT NOT NULL,
  algorithm TEXT NOT NULL,
  digest BLOB NOT NULL,
  UNIQUE (site, path, layout, algorithm, digest)
) STRICT;

CREATE TABLE address (
  id INTEGER PRIMARY KEY,
  text TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE agent (
  id INTEGER PRIMARY KEY,
  text TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE token (
  id INTEGER PRIMARY KEY,
  text TEXT NOT NULL UNIQUE
) STRICT;

-- Row 0 stands for all that came after the day's bound; of tokens, for requests without one.
INSERT INTO address (id, text) VALUES (0, 'other');
INSERT INTO agent (id, text) VALUES (0, 'other');
INSERT INTO token (id, text) VALUES (0, '');

CREATE TABLE read (
  minute INTEGER NOT NULL,
  image INTEGER NOT NULL REFERENCES image (id),
  -- 0: a name that is no signature number, or a number that no image can have
  number INTEGER NOT NULL,
  status INTEGER NOT NULL,
  address INTEGER NOT NULL REFERENCES address (id),
  agent INTEGER NOT NULL REFERENCES agent (id),
  token INTEGER NOT NULL REFERENCES token (id),
  first_at_ms INTEGER NOT NULL,
  last_at_ms INTEGER NOT NULL,
  count INTEGER NOT NULL,
  bytes INTEGER NOT NULL,
  PRIMARY KEY (minute, image, number, status, address, agent, token)
) STRICT, WITHOUT ROWID;

-- Images that were asked for and hold no signature.
CREATE TABLE missing (
  site TEXT NOT NULL,
  path TEXT NOT NULL,
  layout TEXT NOT NULL,
  algorithm TEXT NOT NULL,
  digest BLOB NOT NULL,
  count INTEGER NOT NULL,
  first_at_ms INTEGER NOT NULL,
  last_at_ms INTEGER NOT NULL,
  last_address INTEGER NOT NULL REFERENCES address (id),
  PRIMARY KEY (site, path, layout, algorithm, digest)
) STRICT, WITHOUT ROWID;

-- Requests for further missing images once the hour's bound is reached, by first path component.
CREATE TABLE other (
  hour INTEGER NOT NULL,
  site TEXT NOT NULL,
  prefix TEXT NOT NULL,
  count INTEGER NOT NULL,
  first_at_ms INTEGER NOT NULL,
  last_at_ms INTEGER NOT NULL,
  last_address INTEGER NOT NULL REFERENCES address (id),
  PRIMARY KEY (hour, site, prefix)
) STRICT, WITHOUT ROWID;

-- What has been spent of each hour's bounds.
CREATE TABLE hour (
  hour INTEGER PRIMARY KEY,
  missing INTEGER NOT NULL,
  path_bytes INTEGER NOT NULL,
  prefixes INTEGER NOT NULL
) STRICT;
