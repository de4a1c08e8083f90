-- A tag of one repository: `latest` may be that of every image here, so neither the tag nor the path alone is narrow enough.
CREATE INDEX signature_by_path_and_tag ON signature (site, path, tag, id)
WHERE tag IS NOT NULL;

-- Who asks for a tag of one repository does not come by this index any more: it does without the path.
DROP INDEX signature_by_tag;

CREATE INDEX signature_by_tag ON signature (site, tag, id, stored_at_ms)
WHERE tag IS NOT NULL;
