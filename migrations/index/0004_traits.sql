-- Traits of src/domain/verdict.ts; NULL unless the verdict is good.
ALTER TABLE signature ADD COLUMN signed_sha256 BLOB CHECK (signed_sha256 IS NULL OR length(signed_sha256) = 32);

ALTER TABLE signature ADD COLUMN digest_bits INTEGER;

-- words with blanks between them
ALTER TABLE signature ADD COLUMN obstacles TEXT;

-- Good signatures are looked at once more, to learn their traits.
UPDATE signature
SET judge_at_ms = 0
WHERE verdict = 'good';
