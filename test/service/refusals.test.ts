// Refusals in the audit log: one by one, then counted; none is lost, and the log stays small.
import assert from 'node:assert/strict';
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import type { NewAuditEvent } from '../../src/domain/audit.ts';
import { LookasideError } from '../../src/domain/errors.ts';
import { createEventMaker } from '../../src/service/audit.ts';
import { createRefusalRecorder } from '../../src/service/refusals.ts';
import { createUploader } from '../../src/service/upload.ts';
import { type Cleanup, events, open as openDatabases, temporaryFolder } from '../sqlite/scratch.ts';
import { sha256Hex } from '../store/lay.ts';
import { createClock, createLog, imageOf } from './hand-driven.ts';
import { refusedWith } from './judgements.ts';

const ACTOR = { name: 'ci', address: '192.0.2.7', requestId: 'r-1' };
const TOLD_EACH = 100;
const PERIOD_MS = 600_000;

const refusal = (result = 'KEY_UNKNOWN', of = 'app') => ({
  action: 'upload' as const,
  image: imageOf(`team/${of}`),
  signatureSha256: sha256Hex(Buffer.from(of)),
  result,
  reason: `${result} of ${of}`,
});

function open() {
  const clock = createClock();
  const log = createLog();
  const written: NewAuditEvent[] = [];
  const disk: { failure: Error | null } = { failure: null };
  const refusals = createRefusalRecorder({
    audit: {
      append: async (event) => {
        if (disk.failure !== null) throw disk.failure;
        return written.push(event);
      },
    },
    makeEvent: createEventMaker({ clock, randomBytes: (count) => new Uint8Array(count) }),
    clock,
    log,
  });
  const record = async (count: number, of = refusal(), actor = ACTOR) => {
    for (let k = 0; k < count; k += 1) await refusals.record(of, actor);
  };
  return { clock, log, written, disk, refusals, record };
}

const countOf = ({ merged }: Pick<NewAuditEvent, 'merged'>) => merged?.count ?? 1;
const sum = (events: readonly NewAuditEvent[]) => events.reduce((total, event) => total + countOf(event), 0);

describe('refusals of one uploader', () => {
  test('are told one by one up to a hundred, and then in one event for each code, with their number', async () => {
    const { clock, written, refusals, record } = open();
    await record(TOLD_EACH);
    assert.equal(written.length, TOLD_EACH);
    assert.ok(written.every(({ merged, image }) => merged === undefined && image !== null));

    clock.pass(1000);
    await refusals.record(refusal('KEY_UNKNOWN', 'one'), ACTOR);
    clock.pass(1000);
    await refusals.record(refusal('KEY_UNKNOWN', 'two'), { ...ACTOR, requestId: 'r-2' });
    await record(3, refusal('EMPTY'));
    assert.equal(written.length, TOLD_EACH, 'the rest is counted');
    await refusals.flush();
    const [merged, same, ...none] = written.slice(TOLD_EACH);
    assert.deepEqual(none, []);
    assert.deepEqual(merged, {
      at: new Date('2026-11-22T10:00:02.000Z'),
      action: 'upload',
      site: 'default',
      image: null,
      signatureSha256: null,
      fingerprint: null,
      result: 'KEY_UNKNOWN',
      merged: { count: 2, since: new Date('2026-11-22T10:00:01.000Z') },
      private: {
        actor: 'ci',
        address: '192.0.2.7',
        requestId: null,
        reason:
          '2 uploads were refused with this code from 2026-11-22T10:00:01.000Z to 2026-11-22T10:00:02.000Z, more than are recorded one by one; the first: KEY_UNKNOWN of one',
      },
      salt: '00'.repeat(32),
    });
    assert.deepEqual(same?.merged?.count, 3);
    assert.deepEqual(same?.signatureSha256, refusal().signatureSha256, 'what all share is told');
    await refusals.flush();
    assert.equal(written.length, TOLD_EACH + 2, 'and nothing is told twice');
  });

  test('of which one alone is counted stand as they would have', async () => {
    const { written, refusals, record } = open();
    await record(TOLD_EACH + 1);
    await refusals.stop();
    assert.deepEqual(written.at(-1), written[0]);
  });

  test('are told one by one again, one for each period that has passed', async () => {
    const { clock, written, record } = open();
    await record(TOLD_EACH + 5);
    clock.pass(3 * PERIOD_MS);
    await record(5);
    assert.equal(written.length, TOLD_EACH + 3);
    clock.pass(1000 * PERIOD_MS);
    await record(TOLD_EACH + 5);
    assert.equal(written.length, 2 * TOLD_EACH + 3);
  });

  test('are not counted with those of another, or of another code', async () => {
    const { written, refusals, record } = open();
    for (const name of ['ci', 'other']) {
      await record(TOLD_EACH + 7, refusal(), { ...ACTOR, name });
      await record(9, refusal('EMPTY'), { ...ACTOR, name });
    }
    await refusals.flush();
    assert.deepEqual(
      written.flatMap(({ merged, result, private: { actor } }) =>
        merged === undefined ? [] : [[actor, result, merged.count]],
      ),
      [
        ['ci', 'KEY_UNKNOWN', 7],
        ['ci', 'EMPTY', 9],
        ['other', 'KEY_UNKNOWN', 7],
        ['other', 'EMPTY', 9],
      ],
    );
  });

  test('that cannot be written are logged with their number, and told once they can be', async () => {
    const { log, written, disk, refusals, record } = open();
    disk.failure = new LookasideError('DISK_FULL', 'no room');
    await record(TOLD_EACH + 20);
    await refusals.flush();
    assert.deepEqual(written, []);
    assert.deepEqual(log.lines.at(-1)?.fields, {
      err: disk.failure,
      code: 'KEY_UNKNOWN',
      refused: TOLD_EACH + 20,
    });
    disk.failure = null;
    await refusals.stop();
    assert.deepEqual(written.map(countOf), [TOLD_EACH + 20]);
  });

  test('behind the last flush are each told at once', async () => {
    const { written, refusals, record } = open();
    await record(TOLD_EACH + 1);
    await refusals.stop();
    await record(3);
    assert.equal(written.length, TOLD_EACH + 1 + 3);
  });

  test('come to the right number, whoever is refused, whatever fails and however time passes', async () => {
    const act = fc.record({
      times: fc.nat({ max: 60 }),
      name: fc.constantFrom('ci', 'other'),
      code: fc.constantFrom('EMPTY', 'KEY_UNKNOWN', 'ARMORED'),
      passMs: fc.nat({ max: 5 * PERIOD_MS }),
      isFlushed: fc.boolean(),
      isFull: fc.boolean(),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(act, { maxLength: 20 }), async (acts) => {
        const { clock, written, disk, refusals, record } = open();
        const sent = new Map<string, number>();
        for (const { times, name, code, passMs, isFlushed, isFull } of acts) {
          disk.failure = isFull ? new LookasideError('DISK_FULL', 'no room') : null;
          await record(times, refusal(code), { ...ACTOR, name });
          sent.set(`${name} ${code}`, (sent.get(`${name} ${code}`) ?? 0) + times);
          if (isFlushed) await refusals.flush();
          clock.pass(passMs);
        }
        disk.failure = null;
        await refusals.stop();
        for (const [key, times] of sent) {
          const ofKey = written.filter(({ result, private: who }) => `${who.actor} ${result}` === key);
          assert.equal(sum(ofKey), times, key);
        }
      }),
      { numRuns: 50 },
    );
  });
});

