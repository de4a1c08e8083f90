-- Since when no new upload by the key is taken; NULL: uploads are taken.
ALTER TABLE openpgp_key ADD COLUMN retired_at_ms INTEGER;
