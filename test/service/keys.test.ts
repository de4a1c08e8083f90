import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { NewAuditEvent } from '../../src/domain/audit.ts';
import { isLookasideError, LookasideError } from '../../src/domain/errors.ts';
import type { KeyDetails, RegisteredKey } from '../../src/domain/key.ts';
import { keyState } from '../../src/domain/key-expiry.ts';
import type { CleanedCertificate, KeyStore } from '../../src/domain/ports.ts';
import { type Actor, createEventMaker } from '../../src/service/audit.ts';
import { createKeyService, showKey } from '../../src/service/keys.ts';
import { distant } from '../contract/distant.ts';
import { createClock } from './hand-driven.ts';

const ALICE: Actor = { name: 'alice', address: '192.0.2.1', requestId: 'r-1' };
const FPR = `${'AB'.repeat(12)}${'0123456789ABCDEF'}`;
const OTHER = `${'CD'.repeat(12)}${'0123456789ABCDEF'}`;
const SUBKEY = 'EF'.repeat(20);

const detailsOf = (fingerprint: string, more: Partial<KeyDetails> = {}): KeyDetails => ({
  fingerprint,
  algorithm: 'ed25519',
  createdAt: new Date('2020-01-01T00:00:00Z'),
  expiresAt: null,
  revokedAt: null,
  canSign: true,
  userIds: ['Alice'],
  subkeys: [],
  ...more,
});

const clean = (fingerprint: string, bytes: string, more: Partial<KeyDetails> = {}): CleanedCertificate => ({
  kind: 'clean',
  details: detailsOf(fingerprint, more),
  certificate: Buffer.from(bytes),
  warnings: [],
});

/** A store in memory, as far away as a network, whose writes end when the test says so. */
function createStore() {
  const keys = new Map<string, RegisteredKey>();
  const events: NewAuditEvent[] = [];
  let hold: Promise<void> = Promise.resolve();
  let fault: LookasideError | null = null;
  const store: KeyStore = {
    list: async () => [...keys.values()],
    find: async (fingerprint) => keys.get(fingerprint) ?? null,
    async put(key, event) {
      await hold;
      if (fault !== null) throw fault;
      const addedAt = keys.get(key.fingerprint)?.addedAt ?? event.at;
      const retiredAt = keys.get(key.fingerprint)?.retiredAt ?? null;
      const registered = { ...key, addedAt, changedAt: event.at, retiredAt };
      keys.set(key.fingerprint, registered);
      events.push(event);
      return registered;
    },
    async remove(fingerprint, event) {
      if (fault !== null) throw fault;
      const isThere = keys.delete(fingerprint);
      if (isThere) events.push(event);
      return isThere;
    },
    async revoke({ fingerprint, key: merged, by, reason, withdraws }, event) {
      const known = keys.get(fingerprint);
      if (known === undefined) return false;
      const { revocation = null } = known;
      const isNews = revocation === null || (withdraws && !revocation.withdraws);
      if (!isNews && merged === null) return false;
      const auditSeq = events.push(event);
      const at = revocation?.at ?? event.at;
      const isInCertificate = (merged ?? known).revokedAt !== null;
      const now = isNews ? { at, by, reason, auditSeq, withdraws, isInCertificate } : revocation;
      keys.set(fingerprint, { ...known, ...merged, revocation: now });
      return true;
    },
    async setRetired(fingerprint, isRetired, event) {
      const key = keys.get(fingerprint);
      if (key === undefined || (key.retiredAt !== null) === isRetired) return false;
      keys.set(fingerprint, { ...key, retiredAt: isRetired ? event.at : null });
      events.push(event);
      return true;
    },
  };
  return {
    store: distant(store),
    keys,
    events,
    holdWrites(until: Promise<void>) {
      hold = until;
    },
    failWrites(error: LookasideError | null) {
      fault = error;
    },
  };
}

