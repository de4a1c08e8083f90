import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createLog } from '../../src/compose/log.ts';

test('a line of the log holds no token, whatever it tells of', () => {
  const lines: string[] = [];
  const log = createLog('info', (line) => void lines.push(line));
  const token = `lookaside_${'0123456789abcdef'.repeat(4)}`;
  log.error({ err: new Error(`/?token=${token} failed`), target: `/?token=${token}` }, `at ${token}`);
  const [line = ''] = lines;
  assert.doesNotMatch(line, /lookaside_[0-9a-f]/);
  const { err, target, msg } = JSON.parse(line);
  const masked = 'lookaside_****';
  assert.deepEqual(
    [err.message, target, msg],
    [`/?token=${masked} failed`, `/?token=${masked}`, `at ${masked}`],
  );
});
