-- Where lookaside migrate --from brings this database, or has brought it; no row: nowhere. No node starts while there is one, and none that
-- has started before changes anything.
CREATE TABLE moved_back (
  id integer PRIMARY KEY CHECK (id = 1),
  -- for people: the data directory, and the machine that has it
  place text NOT NULL,
  started_at_ms bigint NOT NULL,
  finished_at_ms bigint
);