/** Cleaning as the test says: `clean` is asked with the keyring as it is then. */
async function open(cleanIt: (text: string, keyring: readonly string[]) => readonly CleanedCertificate[]) {
  const backing = createStore();
  const clock = createClock();
  let keyring: readonly string[] = [];
  const reported: (readonly string[])[] = [];
  const refusals: NewAuditEvent[] = [];
  let isDeaf = false;
  let isIndexGone = false;
  const service = await createKeyService({
    store: backing.store,
    audit: {
      async append(event) {
        return refusals.push(event);
      },
    },
    verifier: {
      cleanCertificates: async (untrusted) => cleanIt(Buffer.from(untrusted).toString(), keyring),
      setKeyring(certificates) {
        keyring = certificates.map((certificate) => Buffer.from(certificate).toString());
      },
      armor: (certificate) => `armored ${Buffer.from(certificate).toString()}`,
      warningsOf: () => [],
      usesOf: () => [],
    },
    makeEvent: createEventMaker({ clock, randomBytes: (count) => new Uint8Array(count) }),
    clock,
    async countByKey(fingerprint) {
      if (isIndexGone) throw new LookasideError('INDEX_UNUSABLE', 'made anew');
      return fingerprint === FPR ? 3 : 0;
    },
    async onChanged(issuers) {
      if (isDeaf) throw new LookasideError('BUSY', 'later');
      reported.push(issuers);
    },
  });
  return {
    ...backing,
    clock,
    service,
    reported,
    refusals,
    keyring: () => keyring,
    loseIndex() {
      isIndexGone = true;
    },
    setDeaf(deaf: boolean) {
      isDeaf = deaf;
    },
  };
}

const send = (text: string) => Buffer.from(text);

describe('adding keys', () => {
  test('tells what became of each: added, updated, unchanged, refused; and stores what changed with its event', async () => {
    const refused: CleanedCertificate = {
      kind: 'refused',
      fingerprint: OTHER,
      code: 'ALGORITHM_WEAK',
      message: 'DSA',
    };
    const { service, keys, events, refusals, clock } = await open((text) => [clean(FPR, text), refused]);
    const results = await service.add(send('one'), ALICE);
    assert.deepEqual(results, [
      {
        ...{ result: 'added', fingerprint: FPR, userIds: ['Alice'], state: 'valid', expiresAt: null },
        warnings: [],
      },
      { result: 'refused', fingerprint: OTHER, code: 'ALGORITHM_WEAK', message: 'DSA' },
    ]);
    clock.pass(1000);
    assert.equal((await service.add(send('one'), ALICE))[0]?.result, 'unchanged');
    assert.equal((await service.add(send('two'), ALICE))[0]?.result, 'updated');
    assert.equal(Buffer.from(keys.get(FPR)?.certificate ?? []).toString(), 'two');
    assert.deepEqual(
      events.map(({ action, result, fingerprint, private: { actor, address, requestId } }) => [
        action,
        result,
        fingerprint,
        `${actor} ${address} ${requestId}`,
      ]),
      [
        ['key-add', 'added', FPR, 'alice 192.0.2.1 r-1'],
        ['key-add', 'updated', FPR, 'alice 192.0.2.1 r-1'],
      ],
    );
    assert.deepEqual(
      refusals.map(({ action, result, fingerprint, private: { reason } }) => [
        action,
        result,
        fingerprint,
        reason,
      ]),
      Array.from({ length: 3 }, () => ['key-add', 'ALGORITHM_WEAK', OTHER, 'DSA']),
    );
    assert.equal(keys.size, 1);
  });

  test('a refused one that has no fingerprint of version 4 leaves an event without one', async () => {
    const { service, refusals } = await open(() => [
      { kind: 'refused', fingerprint: 'AB'.repeat(32), code: 'ALGORITHM_UNSUPPORTED', message: 'version 6' },
      { kind: 'refused', fingerprint: null, code: 'STRUCTURE_INVALID', message: 'cut' },
    ]);
    const results = await service.add(send('x'), ALICE);
    assert.deepEqual(
      results.map(({ fingerprint }) => fingerprint),
      ['AB'.repeat(32), null],
    );
    assert.deepEqual(
      refusals.map(({ fingerprint }) => fingerprint),
      [null, null],
    );
  });

  test('the verifier works with it from then on, and is told the keys of the store at the start', async () => {
    const { service, keyring, store } = await open((text) => [clean(FPR, text)]);
    assert.deepEqual(keyring(), []);
    await service.add(send('one'), ALICE);
    assert.deepEqual(keyring(), ['one']);
    const later: string[] = [];
    await createKeyService({
      store,
      audit: { append: async () => 1 },
      verifier: {
        cleanCertificates: async () => [],
        setKeyring: (certificates) =>
          void later.push(...certificates.map((one) => Buffer.from(one).toString())),
        armor: () => '',
        warningsOf: () => [],
        usesOf: () => [],
      },
      makeEvent: createEventMaker({
        clock: createClock(),
        randomBytes: (n) => new Uint8Array(n),
      }),
      clock: createClock(),
      countByKey: async () => 0,
      onChanged: async () => undefined,
    });
    assert.deepEqual(later, ['one']);
  });

  test('who judges is told fingerprints and key IDs of primary keys and subkeys, only of what changed', async () => {
    const subkey = { ...detailsOf(SUBKEY), userIds: undefined };
    const { service, reported } = await open((text) => [clean(FPR, text, { subkeys: [subkey] })]);
    await service.add(send('one'), ALICE);
    assert.deepEqual(reported, [[FPR, '0123456789ABCDEF', SUBKEY, 'EF'.repeat(8)]]);
    await service.add(send('one'), ALICE);
    assert.equal(reported.length, 1);
  });

  test('who judges is told again with the next one when that failed, though the key is in force', async () => {
    const { service, reported, keyring, setDeaf } = await open((text) => [clean(FPR, text)]);
    setDeaf(true);
    await assert.rejects(service.add(send('one'), ALICE), (error) => isLookasideError(error, 'BUSY'));
    assert.deepEqual(keyring(), ['one']);
    setDeaf(false);
    assert.equal((await service.add(send('one'), ALICE))[0]?.result, 'unchanged');
    assert.deepEqual(reported, [[FPR, '0123456789ABCDEF']]);
  });

  test('two at once of one key are merged one after the other, so that nothing is lost', async () => {
    // merging as the verifier does it: what the keyring has, and what is new
    const merge = (text: string, keyring: readonly string[]) =>
      [...new Set([...keyring.join('+').split('+'), text])]
        .filter((part) => part !== '')
        .sort()
        .join('+');
    const { service, keys, holdWrites } = await open((text, keyring) => [clean(FPR, merge(text, keyring))]);
    let release: () => void = () => undefined;
    holdWrites(
      new Promise((resolve) => {
        release = resolve;
      }),
    );
    const both = [service.add(send('revocation'), ALICE), service.add(send('expiry'), ALICE)];
    release();
    const results = (await Promise.all(both)).flat().map(({ result }) => result);
    assert.deepEqual(results, ['added', 'updated']);
    assert.equal(Buffer.from(keys.get(FPR)?.certificate ?? []).toString(), 'expiry+revocation');
  });

  test('a failure half way leaves in force what is stored, and the next one goes on', async () => {
    const { service, keyring, keys, reported, failWrites } = await open((text) => [
      clean(FPR, text),
      clean(OTHER, text),
    ]);
    const failure = new LookasideError('STORE_UNAVAILABLE', 'disk');
    failWrites(failure);
    await assert.rejects(service.add(send('one'), ALICE), failure);
    assert.deepEqual([keyring(), reported], [[], []]);
    failWrites(null);
    assert.deepEqual(
      (await service.add(send('one'), ALICE)).map(({ result }) => result),
      ['added', 'added'],
    );
    assert.deepEqual(keyring(), ['one', 'one']);
    assert.equal(keys.size, 2);
  });

  test('a file that is refused as a whole is refused with its reason', async () => {
    const { service } = await open(() => {
      throw new LookasideError('REQUEST_INVALID', 'no certificate');
    });
    await assert.rejects(service.add(send('x'), ALICE), (error) =>
      isLookasideError(error, 'REQUEST_INVALID'),
    );
  });
});

