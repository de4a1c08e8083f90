-- From when on a signature is worth a look by the judge; NULL: its verdict stands. A signature whose key has changed
-- is judged again beside the verdict that it has, so that nobody ever sees it without one.
-- It may stand behind `bytes`: who reads it goes by the index below, or reads the few rows of one image.
ALTER TABLE signature ADD COLUMN judge_at_ms INTEGER DEFAULT 0;

UPDATE signature
SET judge_at_ms = CASE verdict WHEN 'unverified' THEN judge_after_ms END;

DROP INDEX signature_unverified;

ALTER TABLE signature DROP COLUMN judge_after_ms;

CREATE INDEX signature_to_judge ON signature (site, id, judge_at_ms)
WHERE judge_at_ms IS NOT NULL;