/** A server's uploads over real databases, of which every one is refused. */
async function openUploads(t: Cleanup, dataDir: string) {
  const { databases } = await openDatabases(dataDir);
  t.after(() => databases.close());
  const clock = createClock();
  const makeEvent = createEventMaker({
    clock,
    randomBytes: (count) => crypto.getRandomValues(new Uint8Array(count)),
  });
  const { audit, keys } = databases;
  const refusals = createRefusalRecorder({ audit, makeEvent, clock, log: createLog() });
  const unreached = () => Promise.reject(new Error('nothing is stored'));
  const uploader = createUploader({
    verifier: { examine: async () => refusedWith('KEY_UNKNOWN', 'no-key') },
    keys,
    appender: { append: unreached },
    judgeImage: unreached,
    refusals,
    makeEvent,
    clock,
    sha256: sha256Hex,
    remaps: () => [],
    permit: async (actor) => actor,
    unverifiable: {
      accepted: () => 'off',
      untrustedClaim: () => null,
      readBlob: async () => null,
      uploads: { ofImage: async () => [] },
    },
    maxBytes: () => 1000,
  });
  return {
    uploader,
    async stop() {
      await refusals.stop();
      await databases.close();
    },
  };
}

test('3,000 refused parts of one uploader grow state.db by less than 256 KiB, and are all counted behind a restart', async (t) => {
  const dataDir = temporaryFolder(t);
  const sizeBytes = () => statSync(join(dataDir, 'state.db')).size;
  await (await openUploads(t, dataDir)).stop();
  const before = sizeBytes();
  for (const batches of [10, 20]) {
    const { uploader, stop } = await openUploads(t, dataDir);
    for (let batch = 0; batch < batches; batch += 1) {
      const parts = Array.from({ length: 100 }, (_, k) => ({
        bytes: Buffer.from(`${batch} ${k}`),
        fileName: `team/app-${batch}-${k}@sha256=${'a'.repeat(64)}/signature-1`,
      }));
      for (const { result } of await uploader.uploadBatch(parts, { site: 'default', force: false }, ACTOR)) {
        assert.equal(result, 'refused');
      }
    }
    await stop();
  }
  const leaves = events(dataDir).map(({ leaf }) => JSON.parse(leaf));
  assert.equal(
    leaves.reduce((total, { count = 1 }) => total + count, 0),
    3000,
  );
  assert.deepEqual(
    leaves.flatMap(({ count, result, since, at }) =>
      count === undefined ? [] : [[count, result, since, at]],
    ),
    [900, 1900].map((count) => [
      count,
      'KEY_UNKNOWN',
      '2026-11-22T10:00:00.000Z',
      '2026-11-22T10:00:00.000Z',
    ]),
  );
  const grown = sizeBytes() - before;
  t.diagnostic(`${Math.round(grown / 1024)} KiB`);
  // two starts, each with a hundred one by one
  assert.ok(grown < 256 * 1024, `${grown}`);
});
