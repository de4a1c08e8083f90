import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LookasideError } from '../../src/domain/errors.ts';
import type { RegisteredKey } from '../../src/domain/key.ts';
import { createKeyExpiryWarnings } from '../../src/service/key-expiry.ts';
import type { ReleaseViewSettings } from '../../src/service/release-view.ts';

const NOW = new Date('2026-11-29T12:00:00Z');
const DAY_MS = 86_400_000;
const inDays = (days: number) => new Date(NOW.getTime() + days * DAY_MS);

const keyOf = (fingerprint: string, days: number | null): RegisteredKey => ({
  fingerprint: fingerprint.repeat(20),
  algorithm: 'ed25519',
  createdAt: inDays(-9),
  expiresAt: days === null ? null : inDays(days),
  revokedAt: null,
  canSign: true,
  userIds: ['Alice'],
  subkeys: [],
  addedAt: inDays(-9),
  changedAt: inDays(-9),
  retiredAt: null,
  certificate: Buffer.from(''),
});

const NO_RELEASES: ReleaseViewSettings = { repositories: [], preferredKey: null };

/** Days pass when the test says so. */
function createWarnings(list: () => Promise<readonly RegisteredKey[]>, releases = NO_RELEASES) {
  const lines: object[] = [];
  const messages: string[] = [];
  let dayOver: () => void = () => undefined;
  let now = NOW;
  let slept: (sleeps: number) => void = () => undefined;
  const warnings = createKeyExpiryWarnings({
    keys: { list },
    releases: () => releases,
    clock: { now: () => now },
    log: {
      warn(fields, message) {
        lines.push(fields);
        messages.push(message);
      },
    },
    wait(ms) {
      slept(ms);
      return new Promise<void>((resolve) => {
        dayOver = () => {
          now = new Date(now.getTime() + ms);
          resolve();
        };
      });
    },
  });
  const untilAsleep = (act: () => void) => {
    const asleep = new Promise<number>((resolve) => {
      slept = resolve;
    });
    act();
    return asleep;
  };
  return {
    warnings,
    lines,
    messages,
    start: () => untilAsleep(warnings.start),
    nextDay: () => untilAsleep(() => dayOver()),
  };
}

test('each key that expires within 30 days is in the log at the start and once a day, until it has expired', async () => {
  const keys = [keyOf('AA', 1.5), keyOf('BB', 30.5), keyOf('CC', null), keyOf('DD', -1)];
  const { lines, start, nextDay } = createWarnings(async () => keys);
  assert.equal(await start(), DAY_MS);
  const [a, b] = keys;
  const aLine = { fingerprint: a?.fingerprint, userId: 'Alice', expiresAt: inDays(1.5) };
  assert.deepEqual(lines.splice(0), [{ ...aLine, days: 1 }]);
  await nextDay();
  const bLine = { fingerprint: b?.fingerprint, userId: 'Alice', expiresAt: inDays(30.5) };
  assert.deepEqual(lines.splice(0), [
    { ...aLine, days: 0 },
    { ...bLine, days: 29 },
  ]);
  await nextDay();
  assert.deepEqual(lines.splice(0), [{ ...bLine, days: 28 }]);
});

test('when the keys cannot be read, the warnings are tried again the next day', async () => {
  let fails = true;
  const { lines, start, nextDay } = createWarnings(async () => {
    if (fails) throw new LookasideError('STORE_UNAVAILABLE', 'no disk');
    return [keyOf('AA', 5)];
  });
  await start();
  assert.deepEqual(Object.keys(lines.splice(0)[0] ?? {}), ['err']);
  fails = false;
  await nextDay();
  assert.equal(lines.length, 1);
});

test('a release key that nobody has registered, or that has no repositories, is in the log', async () => {
  const key = keyOf('AB', null);
  const subkey = { ...key, fingerprint: 'CD'.repeat(20) };
  const repositories = ['openshift/release'];
  const said = async (releases: ReleaseViewSettings) => {
    const { messages, start } = createWarnings(async () => [{ ...key, subkeys: [subkey] }], releases);
    await start();
    return messages;
  };
  for (const preferredKey of [null, key.fingerprint, 'AB'.repeat(8), 'CD'.repeat(8)])
    assert.deepEqual(await said({ repositories, preferredKey }), [], String(preferredKey));
  const [unknown] = await said({ repositories, preferredKey: 'EF'.repeat(8) });
  assert.match(unknown ?? '', /^LOOKASIDE_RELEASE_KEY is not a registered key/);
  const [needless] = await said({ repositories: [], preferredKey: key.fingerprint });
  assert.match(needless ?? '', /^LOOKASIDE_RELEASE_KEY does nothing without LOOKASIDE_RELEASE_REPOSITORIES/);
});
