-- Sites that are filled from elsewhere. settings: MirrorSettings of src/domain/mirror.ts as JSON. Their signatures lie in image, signature and
-- blob, as all others.
CREATE TABLE mirror (
  name text COLLATE "C" PRIMARY KEY,
  settings text NOT NULL,
  added_at_ms bigint NOT NULL
);

-- What the last whole walk has found of an image. Faults change nothing here but failing_since_ms.
CREATE TABLE mirror_set (
  site text COLLATE "C" NOT NULL,
  -- as in URLs: team/app@sha256=…
  image text COLLATE "C" NOT NULL,
  checked_at_ms bigint NOT NULL,
  -- the URL of the upstream that the stored set came from; NULL while there is none
  upstream text,
  -- SHA-256 in hex of what is served here and is gone there, as JSON
  gone text NOT NULL,
  -- [{sha256, code}] of what is not served, as no client could use it, as JSON
  left_out text NOT NULL,
  -- since when somebody keeps it: NULL when it came by reads alone
  synced_at_ms bigint,
  -- what the set would take as files; NULL: nothing is stored
  size_bytes bigint,
  -- since when walks for the set have failed, in a row; NULL: the last one did not
  failing_since_ms bigint,
  -- when a reader last asked for the set, as far as that was noted
  asked_at_ms bigint NOT NULL,
  PRIMARY KEY (site, image)
);

CREATE INDEX mirror_set_noted ON mirror_set (site, image) WHERE gone <> '[]' OR left_out <> '[]';
CREATE INDEX mirror_set_on_demand ON mirror_set (site, asked_at_ms, image) INCLUDE (size_bytes)
WHERE synced_at_ms IS NULL AND size_bytes IS NOT NULL AND gone = '[]';

-- The last run of mirror sync for each mirror.
CREATE TABLE mirror_run (
  site text COLLATE "C" PRIMARY KEY,
  started_at_ms bigint NOT NULL,
  finished_at_ms bigint NOT NULL,
  -- how many images were new, unchanged, missing, refused and failed, as JSON
  counts text NOT NULL,
  -- when a run last ended in which nothing failed; NULL: none has
  complete_at_ms bigint
);

-- The releases of update graphs that syncs have read.
CREATE TABLE mirror_release (
  site text COLLATE "C" NOT NULL,
  -- of sha256:<hex>
  hex text COLLATE "C" NOT NULL,
  version text COLLATE "C" NOT NULL,
  -- as the graph names it, like amd64; empty: it does not say
  arch text COLLATE "C" NOT NULL,
  PRIMARY KEY (site, hex)
);

CREATE INDEX mirror_release_version ON mirror_release (version, hex, site);

-- The channels that update graphs have named for a release of mirror_release.
CREATE TABLE mirror_release_channel (
  site text COLLATE "C" NOT NULL,
  channel text COLLATE "C" NOT NULL,
  hex text COLLATE "C" NOT NULL,
  PRIMARY KEY (channel, hex, site)
);

CREATE INDEX mirror_release_channel_release ON mirror_release_channel (site, hex);

INSERT INTO change (topic, number) VALUES ('mirrors', 0);
