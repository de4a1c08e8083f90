-- The tag that the docker-reference names: `tagOf()` of src/domain/reference.ts, once more in SQL for what is recorded already.
-- It stands behind `bytes`: who asks for a tag goes by the index below. Behind an @ stands a digest, and a colon in front of
-- the last slash is that of a port.
ALTER TABLE signature ADD COLUMN tag TEXT;

UPDATE signature
SET tag = (
  WITH
    named (name) AS (
      SELECT CASE instr(docker_reference, '@')
        WHEN 0 THEN docker_reference
        ELSE substr(docker_reference, 1, instr(docker_reference, '@') - 1)
      END
    ),
    last (part) AS (
      SELECT substr(name, length(rtrim(name, replace(name, '/', ''))) + 1)
      FROM named
    )
  SELECT substr(part, instr(part, ':') + 1)
  FROM last
  WHERE instr(part, ':') > 0
)
WHERE docker_reference IS NOT NULL;

-- With the path, rows of other repositories are passed over without being read.
CREATE INDEX signature_by_tag ON signature (site, tag, id, stored_at_ms, path)
WHERE tag IS NOT NULL;

-- Nearly all are good, so only the others are worth an index.
CREATE INDEX signature_not_good ON signature (site, verdict, id, stored_at_ms)
WHERE verdict <> 'good';