describe('refreshing keys', () => {
  test('is an event for each key that has changed: who asked, and which key; and for no other', async () => {
    const refused: CleanedCertificate = {
      kind: 'refused',
      fingerprint: FPR,
      code: 'ALGORITHM_WEAK',
      message: 'DSA',
    };
    const { service, events, refusals, clock } = await open((text) =>
      text === 'refused' ? [refused] : [clean(FPR, text), clean(OTHER, text)],
    );
    await service.add(send('one'), ALICE);
    await service.remove(OTHER, ALICE);
    events.length = 0;
    clock.pass(1000);
    const bob = { ...ALICE, name: 'bob' };
    const { results, ignored } = await service.refresh(send('two'), [], bob);
    assert.deepEqual([results.map(({ result }) => result), ignored], [['updated'], 1]);
    assert.equal((await service.refresh(send('two'), [], bob)).results[0]?.result, 'unchanged');
    assert.equal((await service.refresh(send('refused'), [], bob)).results[0]?.result, 'refused');
    assert.deepEqual(
      events.map(({ at, action, fingerprint, result, private: who }) => {
        return { at, action, fingerprint, result, who };
      }),
      [
        {
          ...{ at: clock.now(), action: 'key-refresh', fingerprint: FPR, result: 'updated' },
          who: { actor: 'bob', address: ALICE.address, requestId: ALICE.requestId, reason: null },
        },
      ],
    );
    assert.deepEqual(refusals, []);
  });
});

