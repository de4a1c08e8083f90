-- For questions about an image, a signature, a key, a person, and a time.
CREATE INDEX audit_event_by_image ON audit_event (leaf ->> '$.image') WHERE leaf ->> '$.image' IS NOT NULL;

CREATE INDEX audit_event_by_signature ON audit_event (leaf ->> '$.signatureSha256')
WHERE leaf ->> '$.signatureSha256' IS NOT NULL;

CREATE INDEX audit_event_by_fingerprint ON audit_event (leaf ->> '$.fingerprint')
WHERE leaf ->> '$.fingerprint' IS NOT NULL;

CREATE INDEX audit_event_by_actor ON audit_event (private ->> '$.actor') WHERE private IS NOT NULL;

CREATE INDEX audit_event_by_time ON audit_event (at_ms);

-- Reads of each hour and repository, kept when the days themselves are gone. Hours count from 1970 UTC.
CREATE TABLE access_hour (
  hour INTEGER NOT NULL,
  site TEXT NOT NULL,
  -- or the folder of the release layout
  repository TEXT NOT NULL,
  -- answered with a signature, 200 or 304
  fetched INTEGER NOT NULL,
  -- answered with 404
  ended INTEGER NOT NULL,
  bytes INTEGER NOT NULL,
  PRIMARY KEY (hour, site, repository)
) STRICT, WITHOUT ROWID;

-- Reads that the record could not take; kept for ever too.
CREATE TABLE access_dropped (
  hour INTEGER PRIMARY KEY,
  count INTEGER NOT NULL
) STRICT;
