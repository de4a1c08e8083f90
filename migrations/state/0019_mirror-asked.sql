-- When a reader last asked for the set, as far as that was noted: with its walks, and once a minute where the mirror has a --max-size.
ALTER TABLE mirror_set ADD COLUMN asked_at_ms INTEGER NOT NULL DEFAULT 0;

UPDATE mirror_set
SET asked_at_ms = checked_at_ms;

DROP INDEX mirror_set_on_demand;

-- As before, by that time.
CREATE INDEX mirror_set_on_demand ON mirror_set (site, asked_at_ms, image, size_bytes, synced_at_ms, gone)
WHERE synced_at_ms IS NULL AND size_bytes IS NOT NULL AND gone = '[]';
