-- Which tokens of OpenID providers act as a signer.
CREATE TABLE oidc_subject (
  -- AUTOINCREMENT: who removes subject 7 must not hit another one of that number
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  signer_id INTEGER NOT NULL REFERENCES signer (id) ON DELETE CASCADE,
  -- exactly as tokens name it
  issuer TEXT NOT NULL,
  -- patterns of src/domain/oidc.ts by the names of claims, sorted, so that the same subject is the same row
  claims TEXT NOT NULL CHECK (json_valid(claims)),
  created_at_ms INTEGER NOT NULL,
  UNIQUE (signer_id, issuer, claims)
) STRICT;

CREATE INDEX oidc_subject_by_issuer ON oidc_subject (issuer, id);
