import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MAX_WALK_BYTES } from '../../src/domain/limits.ts';
import { type Fetched, type SignatureUpstream, type WalkFault, walkFault } from '../../src/domain/walk.ts';
import { createWalker } from '../../src/service/walk.ts';
import { createClock } from './hand-driven.ts';

const FAULT = walkFault('status', 'answered 500');
const bytesOf = (text: string): Fetched => ({ kind: 'bytes', bytes: Buffer.from(text) });
const MISSING: Fetched = { kind: 'missing' };

/** Answers by number, from 1; what is beyond is missing. */
function upstream(name: string, answers: () => readonly Fetched[], asked: string[] = []): SignatureUpstream {
  return {
    name,
    async get(path) {
      asked.push(`${name} ${path}`);
      return answers()[Number(/\d+$/.exec(path)?.[0]) - 1] ?? MISSING;
    },
    close: async () => undefined,
  };
}

function open(upstreams: readonly SignatureUpstream[]) {
  const clock = createClock();
  const faults: (readonly [string, WalkFault])[] = [];
  const timeout = () => new AbortController().signal;
  const onFault = (name: string, fault: WalkFault) => void faults.push([name, fault]);
  return { clock, faults, ...createWalker({ upstreams, clock, deadlineMs: 5000, timeout, onFault }) };
}

test('a walk is whole or nothing: a fault between two signatures leaves none', async () => {
  const { walk, faults } = open([upstream('a', () => [bytesOf('1'), FAULT, bytesOf('3')])]);
  assert.deepEqual(await walk('app', null), FAULT);
  assert.equal(faults.length, 1);
});

test('signatures of one image that are too many bytes together are a fault, and no more are asked for', async () => {
  const asked: string[] = [];
  const large: Fetched = { kind: 'bytes', bytes: Buffer.alloc(MAX_WALK_BYTES / 4) };
  const { walk } = open([upstream('a', () => [large, large, large, large], asked)]);
  assert.equal((await walk('app', null)).kind, 'set');
  const more = open([upstream('a', () => [large, large, large, large, bytesOf('5'), bytesOf('6')], asked)]);
  asked.length = 0;
  const walked = await more.walk('app', null);
  assert.ok(walked.kind === 'fault' && walked.fault === 'too-large');
  assert.equal(asked.length, 5);
});

test('the first upstream that has a set wins, and a set of the second is not mixed with one of the first', async () => {
  const asked: string[] = [];
  const first = upstream('a', () => [], asked);
  const second = upstream('b', () => [bytesOf('b1')], asked);
  const { walk } = open([first, second]);
  assert.deepEqual(await walk('app', null), { kind: 'set', upstream: 1, blobs: [Buffer.from('b1')] });
  assert.deepEqual(asked, ['a app/signature-1', 'b app/signature-1', 'b app/signature-2']);
  assert.deepEqual(await walk('app', 0), { kind: 'empty' });
});

test('an image that one upstream cannot tell of and another has not is no image without signatures', async () => {
  const { walk } = open([upstream('a', () => [FAULT]), upstream('b', () => [])]);
  assert.deepEqual(await walk('app', null), FAULT);
});

test('a set goes on to 128 signatures, and one more is a fault', async () => {
  const many = (count: number) => Array.from({ length: count }, (_, i) => bytesOf(String(i)));
  const whole = await open([upstream('a', () => many(128))]).walk('app', null);
  assert.ok(whole.kind === 'set');
  assert.equal(whole.blobs.length, 128);
  const endless = await open([upstream('a', () => many(129))]).walk('app', null);
  assert.ok(endless.kind === 'fault');
  assert.equal(endless.fault, 'number');
});

test('after five faults in a row the site rests for 30 s, and then one walk alone goes ahead', async () => {
  let answers: readonly Fetched[] = [FAULT];
  const asked: string[] = [];
  const { walk, clock } = open([upstream('a', () => answers, asked)]);
  for (let round = 0; round < 5; round += 1) await walk('app', null);
  const before = asked.length;
  const resting = await walk('app', null);
  assert.ok(resting.kind === 'fault');
  assert.deepEqual([resting.fault, resting.retryAfterMs], ['resting', 30_000]);
  assert.equal(asked.length, before);
  clock.pass(30_000);
  const [probe, other] = await Promise.all([walk('app', null), walk('app', null)]);
  assert.deepEqual([probe, other.kind === 'fault' && other.fault], [FAULT, 'resting']);
  clock.pass(30_000);
  answers = [bytesOf('1')];
  assert.equal((await walk('app', null)).kind, 'set');
  assert.equal((await walk('app', null)).kind, 'set');
});

test('a site that says when it will answer again is not asked before, and not tried twice', async () => {
  const asked: string[] = [];
  const slowed = walkFault('status', 'answered 429', 60_000);
  const { walk, clock } = open([upstream('a', () => [slowed], asked)]);
  await walk('app', null);
  assert.equal(asked.length, 1);
  clock.pass(59_000);
  await walk('app', null);
  assert.equal(asked.length, 1);
  clock.pass(1000);
  await walk('app', null);
  assert.equal(asked.length, 2);
});
