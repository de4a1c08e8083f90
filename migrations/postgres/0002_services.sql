ALTER TABLE openpgp_key ADD COLUMN retired_at_ms bigint;
ALTER TABLE openpgp_key ADD CONSTRAINT openpgp_key_fingerprint CHECK (fingerprint ~ '^[0-9A-F]{40}$');

-- Who may get a signer's rights by a token of an OpenID provider.
CREATE TABLE oidc_subject (
  -- never used twice: who removes subject 7 must not hit another one of that number
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  signer_id bigint NOT NULL REFERENCES signer (id) ON DELETE CASCADE,
  -- exactly as tokens name it
  issuer text COLLATE "C" NOT NULL,
  -- patterns of src/domain/oidc.ts by the names of claims, sorted, as JSON
  claims text COLLATE "C" NOT NULL,
  created_at_ms bigint NOT NULL
);

CREATE INDEX oidc_subject_by_signer ON oidc_subject (signer_id);
CREATE INDEX oidc_subject_by_issuer ON oidc_subject (issuer, id);

-- Under which names and keys checkpoints were signed, the newest last. vkey: formatNoteKey() of src/domain/signed-note.ts
CREATE TABLE log_identity (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  origin text NOT NULL,
  vkey text NOT NULL,
  since_ms bigint NOT NULL
);

-- What the log has published: signed heads of its tree.
CREATE TABLE log_checkpoint (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  size bigint NOT NULL CHECK (size >= 0),
  root bytea NOT NULL CHECK (length(root) = 32),
  at_ms bigint NOT NULL,
  -- a signed note; cosignatures of witnesses may be added to it
  note text NOT NULL,
  -- when it was accepted that the tree no longer reaches it; NULL for all others
  void_ms bigint
);

CREATE INDEX log_checkpoint_by_size ON log_checkpoint (size);

-- The node that does what one alone may do. Each election raises the number: a leader of an earlier number writes nothing more.
CREATE TABLE leader (
  id integer PRIMARY KEY CHECK (id = 1),
  number bigint NOT NULL
);

INSERT INTO leader (id, number) VALUES (1, 0);

-- Which database it is: ids of signatures mean nothing in another one.
CREATE TABLE database_name (
  id integer PRIMARY KEY CHECK (id = 1),
  name text NOT NULL
);

INSERT INTO database_name (id, name) VALUES (1, gen_random_uuid()::text);

-- As domain/image.ts takes a folder apart: the repository, or the folder of the release layout, and the digest.
ALTER TABLE image ADD COLUMN path text COLLATE "C" GENERATED ALWAYS AS (
  regexp_replace(folder, '(^|[@/])sha(256|384|512)=[0-9a-f]+$', '')
) STORED;
ALTER TABLE image ADD COLUMN digest text COLLATE "C" GENERATED ALWAYS AS (
  substring(folder FROM 'sha(?:256|384|512)=[0-9a-f]+$')
) STORED;

CREATE INDEX image_by_path ON image (path);
CREATE INDEX image_by_digest ON image (digest);
CREATE INDEX signature_by_fingerprint ON signature (fingerprint, id) WHERE fingerprint IS NOT NULL;
CREATE INDEX signature_by_issuer ON signature (issuer) WHERE issuer IS NOT NULL;
CREATE INDEX signature_by_tag ON signature (tag, id) WHERE tag IS NOT NULL;
CREATE INDEX signature_to_judge ON signature (judge_at_ms, id) WHERE judge_at_ms IS NOT NULL;

-- The first member of a leaf is its action.
CREATE INDEX audit_event_by_action ON audit_event (split_part(leaf, '"', 4), seq);

-- Requests of one client for one signature within one minute; the partitions, one a day (UTC), are made as they are needed.
CREATE TABLE access_read (
  day date NOT NULL,
  first_at_ms bigint NOT NULL,
  last_at_ms bigint NOT NULL,
  site text NOT NULL,
  -- as in URLs: team/app@sha256=…
  folder text NOT NULL,
  -- NULL: a name that is no number, or an image without signatures
  number integer,
  -- of the bytes that were sent; NULL for a 404
  sha256 bytea,
  status integer NOT NULL,
  address text NOT NULL,
  agent text,
  token text,
  count integer NOT NULL,
  bytes bigint NOT NULL
) PARTITION BY RANGE (day);

-- Reads that a node had no room to record.
CREATE TABLE access_dropped (
  at_ms bigint NOT NULL,
  count bigint NOT NULL
);
