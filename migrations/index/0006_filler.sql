-- 1: a copy of another signature of the image, at the number of one that was withdrawn. It is served, and counted nowhere.
ALTER TABLE signature ADD COLUMN filler INTEGER NOT NULL DEFAULT 0 CHECK (filler IN (0, 1));

CREATE INDEX signature_filler ON signature (site, fingerprint) WHERE filler = 1;
