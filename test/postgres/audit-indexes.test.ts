// Questions to audit events say what the indexes are over, in the same words: in others, PostgreSQL would read all events.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { INDEXED_OF_EVENTS } from '../../src/postgres/audit-questions.ts';

const MIGRATION = new URL('../../../migrations/postgres/0011_audit-by-what-is-rare.sql', import.meta.url);

test('what questions to audit events compare is what the migration has made indexes over', () => {
  const made = readFileSync(MIGRATION, 'utf8')
    .split(';')
    .flatMap(
      (statement) =>
        /CREATE INDEX \w+ ON audit_event \(\n {2}(.*?)(?:, seq)?\n\)$/.exec(statement)?.[1] ?? [],
    );
  assert.deepEqual(made, INDEXED_OF_EVENTS);
});
