-- For pages of reads, newest first. Rows of before have 0: other numbers would write every one of them anew, under a lock.
CREATE SEQUENCE access_read_id;

ALTER TABLE access_read ADD COLUMN id bigint NOT NULL DEFAULT 0;
ALTER TABLE access_read ALTER COLUMN id SET DEFAULT nextval('access_read_id');

CREATE INDEX access_read_by_time ON access_read (first_at_ms, id);
CREATE INDEX access_read_by_folder ON access_read (folder);

CREATE INDEX audit_event_by_time ON audit_event (at_ms);

-- Those that a revocation looks through. Last, as uploads wait from here to the end.
CREATE INDEX signature_bad ON signature (id) WHERE verdict = 'bad';
