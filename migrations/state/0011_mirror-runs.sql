-- The last run of mirror sync for each mirror.
CREATE TABLE mirror_run (
  site TEXT PRIMARY KEY,
  started_at_ms INTEGER NOT NULL,
  finished_at_ms INTEGER NOT NULL,
  -- how many images were new, unchanged, missing, refused and failed, as JSON
  counts TEXT NOT NULL CHECK (json_valid(counts)),
  -- when a run last ended in which nothing failed; NULL: none has
  complete_at_ms INTEGER
) STRICT;

-- The few images of which there is something to tell.
CREATE INDEX mirror_set_noted ON mirror_set (site, image) WHERE gone <> '[]' OR left_out <> '[]';
