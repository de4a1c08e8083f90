// Where nothing is ever withdrawn, and the rounds that put back what was withdrawn until some day: one at a time, and told of
// in the log.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LookasideError } from '../../src/domain/errors.ts';
import type { TombstoneStore } from '../../src/domain/ports.ts';
import type { Tombstone } from '../../src/domain/tombstone.ts';
import { ADMINISTRATOR } from '../../src/service/audit.ts';
import { createWithdrawService } from '../../src/service/withdraw.ts';
import { folderOf, LONG_AGO, sha256Hex, signatureBytes } from '../store/lay.ts';
import { imageIn } from '../store/open-store.ts';
import { createClock, createLog } from './hand-driven.ts';

const unasked = () => assert.fail('not asked');

const ENDED: Tombstone = {
  image: imageIn(folderOf('team/app')),
  sha256: sha256Hex(signatureBytes('one')),
  number: 1,
  fillers: [],
  auditSeq: 1,
  withdrawnAt: LONG_AGO,
  withdrawnBy: 'administrator',
  reason: 'leaked',
  until: LONG_AGO,
  isInForce: true,
};

interface Scene {
  readonly lift?: (tombstone: Tombstone) => Promise<number | null>;
  /** Those that have ended, until they are lifted. */
  readonly ended?: TombstoneStore['ended'];
  readonly isAppendOnly?: boolean;
}

/** Over one withdrawal that has ended, unless told. */
function open({ lift = unasked, ended = async () => [ENDED], isAppendOnly = false }: Scene) {
  const log = createLog();
  const service = createWithdrawService({
    appender: { withdraw: unasked, lift },
    tombstones: { ofImage: unasked, page: unasked, ended },
    sites: () => ['default'],
    makeEvent: unasked,
    clock: createClock(),
    isAppendOnly: () => isAppendOnly,
    log,
  });
  return { service, log };
}

test('a round that puts back begins no second time before it has ended', async () => {
  let lifts = 0;
  let end = () => {};
  const { service } = open({
    async lift() {
      lifts += 1;
      await new Promise<void>((resolve) => {
        end = resolve;
      });
      return 1;
    },
  });
  const first = service.putBack();
  const second = service.putBack();
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(lifts, 1);
  end();
  await Promise.all([first, second]);
  const third = service.putBack();
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(lifts, 2);
  end();
  await third;
});

test('a withdrawal whose image is full is told of once, and each other failure each time', async () => {
  const full = new LookasideError('TOO_MANY_SIGNATURES', 'full');
  const answers: (LookasideError | number | null)[] = [
    full,
    full,
    new LookasideError('BUSY', 'busy'),
    full,
    null,
    7,
  ];
  const { service, log } = open({
    async lift() {
      const answer = answers.shift() ?? null;
      if (answer instanceof LookasideError) throw answer;
      return answer;
    },
  });
  const levels: (readonly string[])[] = [];
  while (answers.length > 0) {
    const before = log.lines.length;
    await service.putBack();
    levels.push(log.lines.slice(before).map(({ level }) => level));
  }
  assert.deepEqual(levels, [['warn'], [], ['error'], ['warn'], [], ['info']]);
});

test('with LOOKASIDE_APPEND_ONLY no withdrawal is taken, by path or by number, with or without an end', async () => {
  // the store, which is never asked, fails the test
  const { service } = open({ isAppendOnly: true });
  const refusal = { code: 'APPEND_ONLY', message: /LOOKASIDE_APPEND_ONLY=true.*lookaside key add$/ };
  for (const until of [null, new Date('2027-01-01')]) {
    const why = { reason: 'leaked', until };
    const path = `${folderOf('team/app')}/signature-1`;
    await assert.rejects(service.withdraw({ path, ...why }, ADMINISTRATOR), refusal);
    await assert.rejects(service.withdrawAt({ image: ENDED.image, number: 1 }, why, ADMINISTRATOR), refusal);
  }
});

test('a round puts back all that has ended, also behind one that cannot be put back yet, and tells of each', async () => {
  const all = ['one', 'two', 'three'].map((text) => ({ ...ENDED, sha256: sha256Hex(signatureBytes(text)) }));
  const lifted: string[] = [];
  const asked: Date[] = [];
  const { service, log } = open({
    async ended(now) {
      asked.push(now);
      return all;
    },
    async lift({ sha256 }) {
      if (sha256 === all[1]?.sha256) throw new LookasideError('DISK_FULL', 'no room');
      return lifted.push(sha256);
    },
  });
  await service.putBack();
  assert.deepEqual(asked, [createClock().now()]);
  assert.deepEqual(lifted, [all[0]?.sha256, all[2]?.sha256]);
  assert.deepEqual(
    log.lines.map(({ level, fields }) => [level, fields.image, fields.sha256, fields.number]),
    [
      ['info', folderOf('team/app'), all[0]?.sha256, 1],
      ['error', folderOf('team/app'), all[1]?.sha256, undefined],
      ['info', folderOf('team/app'), all[2]?.sha256, 2],
    ],
  );
});

test('a round that cannot look up what has ended says so in the log, and the next one puts it back', async () => {
  let isLocked = true;
  const { service, log } = open({
    async ended() {
      if (isLocked) throw new LookasideError('BUSY', 'locked');
      return [ENDED];
    },
    lift: async () => 1,
  });
  await service.putBack();
  isLocked = false;
  await service.putBack();
  assert.deepEqual(
    log.lines.map(({ level }) => level),
    ['error', 'info'],
  );
});

test('a withdrawal from a mirror that is not there waits in silence, and keeps no other waiting', async () => {
  const lifted: string[] = [];
  const { service, log } = open({
    ended: async () => [{ ...ENDED, image: { ...ENDED.image, site: 'former' } }, ENDED],
    async lift({ image }) {
      lifted.push(image.site);
      return null;
    },
  });
  await service.putBack();
  assert.deepEqual(lifted, ['default']);
  assert.deepEqual(log.lines, []);
});

test('hundreds that cannot come back yet, of mirrors that are gone and of full images, keep no other waiting', async () => {
  const waiting = Array.from({ length: 250 }, (_, at) => ({
    ...ENDED,
    image: { ...ENDED.image, site: at % 2 === 0 ? 'former' : 'default', hex: String(at).padStart(64, '0') },
    auditSeq: at,
  }));
  const all = [...waiting, ENDED];
  const asked: number[] = [];
  const lifted: Tombstone[] = [];
  const { service } = open({
    async ended(_now, limit, after) {
      asked.push(limit);
      const from = after === undefined ? 0 : all.indexOf(after) + 1;
      return all.slice(from, from + limit);
    },
    async lift(tombstone) {
      if (tombstone !== ENDED) throw new LookasideError('TOO_MANY_SIGNATURES', 'full');
      lifted.push(tombstone);
      return 1;
    },
  });
  await service.putBack();
  assert.deepEqual(lifted, [ENDED]);
  assert.deepEqual(asked, [100, 100, 100]);
});
