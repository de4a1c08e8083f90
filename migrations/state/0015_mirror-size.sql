-- What the files of the set take on a disk; NULL: nothing is stored, or it is not known yet.
ALTER TABLE mirror_set ADD COLUMN size_bytes INTEGER;

-- What reads alone have brought, and can be fetched again: from the one that was asked for longest ago. SQLite looks at the columns of
-- the condition all the same: with them at the end the table is not read.
CREATE INDEX mirror_set_on_demand ON mirror_set (site, checked_at_ms, image, size_bytes, synced_at_ms, gone)
WHERE synced_at_ms IS NULL AND size_bytes IS NOT NULL AND gone = '[]';
