-- The oldest schema whose nodes may still change anything. They look when they lock this row. A migration that they could not bear
-- raises it to its own number: a node that was paused over the upgrade is then refused, too.
ALTER TABLE log_head ADD COLUMN oldest_writer integer NOT NULL DEFAULT 0;