describe('finding keys', () => {
  async function withKeys(...fingerprints: readonly string[]) {
    const opened = await open(() => fingerprints.map((fingerprint) => clean(fingerprint, fingerprint)));
    await opened.service.add(send('x'), ALICE);
    return opened.service;
  }

  test('by fingerprint in any case, with spaces as gpg prints it or 0x before it, or by key ID', async () => {
    const service = await withKeys(FPR, SUBKEY);
    const spaced =
      FPR.match(/.{4}/g)
        ?.join(' ')
        .replace(/^(.{24})/, '$1 ') ?? '';
    for (const name of [
      FPR,
      FPR.toLowerCase(),
      spaced,
      `0x${FPR}`,
      '0123456789abcdef',
      '0x0123456789ABCDEF',
      ` ${FPR}\n`,
    ]) {
      assert.equal((await service.find(name)).fingerprint, FPR, name);
    }
  });

  test('a key ID of several keys is no name, and says whose it is', async () => {
    const service = await withKeys(FPR, OTHER);
    await assert.rejects(service.find('0123456789ABCDEF'), (error) => {
      assert.ok(isLookasideError(error, 'REQUEST_INVALID'));
      assert.match(error.message, new RegExp(`${FPR} or ${OTHER}`));
      return true;
    });
    assert.equal((await service.find(OTHER)).fingerprint, OTHER);
  });

  test('what is not there is NOT_FOUND, what is no name REQUEST_INVALID', async () => {
    const service = await withKeys(FPR);
    for (const name of [OTHER, 'F'.repeat(16)]) {
      await assert.rejects(service.find(name), (error) => isLookasideError(error, 'NOT_FOUND'), name);
    }
    for (const name of ['', 'alice', '1234ABCD', `${FPR}0`, '../etc', 'Z'.repeat(40), 'x'.repeat(5000)]) {
      await assert.rejects(
        service.find(name),
        (error) => isLookasideError(error, 'REQUEST_INVALID') && error.message.length < 300,
        name,
      );
    }
  });

  test('a key is armoured by the verifier', async () => {
    const service = await withKeys(FPR);
    assert.equal(service.armor(await service.find(FPR)), `armored ${FPR}`);
  });
});

describe('what is shown of a key', () => {
  const now = new Date('2026-11-22T10:00:00Z');
  const before = new Date(now.getTime() - 1);

  for (const [expiresAt, revokedAt, state] of [
    [null, null, 'valid'],
    [new Date(now.getTime() + 1), null, 'valid'],
    [now, null, 'expired'],
    [before, null, 'expired'],
    [null, before, 'revoked'],
    [before, before, 'revoked'],
  ] as const) {
    test(`expiry ${expiresAt?.toISOString()}, revocation ${revokedAt?.toISOString()}: ${state}`, () => {
      assert.equal(keyState(detailsOf(FPR, { expiresAt, revokedAt }), now), state);
    });
  }

  test('has the state of each subkey, and no certificate', () => {
    const { userIds: _, subkeys: __, ...subkey } = detailsOf(SUBKEY, { expiresAt: before });
    const key = {
      ...detailsOf(FPR, { subkeys: [subkey] }),
      addedAt: before,
      changedAt: now,
      retiredAt: now,
      certificate: new Uint8Array(3),
    };
    assert.deepEqual(showKey(key, now), {
      fingerprint: FPR,
      algorithm: 'ed25519',
      state: 'valid',
      canSign: true,
      createdAt: key.createdAt,
      expiresAt: null,
      revokedAt: null,
      userIds: ['Alice'],
      subkeys: [{ ...subkey, state: 'expired' }],
      addedAt: before,
      changedAt: now,
      retiredAt: now,
      revocation: null,
    });
  });

  test('has subkeys that are no better than their primary key', () => {
    const { userIds: _, subkeys: __, ...good } = detailsOf(SUBKEY);
    const subkeys = [good, { ...good, expiresAt: before }, { ...good, revokedAt: before }];
    for (const [primary, states] of [
      [{}, ['valid', 'expired', 'revoked']],
      [{ expiresAt: before }, ['expired', 'expired', 'revoked']],
      [{ revokedAt: before }, ['revoked', 'revoked', 'revoked']],
    ] as const) {
      const row = { addedAt: before, changedAt: now, retiredAt: null };
      const key = { ...detailsOf(FPR, { ...primary, subkeys }), ...row };
      const printed = showKey({ ...key, certificate: new Uint8Array() }, now);
      assert.deepEqual(
        printed.subkeys.map(({ state }) => state),
        states,
      );
    }
  });
});

