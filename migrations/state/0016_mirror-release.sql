-- The releases of update graphs that syncs have read.
CREATE TABLE mirror_release (
  site TEXT NOT NULL,
  -- of sha256:<hex>
  hex TEXT NOT NULL,
  version TEXT NOT NULL,
  -- as the graph names it, like amd64; empty: it does not say
  arch TEXT NOT NULL,
  -- names of channels, as JSON
  channels TEXT NOT NULL CHECK (json_valid(channels)),
  PRIMARY KEY (site, hex)
) STRICT, WITHOUT ROWID;

CREATE INDEX mirror_release_version ON mirror_release (version);
