import assert from 'node:assert/strict';
import { BlockList } from 'node:net';
import { describe, test } from 'node:test';
import { LookasideError } from '../../src/domain/errors.ts';
import type { SignatureSet, Token } from '../../src/domain/ports.ts';
import { actorOf, type Exchange } from '../../src/http/exchange.ts';
import type { Services } from '../../src/http/services.ts';
import type { KnownToken } from '../../src/service/tokens.ts';
import { sha256Hex } from '../store/lay.ts';
import { serveOver } from './served.ts';

const ASKED = {
  target: { kind: 'nothing' },
  address: '192.0.2.7',
  prefix: '',
  site: null,
  requestId: 'r-1',
  startedMs: 0,
} as const;
const TOKEN = {
  name: 'ci',
  role: 'uploader',
  createdAt: new Date(0),
  expiresAt: null,
  revokedAt: null,
  signer: null,
  disabledAt: null,
  lastUsedAt: null,
} as const;

function by(caller: Exchange['caller']): Exchange {
  return { ...ASKED, caller };
}

describe('who answers for a change', () => {
  test("is the token's name with the address and the request", () => {
    const who = { signer: null, isAdministrator: false };
    const ci = { name: 'ci', address: '192.0.2.7', requestId: 'r-1', ...who };
    assert.deepEqual(actorOf(by({ kind: 'token', token: TOKEN })), ci);
  });

  test('is the administrator on this machine, who has no address', () => {
    const who = { name: 'administrator', isAdministrator: true };
    const administrator = { ...who, address: null, requestId: 'r-1' };
    assert.deepEqual(actorOf(by({ kind: 'administrator' })), administrator);
  });

  test('is never nobody', () => {
    assert.throws(() => actorOf(by({ kind: 'anonymous', sent: { kind: 'unknown' } })), /who the actor is/);
  });
});

const SENT = { headers: { Authorization: 'Bearer lookaside_sent' } };
const READ_PATH = `/team/app@sha256=${'a'.repeat(64)}/signature-1`;
const BYTES = Buffer.from('signature');
const SET: SignatureSet = {
  generation: 1,
  entries: [{ sha256: sha256Hex(BYTES), sizeBytes: BYTES.length, storedAt: new Date(0), bytes: BYTES }],
};

interface Scene {
  /** What memory knows of the token that is sent. */
  readonly peeked: Token | null;
  /** What the store says of it. */
  readonly stored: Token | null | 'fails';
  readonly read: 'anonymous' | 'token';
  /** `valid` unless told. */
  readonly state?: KnownToken['state'];
}

function openScene({ peeked, stored, read, state = 'valid' }: Scene) {
  const known = (token: Token | null) => (token === null ? null : { token, state });
  const accessLines: string[] = [];
  const readers: (string | null)[] = [];
  let storeAsked = 0;
  const services: Partial<Services> = {
    tokens: {
      create: () => assert.fail(),
      revoke: () => assert.fail(),
      list: async () => [],
      used: () => undefined,
      writeUses: async () => undefined,
      peek: () => known(peeked),
      async find() {
        storeAsked += 1;
        if (stored === 'fails') throw new LookasideError('STORE_UNAVAILABLE', 'the database does not answer');
        return known(stored);
      },
    },
    reader: {
      peekSet: () => SET,
      isForRound: () => false,
      readSet: async () => SET,
      readHeld: async () => assert.fail('there are no reader processes'),
      readSignature: async () => ({ entry: SET.entries[0] ?? assert.fail(), bytes: BYTES }),
      forget: () => assert.fail(),
      forgetAll: () => assert.fail(),
      cache: { bytes: 0, sets: 0, hits: 0, misses: 0 },
    },
    recorder: {
      record: ({ token }) => void readers.push(token),
      flush: async () => undefined,
      end: async () => undefined,
      setFull: () => undefined,
      buffer: { rows: 0, dropped: 0 },
    },
    settings: () => ({
      prefix: '',
      publicUrl: null,
      read,
      listing: true,
      ui: true,
      accessLog: 'json',
      trustedProxies: new BlockList(),
      maxSignatureBytes: 1024,
    }),
    writeAccessLine: (line) => void accessLines.push(line),
  };
  return { services, accessLines, readers, asked: () => storeAsked };
}

