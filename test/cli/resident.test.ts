// That a command in the process that stays is as good as one in a process of its own.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runLookaside, runLookasideAlone } from '../clients/server.ts';

test('a command in the process that stays prints and ends as in a process of its own, whatever ran there before', async () => {
  const lines: readonly [args: readonly string[], settings: Readonly<Record<string, string>>][] = [
    [['config', '--json'], { LOOKASIDE_LISTEN: ':1234' }],
    [['config', '--json', '--data', 'x'], {}],
    [['token', 'list', '--data', '/nowhere'], {}],
    [['config', '--json'], { LOOKASIDE_X: '1' }],
    [[], {}],
  ];
  const seen = [];
  for (const [args, settings] of lines) seen.push(await runLookaside(args, settings, '/'));
  const wanted = [];
  for (const [args, settings] of lines) wanted.push(await runLookasideAlone(args, settings, '/'));
  assert.deepEqual(seen, wanted);
});

test('commands that run at once have processes of their own', async () => {
  const outcomes = await Promise.all([runLookaside(['--version']), runLookaside(['--help'])]);
  assert.deepEqual(
    outcomes.map(({ status }) => status),
    [0, 0],
  );
  assert.match(outcomes[1]?.stdout ?? '', /^Usage: lookaside/);
});
