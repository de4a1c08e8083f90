// Answers that come line by line.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { FsckResult } from '../../src/domain/upkeep.ts';
import { createGate } from '../gate.ts';
import { requestRaw } from './raw-request.ts';
import { serveOver } from './served.ts';

const unasked = () => assert.fail('this was not asked for');

test('lines are not held back on their way, and steer no terminal that they are shown on', async () => {
  const finding = {
    site: 'default',
    kind: 'extra',
    path: 'team/\u202eppa',
    message: 'm',
    repaired: false,
  } as const;
  const result: FsckResult = {
    images: 1,
    signatures: 1,
    problems: 1,
    repaired: 0,
    findings: [finding],
    isCompared: true,
  };
  await using served = await serveOver({
    upkeep: {
      start: unasked,
      stop: unasked,
      rebuild: unasked,
      reindex: unasked,
      fsck: async () => result,
    },
  });
  const lines = [`Authorization: Bearer ${served.tokens.admin}`, 'Content-Type: application/json'];
  const { status, headers, body } = await requestRaw(
    served.port,
    'POST /api/v1/fsck',
    lines,
    Buffer.from('{"repair":false}'),
  );
  assert.equal(status, 200);
  assert.equal(headers.get('content-type'), 'application/jsonl');
  assert.equal(headers.get('x-accel-buffering'), 'no');
  const text = body.toString();
  assert.ok(text.includes('team/\\u202eppa') && !text.includes('\u202e'), text);
});

test('lines come once every process has seen what they tell', async () => {
  const [begun, checked, asked, seen] = [createGate(), createGate<FsckResult>(), createGate(), createGate()];
  let isSeen = true;
  await using served = await serveOver({
    upkeep: {
      start: unasked,
      stop: unasked,
      rebuild: unasked,
      reindex: unasked,
      fsck() {
        begun.open();
        return checked.promise;
      },
    },
    untilSeen() {
      if (isSeen) return null;
      asked.open();
      return seen.promise;
    },
  });
  let isOver = false;
  const lines = [`Authorization: Bearer ${served.tokens.admin}`, 'Content-Type: application/json'];
  const answered = requestRaw(
    served.port,
    'POST /api/v1/fsck',
    lines,
    Buffer.from('{"repair":true}'),
  ).finally(() => {
    isOver = true;
  });
  await begun.promise;
  isSeen = false;
  checked.open({ images: 1, signatures: 1, problems: 0, repaired: 1, findings: [], isCompared: true });
  await asked.promise;
  // a request that comes later has an answer, and this one has not
  assert.equal((await fetch(`${served.url}/livez`)).status, 200);
  assert.equal(isOver, false);
  isSeen = true;
  seen.open();
  const { body } = await answered;
  assert.match(body.toString(), /"repaired":1/);
});
