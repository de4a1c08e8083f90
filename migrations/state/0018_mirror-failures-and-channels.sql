-- Since when walks for the set have failed, in a row: it may be gone upstream, so it is not let go. NULL: the last one did not fail.
ALTER TABLE mirror_set ADD COLUMN failing_since_ms INTEGER;
