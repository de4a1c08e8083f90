import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { actorOf, type Exchange } from '../../src/http/exchange.ts';

const ASKED = {
  target: { kind: 'nothing' },
  address: '192.0.2.7',
  prefix: '',
  requestId: 'r-1',
  startedMs: 0,
} as const;
const TOKEN = { name: 'ci', role: 'uploader', createdAt: new Date(0), revokedAt: null } as const;

function by(caller: Exchange['caller']): Exchange {
  return { ...ASKED, caller };
}

describe('who answers for a change', () => {
  test("is the token's name with the address and the request", () => {
    const ci = { name: 'ci', address: '192.0.2.7', requestId: 'r-1' };
    assert.deepEqual(actorOf(by({ kind: 'token', token: TOKEN })), ci);
  });

  test('is the administrator on this machine, who has no address', () => {
    const administrator = { name: 'administrator', address: null, requestId: 'r-1' };
    assert.deepEqual(actorOf(by({ kind: 'administrator' })), administrator);
  });

  test('is never nobody', () => {
    assert.throws(() => actorOf(by({ kind: 'anonymous', sentWrongToken: true })), /who the actor is/);
  });
});
