-- Log-ins to the web pages through an OpenID provider: such a session has no token, but says itself who it is.
-- Nodes of before show the others alone, and write rows that hold here.
ALTER TABLE page_session
  ALTER COLUMN token_id DROP NOT NULL,
  ADD COLUMN issuer text,
  -- as audit events name it: issuer and subject, perhaps with the signer in front
  ADD COLUMN identity_name text COLLATE "C",
  -- as pages show it
  ADD COLUMN identity_shown text,
  ADD COLUMN identity_role text CHECK (identity_role IN ('admin', 'auditor', 'reader', 'uploader')),
  ADD COLUMN signer_id bigint REFERENCES signer (id) ON DELETE CASCADE,
  ADD CHECK ((token_id IS NULL) = (issuer IS NOT NULL)),
  ADD CHECK ((issuer IS NULL) = (identity_name IS NULL)),
  ADD CHECK ((issuer IS NULL) = (identity_shown IS NULL)),
  ADD CHECK ((issuer IS NULL) = (identity_role IS NULL));

CREATE INDEX page_session_by_identity ON page_session (identity_name, id) WHERE identity_name IS NOT NULL;
CREATE INDEX page_session_by_signer ON page_session (signer_id) WHERE signer_id IS NOT NULL;
