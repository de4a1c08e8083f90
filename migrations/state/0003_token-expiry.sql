-- From when on a token opens nothing; NULL: never. Tokens that were made before have no end.
ALTER TABLE token ADD COLUMN expires_at_ms INTEGER;
