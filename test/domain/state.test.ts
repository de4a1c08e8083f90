// States and the verdicts behind them.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { RegisteredKey } from '../../src/domain/key.ts';
import { STATES, stateOf, verdictOf } from '../../src/domain/state.ts';
import type { Verdict } from '../../src/domain/verdict.ts';

const NOW = new Date('2026-11-22T10:00:00Z');
const PAST = new Date('2026-11-22T09:00:00Z');
const FINGERPRINT = 'AB'.repeat(20);
const VERDICTS: readonly Verdict[] = ['good', 'bad', 'no-key', 'unsupported', 'unreadable', 'unverified'];

const key = (overrides: Partial<RegisteredKey>): RegisteredKey => ({
  fingerprint: FINGERPRINT,
  algorithm: 'ed25519',
  createdAt: PAST,
  expiresAt: null,
  revokedAt: null,
  canSign: true,
  userIds: [],
  subkeys: [],
  addedAt: PAST,
  changedAt: PAST,
  retiredAt: null,
  certificate: new Uint8Array(),
  ...overrides,
});

test('whoever asks for the verdict of a state misses no signature of that state', () => {
  const seen = new Map<string, Set<Verdict>>();
  for (const verdict of VERDICTS) {
    for (const registered of [null, key({}), key({ expiresAt: PAST }), key({ revokedAt: PAST })]) {
      for (const expiresAt of [null, PAST]) {
        const state = stateOf({ verdict, signingFingerprint: FINGERPRINT, expiresAt }, registered, NOW);
        seen.set(state, new Set([...(seen.get(state) ?? []), verdict]));
      }
    }
  }
  assert.deepEqual([...seen.keys()].sort(), [...STATES].sort());
  for (const state of STATES) {
    const verdicts = [...(seen.get(state) ?? [])];
    assert.equal(verdictOf(state), verdicts.length === 1 ? verdicts[0] : null, state);
  }
});
