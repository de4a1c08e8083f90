-- That an administrator has revoked the key, whatever its certificate says; all NULL: nobody has.
ALTER TABLE openpgp_key
  ADD COLUMN revoked_at_ms bigint,
  -- the token's name, or administrator
  ADD COLUMN revoked_by text COLLATE "C",
  ADD COLUMN revoked_reason text COLLATE "C",
  -- of the revocation; tombstones of what is withdrawn with the key have it too
  ADD COLUMN revoked_seq bigint REFERENCES audit_event (seq),
  -- every signature by the key is withdrawn, also one that comes later
  ADD COLUMN withdraws boolean NOT NULL DEFAULT false,
  -- who added it first: the token's name, or administrator; NULL: forgotten
  ADD COLUMN added_by text COLLATE "C";
