// How long a request waits for a store across a network: what works for long goes on while the store answers, and nothing is left open.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { LookasideError } from '../../src/domain/errors.ts';
import type { Token } from '../../src/domain/ports.ts';
import type { Services } from '../../src/http/services.ts';
import { createPatience } from '../../src/postgres/in-time.ts';
import { serveOver } from './served.ts';

const LONGEST_MS = 20;
/** Several times as long as a request may wait for a store that is silent. */
const LONG_MS = 5 * LONGEST_MS;

/** Of a store that answers all the time. */
const patience = createPatience({
  monotonicMs: () => performance.now(),
  answeredAtMs: () => performance.now(),
  longestMs: LONGEST_MS,
});

async function slowly<T>(value: T): Promise<T> {
  await pause(LONG_MS);
  return value;
}

const unasked = () => assert.fail('this was not asked');

const TOKEN: Token = {
  name: 'ci',
  role: 'admin',
  createdAt: new Date(0),
  expiresAt: null,
  revokedAt: null,
  signer: 'ci',
  disabledAt: null,
  lastUsedAt: null,
};

const services: Partial<Services> = {
  patience,
  identities: { isToken: (text) => text === 'a.b.c', find: () => slowly([TOKEN]) },
};

test('changes of many keys or of a whole document take as long as they take', async () => {
  const keys = {
    ...{ refresh: unasked, setRetired: unasked, revoke: unasked, list: unasked, find: unasked },
  };
  const plan = { id: 'p', changes: [], left: [], todo: [] };
  await using served = await serveOver({
    ...services,
    keys: {
      ...{ ...keys, armor: unasked, whileUnchanged: unasked, warnings: unasked, uses: unasked },
      add: () => slowly([]),
      remove: (fingerprint) => slowly({ fingerprint, userIds: [], signatures: 0 }),
    },
    rules: { export: unasked, plan: () => slowly(plan), apply: () => slowly(plan) },
  });
  const headers = { Authorization: `Bearer ${served.tokens.admin}`, 'Content-Type': 'application/json' };
  const rules = { rules: {}, prune: false };
  for (const [method, path, value] of [
    ['POST', 'keys', {}],
    ['DELETE', `keys/${'A'.repeat(40)}`, null],
    ['POST', 'access-rules/plan', rules],
    ['POST', 'access-rules/apply', { ...rules, id: 'p' }],
  ] as const) {
    const body = value === null ? null : JSON.stringify(value);
    const answer = await fetch(`${served.url}/api/v1/${path}`, { method, headers, body });
    assert.equal(answer.status, 200, `${method} ${path}: ${await answer.text()}`);
  }
});

test('an issuer that is slow is no database that does not answer', async () => {
  await using served = await serveOver({
    ...services,
    subjects: { list: async () => [], add: () => assert.fail(), remove: () => assert.fail() },
  });
  const answer = await fetch(`${served.url}/api/v1/subjects`, { headers: { Authorization: 'Bearer a.b.c' } });
  assert.equal(answer.status, 200, await answer.text());
});

const ofClients = `client-config/podman?registry=registry.example.com&signer=ci`;
const noKeys = {
  ...{ add: unasked, remove: unasked, refresh: unasked, setRetired: unasked, revoke: unasked, find: unasked },
  ...{ armor: unasked, whileUnchanged: unasked, warnings: unasked, uses: unasked },
  list: async () => [],
};
const noSigners = {
  ...{ list: unasked, show: unasked, add: unasked, setDisabled: unasked, remove: unasked, addGrant: unasked },
  ...{ removeGrant: unasked, test: unasked, permit: unasked },
  listGrants: async () => [],
};

test('who asks for files of clients by a signer is told of the slow issuer, and not of a database', async () => {
  const gone = new LookasideError(
    'ISSUER_UNAVAILABLE',
    'the keys of the issuer cannot be had: https://i.example',
  );
  const issuers = {
    slow: { find: () => slowly([TOKEN] as const), status: 404, code: 'NOT_FOUND' },
    silent: { find: () => slowly(null).then(() => Promise.reject(gone)), status: 503, code: gone.code },
  };
  for (const [name, { find, status, code }] of Object.entries(issuers)) {
    await using served = await serveOver({
      ...services,
      ...{ keys: noKeys, signers: noSigners },
      identities: { isToken: (text) => text === 'a.b.c', find },
    });
    const headers = { Authorization: 'Bearer a.b.c' };
    const answer = await fetch(`${served.url}/api/v1/${ofClients}`, { headers });
    const text = await answer.text();
    assert.equal(answer.status, status, `${name}: ${text}`);
    assert.equal(JSON.parse(text).errors[0].code, code);
  }
});

test('who asks for files of clients is told of a database that does not answer', async () => {
  await using served = await serveOver({
    ...services,
    ...{ keys: noKeys, signers: { ...noSigners, listGrants: () => new Promise<never>(() => undefined) } },
  });
  const headers = { Authorization: `Bearer ${served.tokens.admin}` };
  const answer = await fetch(`${served.url}/api/v1/${ofClients}`, { headers });
  assert.equal(answer.status, 503);
  assert.match(await answer.text(), /PostgreSQL/);
});

for (const when of ['before its head', 'later'] as const) {
  test(`a stream that is given up ${when} is ended once what it waits for has come`, async () => {
    let [isGiven, isEnded] = [false, false];
    let waitedFor: (() => void) | undefined;
    const late = () => {
      const given = new Promise<void>((resolve) => {
        waitedFor = resolve;
      });
      isGiven = true;
      return given;
    };
    await using served = await serveOver({
      // nobody answers from the moment at which the stream waits
      patience: createPatience({
        monotonicMs: () => performance.now(),
        answeredAtMs: () => (isGiven ? 0 : performance.now()),
        longestMs: LONGEST_MS,
      }),
      records: {
        ...{ page: unasked, sums: unasked, session: unasked, follow: unasked, forget: unasked },
        async *export() {
          try {
            if (when === 'before its head') await late();
            yield 'head';
            if (when === 'later') await late();
            yield 'rest';
          } finally {
            isEnded = true;
          }
        },
      },
    });
    const headers = { Authorization: `Bearer ${served.tokens.admin}` };
    const answer = await fetch(`${served.url}/api/v1/access?format=csv`, { headers });
    assert.equal(answer.status, when === 'later' ? 200 : 503);
    await answer.text().catch(() => undefined);
    assert.equal(isEnded, false);
    waitedFor?.();
    for (let times = 0; times < 100 && !isEnded; times += 1) await pause(10);
    assert.ok(isEnded);
  });
}
