-- For questions about what few events have. Nearly all events are uploads that were taken, so they have no entry in the first two.
CREATE INDEX audit_event_by_action ON audit_event (leaf ->> '$.action') WHERE leaf ->> '$.action' <> 'upload';

CREATE INDEX audit_event_by_result ON audit_event (leaf ->> '$.result') WHERE leaf ->> '$.result' <> 'created';

CREATE INDEX audit_event_by_address ON audit_event (private ->> '$.address') WHERE private ->> '$.address' IS NOT NULL;

-- For a digest below any path. The names of all algorithms have six characters.
CREATE INDEX audit_event_by_digest ON audit_event (substr(leaf ->> '$.image', instr(leaf ->> '$.image', '=') - 6))
WHERE leaf ->> '$.image' IS NOT NULL;
