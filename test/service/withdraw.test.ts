// The rounds that put back what was withdrawn until some day: one at a time, and told of in the log.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LookasideError } from '../../src/domain/errors.ts';
import type { Tombstone } from '../../src/domain/tombstone.ts';
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

/** Over one withdrawal that has ended, and stays until lift() is through. */
function open(lift: () => Promise<number | null>) {
  const log = createLog();
  const service = createWithdrawService({
    appender: { withdraw: unasked, lift },
    tombstones: { ofImage: unasked, page: unasked, ended: async () => [ENDED] },
    sites: () => ['default'],
    makeEvent: unasked,
    clock: createClock(),
    isAppendOnly: () => false,
    log,
  });
  return { service, log };
}

test('a round that puts back begins no second time before it has ended', async () => {
  let lifts = 0;
  let end = () => {};
  const { service } = open(async () => {
    lifts += 1;
    await new Promise<void>((resolve) => {
      end = resolve;
    });
    return 1;
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
  const { service, log } = open(async () => {
    const answer = answers.shift() ?? null;
    if (answer instanceof LookasideError) throw answer;
    return answer;
  });
  const levels: (readonly string[])[] = [];
  while (answers.length > 0) {
    const before = log.lines.length;
    await service.putBack();
    levels.push(log.lines.slice(before).map(({ level }) => level));
  }
  assert.deepEqual(levels, [['warn'], [], ['error'], ['warn'], [], ['info']]);
});
