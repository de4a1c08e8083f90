-- The data directory that lookaside migrate brings here; no row: there is none. No node starts until it is here as a whole.
CREATE TABLE moved_directory (
  id integer PRIMARY KEY CHECK (id = 1),
  -- which state of which directory: mark of src/domain/moving.ts
  mark text NOT NULL,
  -- up to where its rows are here
  step text NOT NULL,
  cursor text,
  started_at_ms bigint NOT NULL,
  finished_at_ms bigint
);

-- Reads of each hour and repository from days that are gone, as the data directory kept them. Hours count from 1970 UTC.
CREATE TABLE access_hour (
  hour bigint NOT NULL,
  site text COLLATE "C" NOT NULL,
  -- or the folder of the release layout
  repository text COLLATE "C" NOT NULL,
  -- answered with a signature, 200 or 304
  fetched bigint NOT NULL,
  -- answered with 404
  ended bigint NOT NULL,
  bytes bigint NOT NULL,
  PRIMARY KEY (hour, site, repository)
);

-- Log-ins to the web pages. A session's text is never stored: hash is its SHA-256. Who ends one deletes its row.
CREATE TABLE page_session (
  -- never used twice: who ends session 7 must not hit another one of that number
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  token_id bigint NOT NULL REFERENCES token (id) ON DELETE CASCADE,
  hash bytea NOT NULL UNIQUE CHECK (length(hash) = 32),
  created_at_ms bigint NOT NULL,
  expires_at_ms bigint NOT NULL
);

CREATE INDEX page_session_by_token ON page_session (token_id, id);
