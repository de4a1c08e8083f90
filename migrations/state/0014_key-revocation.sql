-- That an administrator has revoked the key, whatever its certificate says; all NULL: nobody has.
ALTER TABLE openpgp_key ADD COLUMN revoked_at_ms INTEGER;

-- the token's name, or administrator
ALTER TABLE openpgp_key ADD COLUMN revoked_by TEXT;

ALTER TABLE openpgp_key ADD COLUMN revoked_reason TEXT;

-- of the revocation; tombstones of what is withdrawn with the key have it too
ALTER TABLE openpgp_key ADD COLUMN revoked_seq INTEGER REFERENCES audit_event (seq);

-- 1: every signature by the key is withdrawn, also one that comes later
ALTER TABLE openpgp_key ADD COLUMN withdraws INTEGER NOT NULL DEFAULT 0 CHECK (withdraws IN (0, 1));

-- who added it first: the token's name, or administrator; NULL: forgotten
ALTER TABLE openpgp_key ADD COLUMN added_by TEXT;

UPDATE openpgp_key
SET added_by = (
  SELECT private ->> '$.actor'
  FROM audit_event
  WHERE at_ms = openpgp_key.added_at_ms
    AND leaf ->> '$.action' = 'key-add'
    AND leaf ->> '$.fingerprint' = openpgp_key.fingerprint
  ORDER BY seq
  LIMIT 1
);
