-- Fingerprints and key IDs of changed keys whose signatures are still to be marked for the judge: those up to after_id are marked.
CREATE TABLE judge_again (
  issuer text COLLATE "C" PRIMARY KEY,
  after_id bigint NOT NULL DEFAULT 0
);

-- part after part, each from where the last one ended
DROP INDEX signature_by_issuer;
CREATE INDEX signature_by_issuer ON signature (issuer, id) WHERE issuer IS NOT NULL;
