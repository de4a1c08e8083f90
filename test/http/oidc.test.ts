// OIDC tokens at the door: who the actor of an upload is, and what is answered when a token is refused or its issuer is away.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { type ErrorCode, LookasideError } from '../../src/domain/errors.ts';
import type { Token } from '../../src/domain/ports.ts';
import { createIntake } from '../../src/http/intake.ts';
import type { Services } from '../../src/http/services.ts';
import type { Actor } from '../../src/service/audit.ts';
import { createClock } from '../service/hand-driven.ts';
import { IDLE_RECORDER, SETTINGS, serveOver, UNASKED_READER } from './served.ts';

const NAME = 'ci https://issuer.example repo:team/app';
const TOKEN: Token = {
  name: NAME,
  role: 'uploader',
  createdAt: new Date(0),
  expiresAt: null,
  revokedAt: null,
  signer: 'ci',
  disabledAt: null,
  lastUsedAt: null,
};
const PATH = `/team/app@sha256=${'a'.repeat(64)}`;
const BEARER = { Authorization: 'Bearer a.b.c' };

function scene(
  answer: { readonly code: ErrorCode; readonly isExpired?: true } | readonly [Token, ...Token[]],
  read: 'anonymous' | 'token' = 'anonymous',
) {
  const clock = createClock();
  const actors: Actor[] = [];
  const lines: string[] = [];
  const services: Partial<Services> = {
    clock,
    intake: createIntake(clock),
    identities: {
      isToken: (text) => text === 'a.b.c',
      async find() {
        if (!('code' in answer)) return answer;
        const detail = answer.isExpired === true ? { isExpired: true } : {};
        throw new LookasideError(answer.code, 'about the token', { detail });
      },
    },
    uploader: {
      async upload(_, actor) {
        actors.push(actor);
        throw new LookasideError('BUSY', 'far enough');
      },
      uploadBatch: () => assert.fail(),
    },
    metrics: {
      request: () => undefined,
      read: () => undefined,
      upload: () => undefined,
      uploadTook: () => undefined,
      add: () => undefined,
      render: () => assert.fail(),
    },
    reader: {
      ...UNASKED_READER,
      peekSet: () => null,
      readSet: async () => ({ generation: 1, entries: [] }),
    },
    recorder: IDLE_RECORDER,
    settings: () => ({ ...SETTINGS, read, accessLog: 'combined' }),
    writeAccessLine: (line) => void lines.push(line),
  };
  return { services, actors, lines };
}

describe('an OIDC token', () => {
  test('uploads as its signer, by a name that says issuer and subject, and as others that it is', async () => {
    const other = { ...TOKEN, name: 'other x y', signer: 'other' };
    const { services, actors, lines } = scene([TOKEN, other]);
    {
      await using served = await serveOver(services);
      const sent = { method: 'POST', headers: { ...BEARER, 'X-Request-Id': 'r-1' }, body: 'x' };
      assert.equal((await fetch(served.url + PATH, sent)).status, 503);
      const basic = Buffer.from('oidc:a.b.c').toString('base64');
      await fetch(served.url + PATH, {
        ...sent,
        headers: { ...sent.headers, Authorization: `Basic ${basic}` },
      });
    }
    const from = { address: '127.0.0.1', requestId: 'r-1', isAdministrator: false };
    const actor = {
      ...from,
      name: NAME,
      signer: 'ci',
      others: [{ ...from, name: 'other x y', signer: 'other' }],
    };
    assert.deepEqual(actors, [actor, actor]);
    // a blank would end the field
    assert.match(lines[0] ?? '', /^127\.0\.0\.1 - ci\+https:\/\/issuer\.example\+repo:team\/app \[/);
  });

  test('changes nothing else', async () => {
    const { services } = scene([TOKEN]);
    await using served = await serveOver(services);
    for (const [method, path] of [
      ['POST', '/api/v1/signers'],
      ['DELETE', '/api/v1/subjects/1'],
      ['GET', '/api/v1/audit'],
    ] as const) {
      const answer = await fetch(served.url + path, { method, headers: BEARER });
      assert.equal(answer.status, 403, path);
    }
  });

  test('of an issuer that is away makes uploads wait (503), and no read of a signature', async () => {
    for (const read of ['anonymous', 'token'] as const) {
      const { services, actors } = scene({ code: 'ISSUER_UNAVAILABLE' }, read);
      await using served = await serveOver(services);
      for (let times = 0; times < 12; times += 1) {
        const upload = await fetch(served.url + PATH, { method: 'POST', headers: BEARER, body: 'x' });
        assert.equal(upload.status, 503);
        assert.ok(upload.headers.has('Retry-After'));
      }
      const { status } = await fetch(`${served.url}${PATH}/signature-1`, { headers: BEARER });
      assert.equal(status, read === 'anonymous' ? 404 : 401);
      assert.deepEqual(actors, []);
    }
  });

  test('that is refused is told why, and slowed down unless it has only expired', async () => {
    const { services } = scene({ code: 'UNAUTHORIZED' });
    await using served = await serveOver(services);
    const upload = async () => fetch(served.url + PATH, { method: 'POST', headers: BEARER, body: 'x' });
    const first = await upload();
    assert.equal(first.status, 401);
    assert.match(await first.text(), /about the token/);
    for (let times = 1; times < 10; times += 1) assert.equal((await upload()).status, 401);
    assert.equal((await upload()).status, 429);
    // a public read knows nothing of it
    assert.equal((await fetch(`${served.url}${PATH}/signature-1`, { headers: BEARER })).status, 404);

    await using other = await serveOver(scene({ code: 'UNAUTHORIZED', isExpired: true }).services);
    for (let times = 0; times < 12; times += 1) {
      const answer = await fetch(other.url + PATH, { method: 'POST', headers: BEARER, body: 'x' });
      assert.equal(answer.status, 401);
    }
  });
});
