-- Since when walks for the set have failed, in a row: it may be gone upstream, so it is not let go. NULL: the last one did not fail.
ALTER TABLE mirror_set ADD COLUMN failing_since_ms INTEGER;

-- The channels that update graphs have named for a release of mirror_release.
CREATE TABLE mirror_release_channel (
  site TEXT NOT NULL,
  channel TEXT NOT NULL,
  hex TEXT NOT NULL,
  PRIMARY KEY (channel, hex, site)
) STRICT, WITHOUT ROWID;

CREATE INDEX mirror_release_channel_release ON mirror_release_channel (site, hex, channel);

INSERT OR IGNORE INTO mirror_release_channel (site, channel, hex)
SELECT mirror_release.site, value, mirror_release.hex
FROM mirror_release, json_each(mirror_release.channels);

ALTER TABLE mirror_release DROP COLUMN channels;
