-- The newest checkpoints of other logs that the nodes have cosigned, one row a log: they are one witness together.
CREATE TABLE witnessed (
  origin text COLLATE "C" PRIMARY KEY,
  size bigint NOT NULL CHECK (size >= 0),
  root bytea NOT NULL CHECK (length(root) = 32),
  at_ms bigint NOT NULL,
  -- with the signature of the log and the nodes' own cosignature
  note text NOT NULL
);
