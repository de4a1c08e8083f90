-- Times are milliseconds since 1970 UTC. Paths and names are ASCII, and compared by their bytes.
-- The one row that every change locks first: docs/decisions/several-nodes.md. size: the number of the last audit event.
CREATE TABLE log_head (
  id integer PRIMARY KEY CHECK (id = 1),
  size bigint NOT NULL CHECK (size >= 0)
);

INSERT INTO log_head (id, size) VALUES (1, 0);

-- Changes that somebody made, in the order of their commits; the numbers have no holes.
CREATE TABLE audit_event (
  seq bigint PRIMARY KEY,
  at_ms bigint NOT NULL,
  -- leafText() of src/domain/audit.ts
  leaf text NOT NULL,
  -- privateText() of src/domain/audit.ts: who it was. Both NULL once forgotten
  private text,
  salt bytea CHECK (length(salt) = 32),
  CHECK ((private IS NULL) = (salt IS NULL))
);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'a row of % is never changed or deleted', TG_TABLE_NAME;
END
$$;

-- Who it was may be forgotten, and nothing else may change.
CREATE TRIGGER audit_event_is_never_changed
BEFORE UPDATE ON audit_event
FOR EACH ROW
WHEN (
  NEW.seq IS DISTINCT FROM OLD.seq
  OR NEW.at_ms IS DISTINCT FROM OLD.at_ms
  OR NEW.leaf IS DISTINCT FROM OLD.leaf
  OR NEW.private IS NOT NULL
  OR NEW.salt IS NOT NULL
)
EXECUTE FUNCTION refuse_change();

CREATE TRIGGER audit_event_is_never_deleted
BEFORE DELETE ON audit_event
FOR EACH ROW
EXECUTE FUNCTION refuse_change();

CREATE TRIGGER audit_event_is_never_emptied
BEFORE TRUNCATE ON audit_event
EXECUTE FUNCTION refuse_change();

-- The Merkle tree over the leaves, as C2SP tlog-tiles lays it out: level 0 has the hash of each leaf (n is seq - 1).
CREATE TABLE log_hash (
  level integer NOT NULL CHECK (level >= 0),
  n bigint NOT NULL CHECK (n >= 0),
  hash bytea NOT NULL CHECK (length(hash) = 32),
  PRIMARY KEY (level, n)
);

CREATE TRIGGER log_hash_is_never_changed
BEFORE UPDATE OR DELETE ON log_hash
FOR EACH ROW
EXECUTE FUNCTION refuse_change();

-- Each set of an image has a generation of its own, over all images.
CREATE SEQUENCE set_generation;

-- A row stays when the image has no signature any more: its generation tells readers so.
CREATE TABLE image (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  site text COLLATE "C" NOT NULL,
  -- as in URLs: team/app@sha256=…
  folder text COLLATE "C" NOT NULL,
  generation bigint NOT NULL,
  UNIQUE (site, folder)
);

CREATE TABLE blob (
  image_id bigint NOT NULL REFERENCES image (id),
  sha256 bytea NOT NULL CHECK (length(sha256) = 32),
  bytes bytea NOT NULL,
  PRIMARY KEY (image_id, sha256)
);

CREATE TABLE signature (
  -- never used twice
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  image_id bigint NOT NULL,
  number integer NOT NULL CHECK (number >= 1),
  sha256 bytea NOT NULL,
  size_bytes integer NOT NULL CHECK (size_bytes >= 0),
  stored_at_ms bigint NOT NULL,
  -- a copy of another signature of the image, at the number of one that was withdrawn
  filler boolean NOT NULL DEFAULT false,
  -- Judgement of src/domain/verdict.ts
  verdict text NOT NULL DEFAULT 'unverified'
    CHECK (verdict IN ('good', 'bad', 'no-key', 'unsupported', 'unreadable', 'unverified')),
  reason text,
  form text,
  issuer text,
  fingerprint text,
  signing_fingerprint text,
  signed_at_ms bigint,
  expires_at_ms bigint,
  claimed_algorithm text,
  claimed_digest bytea,
  docker_reference text,
  creator text,
  signed_sha256 bytea,
  digest_bits integer,
  obstacles text,
  tag text,
  -- from when on it is worth a look by the judge; NULL: its verdict stands
  judge_at_ms bigint DEFAULT 0,
  UNIQUE (image_id, number),
  FOREIGN KEY (image_id, sha256) REFERENCES blob (image_id, sha256)
);

