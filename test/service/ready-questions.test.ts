import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { RecordSession } from '../../src/domain/records.ts';
import { ADMINISTRATOR } from '../../src/service/audit.ts';
import { createReadyQuestions } from '../../src/service/ready-questions.ts';
import { createClock } from './hand-driven.ts';

test('the last client of an image that was never signed is told only where it is kept', async () => {
  const at = new Date('2026-11-02T00:00:00Z');
  const row = { site: 'default', count: 1, firstAt: at, lastAt: at };
  const rows = [
    { ...row, image: `a@sha256:${'a'.repeat(64)}`, lastAddress: 'other' },
    { ...row, image: `b@sha256:${'b'.repeat(64)}`, lastAddress: '192.0.2.7' },
  ];
  const repositories = rows.map(({ image, count, lastAt, lastAddress }) => {
    return { repository: image.slice(0, 1), count, images: 1, lastAt, lastAddress };
  });
  const session = {
    unsigned: async () => ({ rows, found: 2, repositories, repositoriesFound: 2, dropped: 0, gaps: [] }),
  } as unknown as RecordSession;
  const questions = createReadyQuestions({
    records: { session: async (_about, _asker, act) => act(session) },
    signatures: { search: () => Promise.reject(new Error('unasked')) },
    keys: { find: async () => null, list: async () => [] },
    checkpoint: async () => null,
    clock: createClock(),
  });
  const question = {
    kind: 'unsigned',
    subject: null,
    since: null,
    until: null,
    repository: null,
    limit: 10,
  } as const;
  const asker = { actor: ADMINISTRATOR, signal: new AbortController().signal };
  const { tables } = await questions.ask(question, asker);
  for (const { columns, rows: lines } of tables) {
    const position = columns.indexOf('last client');
    assert.deepEqual(
      lines.map((cells) => cells[position]),
      [null, '192.0.2.7'],
    );
  }
});
