-- Images that were asked for and hold no signature: appended when they first come, as nearly all of a flood come once.
CREATE TABLE missing_once (
  site TEXT NOT NULL,
  path TEXT NOT NULL,
  layout TEXT NOT NULL,
  algorithm TEXT NOT NULL,
  digest BLOB NOT NULL,
  count INTEGER NOT NULL,
  first_at_ms INTEGER NOT NULL,
  last_at_ms INTEGER NOT NULL,
  last_address INTEGER NOT NULL REFERENCES address (id)
) STRICT;

-- What has come again. An image may stand in both, and after a restart more than once in the first.
ALTER TABLE missing RENAME TO missing_again;

-- The newest address: ids are below 2^20, as a day has 100,000 at most.
CREATE VIEW missing AS
SELECT site, path, layout, algorithm, digest, sum(count) AS count, min(first_at_ms) AS first_at_ms,
  max(last_at_ms) AS last_at_ms, max(last_at_ms * 1048576 + last_address) % 1048576 AS last_address
FROM (
  SELECT site, path, layout, algorithm, digest, count, first_at_ms, last_at_ms, last_address
  FROM missing_once
  UNION ALL
  SELECT site, path, layout, algorithm, digest, count, first_at_ms, last_at_ms, last_address
  FROM missing_again
)
GROUP BY site, path, layout, algorithm, digest;