describe('a token that memory does not know', () => {
  test('opens a route once the store knows it, and is named in the access line', async () => {
    const scene = openScene({ peeked: null, stored: TOKEN, read: 'anonymous' });
    {
      await using served = await serveOver(scene.services);
      assert.equal((await fetch(`${served.url}/api/v1/tokens`, SENT)).status, 200);
    }
    assert.equal(scene.asked(), 1);
    assert.equal(JSON.parse(scene.accessLines[0] ?? '').token, 'ci');
  });

  test('reads a closed site once the store knows it, though the signature is in memory', async () => {
    const scene = openScene({ peeked: null, stored: TOKEN, read: 'token' });
    await using served = await serveOver(scene.services);
    const answer = await fetch(served.url + READ_PATH, SENT);
    assert.deepEqual([answer.status, Buffer.from(await answer.arrayBuffer())], [200, BYTES]);
    assert.deepEqual([scene.asked(), scene.readers], [1, ['ci']]);
  });

  test('is wrong when the store does not know it either', async () => {
    const scene = openScene({ peeked: null, stored: null, read: 'token' });
    await using served = await serveOver(scene.services);
    for (const path of ['/api/v1/tokens', READ_PATH])
      assert.equal((await fetch(served.url + path, SENT)).status, 401, path);
    assert.equal(scene.asked(), 2);
  });

  test('is a failure of the store, and no wrong token, while the store does not answer', async () => {
    const scene = openScene({ peeked: null, stored: 'fails', read: 'token' });
    await using served = await serveOver(scene.services);
    for (const path of ['/api/v1/tokens', READ_PATH])
      assert.equal((await fetch(served.url + path, SENT)).status, 503, path);
  });

  test('asks no store where no token is needed', async () => {
    const scene = openScene({ peeked: null, stored: 'fails', read: 'anonymous' });
    await using served = await serveOver(scene.services);
    for (const path of [READ_PATH, '/livez'])
      assert.equal((await fetch(served.url + path, SENT)).status, 200, path);
    assert.equal(scene.asked(), 0);
  });
});

describe('a token that has expired', () => {
  const EXPIRED = { ...TOKEN, expiresAt: new Date('2026-11-22T10:00:00.000Z') };
  const open = (read: Scene['read']) =>
    openScene({ peeked: EXPIRED, stored: EXPIRED, read, state: 'expired' });

  test('opens neither a route nor a closed site, and is told when it expired', async () => {
    const scene = open('token');
    await using served = await serveOver(scene.services);
    for (const path of ['/api/v1/tokens', READ_PATH]) {
      const answer = await fetch(served.url + path, SENT);
      assert.equal(answer.status, 401, path);
      assert.match(
        await answer.text(),
        /the token ."?ci.?" that was sent expired at 2026-11-22T10:00:00\.000Z/,
      );
    }
    assert.deepEqual(scene.readers, []);
  });

  test('is no guess, and is told the same however often it is sent', async () => {
    await using served = await serveOver(open('anonymous').services);
    for (let sent = 0; sent < 12; sent += 1) {
      const answer = await fetch(`${served.url}/api/v1/tokens`, { ...SENT, method: 'POST' });
      assert.equal(answer.status, 401);
      const [error] = JSON.parse(await answer.text()).errors;
      assert.deepEqual(
        [error.code, error.detail],
        ['UNAUTHORIZED', { expiredAt: '2026-11-22T10:00:00.000Z' }],
      );
    }
  });

  test('reads what anybody may read, and nobody is named as the reader', async () => {
    const scene = open('anonymous');
    await using served = await serveOver(scene.services);
    assert.equal((await fetch(served.url + READ_PATH, SENT)).status, 200);
    assert.deepEqual(scene.readers, [null]);
  });
});

test('a token that memory knows asks no store, neither for a cached read nor for a route', async () => {
  const scene = openScene({ peeked: TOKEN, stored: 'fails', read: 'token' });
  await using served = await serveOver(scene.services);
  for (const path of [READ_PATH, '/api/v1/tokens'])
    assert.equal((await fetch(served.url + path, SENT)).status, 200, path);
  assert.deepEqual([scene.asked(), scene.readers], [0, ['ci']]);
});

test('a read whose store fails is a 503 of one question: a mirror would begin a second walk', async () => {
  const { services } = openScene({ peeked: null, stored: null, read: 'anonymous' });
  let asked = 0;
  const readSet = async () => {
    asked += 1;
    throw new LookasideError('STORE_UNAVAILABLE', 'the disk fails');
  };
  const fails = async () => assert.fail('nothing was found to be read');
  const reader = { ...services.reader, peekSet: () => null, readSet, readSignature: fails };
  await using served = await serveOver({ ...services, reader } as Partial<Services>);
  assert.equal((await fetch(served.url + READ_PATH)).status, 503);
  assert.equal(asked, 1);
});