describe('retiring a key', () => {
  test('is one event, ends with another, and leaves the keyring and verdicts alone', async () => {
    const { service, keyring, reported, events } = await open((text) => [clean(FPR, text)]);
    await service.add(send('one'), ALICE);
    reported.length = 0;
    const retired = await service.setRetired(FPR.toLowerCase(), true, ALICE);
    assert.deepEqual(retired.retiredAt, events.at(-1)?.at);
    assert.deepEqual(await service.setRetired(FPR, true, ALICE), retired);
    assert.equal(keyState(retired, new Date('2026-11-22T10:00:00Z')), 'valid');
    assert.equal((await service.setRetired(FPR, false, ALICE)).retiredAt, null);
    assert.equal((await service.setRetired(FPR, false, ALICE)).retiredAt, null);
    assert.deepEqual(
      events
        .slice(1)
        .map(({ action, result, fingerprint, private: who }) => [action, result, fingerprint, who.actor]),
      [
        ['key-retire', 'retired', FPR, 'alice'],
        ['key-unretire', 'unretired', FPR, 'alice'],
      ],
    );
    assert.deepEqual([keyring(), reported], [['one'], []]);
    await assert.rejects(service.setRetired(OTHER, true, ALICE), (error) =>
      isLookasideError(error, 'NOT_FOUND'),
    );
  });
});

describe('removing a key', () => {
  const SUBKEY_PART = { ...detailsOf(SUBKEY), userIds: undefined };
  const withSubkey = (text: string) => [clean(FPR, text, { subkeys: [SUBKEY_PART] }), clean(OTHER, 'other')];

  test('takes it out of force with its event, says how many signatures verified by it, and has them judged again', async () => {
    const { service, keys, keyring, reported, events } = await open(withSubkey);
    await service.add(send('one'), ALICE);
    reported.length = 0;
    assert.deepEqual(await service.remove(FPR.toLowerCase(), ALICE), {
      fingerprint: FPR,
      userIds: ['Alice'],
      signatures: 3,
    });
    assert.deepEqual([[...keys.keys()], keyring()], [[OTHER], ['other']]);
    assert.deepEqual(reported, [[FPR, '0123456789ABCDEF', SUBKEY, 'EF'.repeat(8)]]);
    const { action, result, fingerprint, private: who } = events.at(-1) ?? assert.fail();
    assert.deepEqual([action, result, fingerprint, who.actor], ['key-remove', 'removed', FPR, 'alice']);
    await assert.rejects(service.remove(FPR, ALICE), (error) => isLookasideError(error, 'NOT_FOUND'));
    assert.equal(events.length, 3);
  });

  test('by a key ID that two keys have is refused, and both stay', async () => {
    const { service, keys } = await open(withSubkey);
    await service.add(send('one'), ALICE);
    await assert.rejects(service.remove('0123456789ABCDEF', ALICE), (error) =>
      isLookasideError(error, 'REQUEST_INVALID'),
    );
    assert.equal(keys.size, 2);
  });

  test('does not wait for an index that is made anew, and then tells no number', async () => {
    const { service, keys, loseIndex } = await open((text) => [clean(FPR, text)]);
    await service.add(send('one'), ALICE);
    loseIndex();
    assert.equal((await service.remove(FPR, ALICE)).signatures, null);
    assert.equal(keys.size, 0);
  });

  test('that fails in the store leaves it in force, and nobody judges anything', async () => {
    const { service, keyring, reported, failWrites } = await open((text) => [clean(FPR, text)]);
    await service.add(send('one'), ALICE);
    reported.length = 0;
    const failure = new LookasideError('STORE_UNAVAILABLE', 'disk');
    failWrites(failure);
    await assert.rejects(service.remove(FPR, ALICE), failure);
    assert.deepEqual([keyring(), reported], [['one'], []]);
  });

  test('comes after what was being added, so that nothing of it stays in force', async () => {
    const { service, keys, keyring, holdWrites } = await open((text) => [clean(FPR, text)]);
    let release: () => void = () => undefined;
    holdWrites(
      new Promise((resolve) => {
        release = resolve;
      }),
    );
    const both = [service.add(send('one'), ALICE), service.remove(FPR, ALICE)];
    release();
    await Promise.all(both);
    assert.deepEqual([keys.size, keyring()], [0, []]);
  });
});
