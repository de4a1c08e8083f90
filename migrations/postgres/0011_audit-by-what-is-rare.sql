-- For questions about what few audit events have. Both texts are canonical JSON of ours (src/domain/audit.ts): within a value, a quote has a
-- backslash before it, and of these values only an actor's may have one; what is null has no text here. Regular expressions and json
-- take 20 times the time. Keep the expressions in sync with src/postgres/audit-questions.ts. Those that many events share go on by
-- number, so that the newest are read without the others. Uploads wait while this runs.
CREATE INDEX audit_event_by_site ON audit_event (
  (split_part(split_part(leaf, '"site":"', 2), '"', 1) COLLATE "C"), seq
);

CREATE INDEX audit_event_by_result ON audit_event (
  (split_part(split_part(leaf, '"result":"', 2), '"', 1) COLLATE "C"), seq
);

CREATE INDEX audit_event_by_fingerprint ON audit_event (
  (split_part(split_part(leaf, '"fingerprint":"', 2), '"', 1) COLLATE "C"), seq
);

CREATE INDEX audit_event_by_signature ON audit_event (
  (split_part(split_part(leaf, '"signatureSha256":"', 2), '"', 1) COLLATE "C")
);

CREATE INDEX audit_event_by_image ON audit_event (
  (split_part(split_part(leaf, '"image":"', 2), '"', 1) COLLATE "C")
);

CREATE INDEX audit_event_by_digest ON audit_event (
  (substr(split_part(split_part(leaf, '"image":"', 2), '"', 1), strpos(split_part(split_part(leaf, '"image":"', 2), '"', 1), '=') - 6) COLLATE "C")
);

CREATE INDEX audit_event_by_actor ON audit_event (
  (split_part(split_part(private, '"actor":"', 2), '","address":', 1) COLLATE "C"), seq
);

CREATE INDEX audit_event_by_address ON audit_event (
  (split_part(split_part(private, '"address":"', 2), '"', 1) COLLATE "C"), seq
);

-- Without statistics of the expressions, nothing would lead to these indexes.
ANALYZE audit_event;
