// The words of a question to the records.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseFilter } from '../../src/domain/record-question.ts';

test('two times in the wrong order are refused: the empty answer would read as if nothing had happened', () => {
  const now = new Date('2026-11-29T12:00:00Z');
  const wrong = { wrong: 'until', wanted: 'a time that is not before since' };
  assert.deepEqual(parseFilter({ since: '2026-12-01', until: '2026-11-01' }, now), wrong);
  assert.deepEqual(parseFilter({ until: '2d', since: '1d' }, now), wrong);
  for (const until of ['2026-11-01', '2026-11-02', '7d'])
    assert.ok('filter' in parseFilter({ since: '2026-11-01', until }, now), until);
});