-- One row for each folder that has an image somewhere below, and for each image's own folder.
CREATE TABLE folder_entry (
  site text COLLATE "C" NOT NULL,
  -- '' is the site's top
  folder text COLLATE "C" NOT NULL,
  -- naturalKey(name) of src/domain/natural-order.ts
  sort_key text COLLATE "C" NOT NULL,
  name text COLLATE "C" NOT NULL,
  images bigint NOT NULL CHECK (images >= 0),
  PRIMARY KEY (site, folder, sort_key, name)
);

-- What uploads brought, in the order of uploading.
CREATE TABLE upload (
  audit_seq bigint PRIMARY KEY REFERENCES audit_event (seq),
  site text COLLATE "C" NOT NULL,
  image text COLLATE "C" NOT NULL,
  sha256 bytea NOT NULL CHECK (length(sha256) = 32),
  size_bytes integer NOT NULL CHECK (size_bytes >= 0),
  -- the token's name, or administrator
  uploader text NOT NULL,
  stored_at_ms bigint NOT NULL,
  bytes bytea CHECK (bytes IS NULL OR length(bytes) = size_bytes),
  remap text,
  UNIQUE (site, image, sha256)
);

-- Signatures that were withdrawn: their bytes are refused. A row stays when the withdrawal has ended.
CREATE TABLE tombstone (
  site text COLLATE "C" NOT NULL,
  image text COLLATE "C" NOT NULL,
  sha256 bytea NOT NULL CHECK (length(sha256) = 32),
  number integer NOT NULL CHECK (number >= 1),
  audit_seq bigint NOT NULL REFERENCES audit_event (seq),
  withdrawn_at_ms bigint NOT NULL,
  withdrawn_by text NOT NULL,
  reason text NOT NULL,
  until_ms bigint,
  -- kept where it comes back by itself
  bytes bytea,
  lifted_at_ms bigint,
  PRIMARY KEY (site, image, sha256)
);

CREATE INDEX tombstone_by_end ON tombstone (until_ms) WHERE until_ms IS NOT NULL AND lifted_at_ms IS NULL;

CREATE TABLE openpgp_key (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  fingerprint text COLLATE "C" NOT NULL UNIQUE,
  -- KeyDetails of src/domain/key.ts as JSON
  details text NOT NULL,
  added_at_ms bigint NOT NULL,
  changed_at_ms bigint NOT NULL,
  certificate bytea NOT NULL
);

CREATE TABLE signer (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name text COLLATE "C" NOT NULL CONSTRAINT signer_name_taken UNIQUE,
  description text NOT NULL,
  created_at_ms bigint NOT NULL,
  disabled_at_ms bigint
);

CREATE TABLE signer_grant (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  signer_id bigint NOT NULL REFERENCES signer (id) ON DELETE CASCADE,
  -- JSON arrays, sorted and without repeats
  repositories text NOT NULL,
  fingerprints text NOT NULL,
  tags text NOT NULL,
  created_at_ms bigint NOT NULL
);

CREATE INDEX signer_grant_by_signer ON signer_grant (signer_id);

-- A token's text is never stored: hash is its SHA-256.
CREATE TABLE token (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name text COLLATE "C" NOT NULL CONSTRAINT token_name_taken UNIQUE,
  role text NOT NULL CHECK (role IN ('admin', 'auditor', 'reader', 'uploader')),
  hash bytea NOT NULL UNIQUE CHECK (length(hash) = 32),
  created_at_ms bigint NOT NULL,
  expires_at_ms bigint,
  revoked_at_ms bigint,
  -- name of the signer; it stays when the signer is removed
  signer text,
  last_used_at_ms bigint
);

-- A number for what nodes keep in memory: it grows with each change.
CREATE TABLE change (
  topic text PRIMARY KEY,
  number bigint NOT NULL
);

INSERT INTO change (topic, number) VALUES ('keys', 0), ('tokens', 0);
