-- What is rare differs: a server that only mirrors has few uploads, and few results "created". So these hold all events.
DROP INDEX audit_event_by_action;
DROP INDEX audit_event_by_result;

CREATE INDEX audit_event_by_action ON audit_event (leaf ->> '$.action');

CREATE INDEX audit_event_by_result ON audit_event (leaf ->> '$.result');

CREATE INDEX audit_event_by_site ON audit_event (leaf ->> '$.site');
