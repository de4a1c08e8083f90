// What an administrator may order of a key's signatures where nothing is ever withdrawn.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isLookasideError } from '../../src/domain/errors.ts';
import { checkRevocationReason } from '../../src/domain/revocation.ts';
import { ADMINISTRATOR } from '../../src/service/audit.ts';
import { createRevocations, type RevocationOptions } from '../../src/service/revocation.ts';
import { createClock, createLog } from './hand-driven.ts';
import { keyOf } from './signature-memory.ts';

const FINGERPRINT = 'A'.repeat(40);
const AT = new Date('2026-11-29T00:00:00Z');
const unasked = () => assert.fail('it must not be asked');

function open(withdraws: boolean) {
  const orders: boolean[] = [];
  const revocation = { at: AT, by: 'a', reason: 'r', auditSeq: 1, withdraws, isInCertificate: false };
  const key = { ...keyOf(FINGERPRINT), revocation };
  const options: RevocationOptions = {
    keys: {
      list: async () => [key],
      find: async () => key,
      async revoke(_name, { withdraw }) {
        orders.push(withdraw);
        return { key, changed: true };
      },
    },
    lookups: { open: unasked },
    index: {
      imagesByKey: unasked,
      ofImage: unasked,
      search: unasked,
      unjudged: unasked,
      isComplete: unasked,
    },
    store: { readBlob: unasked },
    verifier: { examine: unasked },
    appender: { withdrawOrdered: unasked },
    sites: () => ['default'],
    isAppendOnly: () => true,
    clock: createClock(),
    log: createLog(),
  };
  return { options, key, orders, revocations: createRevocations(options) };
}

test('with LOOKASIDE_APPEND_ONLY a revocation that withdraws is refused whole, and one that does not is taken', async () => {
  const { orders, revocations } = open(false);
  const wanted = { reason: 'leaked', certificate: null };
  await assert.rejects(
    revocations.mark(FINGERPRINT, { ...wanted, withdraw: true }, ADMINISTRATOR),
    (error) => isLookasideError(error, 'APPEND_ONLY') && /the key was not revoked/.test(error.message),
  );
  assert.deepEqual(orders, []);
  await revocations.mark(FINGERPRINT, { ...wanted, withdraw: false }, ADMINISTRATOR);
  assert.deepEqual(orders, [false]);
});

test('an order to withdraw that was given before rests while LOOKASIDE_APPEND_ONLY is set', async () => {
  const { revocations } = open(true);
  const { withdrawn, left } = await revocations.carryOut(FINGERPRINT);
  assert.equal(withdrawn, 0);
  assert.deepEqual(left, ['nothing is withdrawn while LOOKASIDE_APPEND_ONLY=true']);
  await revocations.carryOutAll();
});

test('what has no verdict yet is left, and is no failure; what is counted is not withdrawn', async () => {
  const { options } = open(true);
  const image = { site: 'default', path: 'team/app', digest: { algorithm: 'sha256', hex: '0'.repeat(64) } };
  const row = { image, sha256: '1'.repeat(64), verdict: 'good', fingerprint: FINGERPRINT };
  let orders = 0;
  const revocations = createRevocations({
    ...options,
    isAppendOnly: () => false,
    index: {
      isComplete: async () => true,
      imagesByKey: async (_site, _fingerprint, after) => (after === null ? [image] : []) as never,
      ofImage: async () => [row] as never,
      search: async () => [],
      unjudged: async () => [row] as never,
    },
    appender: {
      async withdrawOrdered() {
        orders += 1;
        return 1;
      },
    },
  });
  const left = ['signatures of the site default are not verified yet'];
  assert.deepEqual(await revocations.count(FINGERPRINT), { withdrawn: 1, left, failed: [] });
  assert.equal(orders, 0);
  assert.deepEqual(await revocations.carryOut(FINGERPRINT), { withdrawn: 1, left, failed: [] });
  assert.equal(orders, 1);
});

test('keys behind one whose signatures cannot be withdrawn are carried out all the same', async () => {
  const keys = ['A', 'B'].map((letter) => keyOf(letter.repeat(40)));
  const asked: string[] = [];
  const { options, key } = open(true);
  const revocations = createRevocations({
    ...options,
    keys: {
      ...options.keys,
      list: async () => keys.map((one) => ({ ...one, revocation: key.revocation })),
      async find(fingerprint) {
        asked.push(fingerprint);
        throw new Error('the database is away');
      },
    },
  });
  await revocations.carryOutAll();
  assert.deepEqual(
    asked,
    keys.map(({ fingerprint }) => fingerprint),
  );
});

test('a reason with a control character is refused', () => {
  assert.throws(
    () => checkRevocationReason('leaked\0'),
    (error) => isLookasideError(error, 'REQUEST_INVALID'),
  );
  checkRevocationReason('leaked\n\tby mistake');
});
