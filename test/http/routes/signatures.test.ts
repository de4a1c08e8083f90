import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { LookasideError } from '../../../src/domain/errors.ts';
import type { ImageId } from '../../../src/domain/image.ts';
import type { StoredSignature } from '../../../src/domain/stored-signature.ts';
import type {
  AskedSignature,
  FoundSignatures,
  SignatureQueries,
  SignatureQuery,
} from '../../../src/service/signatures.ts';
import { imageOf } from '../../service/hand-driven.ts';
import { type Served, serveOver } from '../served.ts';

const HEX = 'a'.repeat(64);
const APP = imageOf('team/app');

const STORED: StoredSignature = {
  site: 'default',
  image: `team/app@sha256:${HEX}`,
  path: `/team/app@sha256=${HEX}/signature-1`,
  number: 1,
  state: 'verified',
  reason: null,
  form: 'binary',
  fingerprint: 'A1'.repeat(20),
  signingFingerprint: 'A1'.repeat(20),
  issuer: null,
  manifestDigest: `sha256:${HEX}`,
  dockerReference: 'registry.example/team/app:v1',
  creator: 'sly \u202e\u0085 creator',
  signedAt: new Date('2026-11-01T00:00:00Z'),
  expiresAt: null,
  storedAt: new Date('2026-11-02T00:00:00Z'),
  sizeBytes: 500,
  signatureSha256: 'f'.repeat(64),
  uploader: 'ci',
  auditSeq: 17,
  remap: null,
  warnings: [],
  readers: [],
};
const SHOWN = { ...STORED, signedAt: '2026-11-01T00:00:00.000Z', storedAt: '2026-11-02T00:00:00.000Z' };

/** Keeps what it is asked, and answers what a test puts in. */
function createQueries() {
  const asked = {
    images: [] as ImageId[],
    queries: [] as SignatureQuery[],
    missing: [] as (readonly AskedSignature[])[],
  };
  const preferred: ImageId[] = [];
  const answers: {
    ofImage: readonly StoredSignature[];
    search: FoundSignatures | LookasideError;
    missing: readonly number[];
  } = { ofImage: [STORED], search: { signatures: [STORED], next: 'n', cursor: 'c' }, missing: [0, 2] };
  const queries: SignatureQueries = {
    async ofImage(image) {
      asked.images.push(image);
      return answers.ofImage;
    },
    async search(query) {
      asked.queries.push(query);
      if (answers.search instanceof LookasideError) throw answers.search;
      return answers.search;
    },
    async missing(list) {
      asked.missing.push(list);
      return answers.missing;
    },
  };
  return { asked, answers, queries, preferred };
}

interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
}

describe('questions about signatures', () => {
  let fake = createQueries();
  let served: Served;

  before(async () => {
    served = await serveOver({
      signatures: {
        ofImage: (image) => fake.queries.ofImage(image),
        search: (query) => fake.queries.search(query),
        missing: (asked) => fake.queries.missing(asked),
      },
      judge: { prefer: async (image) => void fake.preferred.push(image) },
    });
  });
  beforeEach(() => {
    fake = createQueries();
  });
  after(() => served[Symbol.asyncDispose]());

  async function request(path: string, init: RequestInit = {}): Promise<Answer> {
    const headers = { Authorization: `Bearer ${served.tokens.uploader}`, ...init.headers };
    const answer = await fetch(served.url + path, { ...init, headers });
    return { status: answer.status, headers: answer.headers, text: await answer.text() };
  }

  const JSON_TYPE = { 'Content-Type': 'application/json' };
  const post = (body: string, headers: Record<string, string> = {}) =>
    request('/api/v1/signatures/missing', { method: 'POST', headers: { ...JSON_TYPE, ...headers }, body });
  const ask = (body: unknown) => post(JSON.stringify(body));

  function assertRefused({ status, text }: Answer, expectedStatus: number, code: string, message: RegExp) {
    const { errors } = JSON.parse(text);
    assert.equal(status, expectedStatus, text);
    assert.equal(errors[0].code, code);
    assert.match(errors[0].message, message);
    assert.deepEqual(fake.asked, { images: [], queries: [], missing: [] });
  }

  describe('GET /api/v1/images/IMAGE', () => {
    test('shows what is stored of the image', async () => {
      const { status, headers, text } = await request(`/api/v1/images/team/app@sha256:${HEX}`);
      assert.equal(status, 200);
      assert.deepEqual(JSON.parse(text), {
        image: `team/app@sha256:${HEX}`,
        signatures: [SHOWN],
        mirror: null,
        withdrawn: [],
      });
      assert.deepEqual(fake.asked.images, [APP]);
      assert.equal(headers.get('content-type'), 'application/json');
      assert.equal(headers.get('cache-control'), 'no-store');
    });

    test('has what is to be judged of that image judged ahead of others, whatever its state', async () => {
      const { status } = await request(`/api/v1/images/team/app@sha256:${HEX}`);
      assert.equal(status, 200);
      assert.deepEqual(fake.preferred, [APP]);
    });

    test('has no control or format character of a creator in its answer', async () => {
      const { text } = await request(`/api/v1/images/team/app@sha256:${HEX}`);
      assert.doesNotMatch(text.trimEnd(), /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u);
      assert.match(text, /sly \\u202e\\u0085 creator/);
    });

    const IMAGES: readonly (readonly [path: string, image: ImageId])[] = [
      [`app@sha256:${HEX}`, imageOf('app')],
      [`a/b/c/d@sha256:${HEX}`, imageOf('a/b/c/d')],
      [`team/app%40sha256%3A${HEX}`, APP],
      [`team//app@sha256:${HEX}`, APP],
      [`team/app@sha512:${'b'.repeat(128)}`, { ...APP, algorithm: 'sha512', hex: 'b'.repeat(128) }],
      [`sha256:${HEX}`, { ...APP, layout: 'release', path: '' }],
      [`openshift/release/sha256:${HEX}`, { ...APP, layout: 'release', path: 'openshift/release' }],
    ];
    for (const [path, image] of IMAGES) {
      test(`${path.replace(/[ab]{64,}/, '<hex>')} is an image`, async () => {
        assert.equal((await request(`/api/v1/images/${path}`)).status, 200);
        assert.deepEqual(fake.asked.images, [image]);
      });
    }

    test('a name that is too long is none, and the answer says how long one may be', async () => {
      for (const path of [`${'c/'.repeat(130)}c@sha256:${HEX}`, `${'n'.repeat(200)}@sha256:${HEX}`]) {
        const answer = await request(`/api/v1/images/${path}`);
        assertRefused(
          answer,
          400,
          'PATH_INVALID',
          /has 261 bytes, and registries|name of 272 bytes, and file systems/,
        );
      }
    });

    const NO_IMAGES: readonly string[] = [
      'team/app',
      `team/app@${HEX}`,
      `team/app@sha256=${HEX}`,
      `team/app@sha256:${HEX.slice(1)}`,
      `team/app@sha256:${HEX.toUpperCase()}`,
      `team/app@sha256:${HEX}/`,
      `team/app@sha256:${HEX}/signature-1`,
      `team/.app@sha256:${HEX}`,
      `team/app:v1@sha256:${HEX}`,
      `registry.example:5000/team/app@sha256:${HEX}`,
      `team/app@sha1:${'a'.repeat(40)}`,
      'a b',
    ];
    for (const path of NO_IMAGES) {
      test(`${path.replace(/a{30,}/i, '<hex>')} is none, and the answer says what one is`, async () => {
        const answer = await request(`/api/v1/images/${encodeURI(path)}`);
        assertRefused(
          answer,
          400,
          'PATH_INVALID',
          /is not an image, expected repository@sha256:<64 hex digits>/,
        );
      });
    }

    test('an image without signatures is not found', async () => {
      fake.answers.ofImage = [];
      const { status, text } = await request(`/api/v1/images/team/app@sha256:${HEX}`);
      assert.equal(status, 404);
      assert.deepEqual(JSON.parse(text), {
        errors: [{ code: 'NOT_FOUND', message: `no signature is stored for team/app@sha256:${HEX}` }],
      });
    });

    test('takes no parameter but the site', async () => {
      const answer = await request(`/api/v1/images/team/app@sha256:${HEX}?state=bad`);
      assertRefused(answer, 400, 'REQUEST_INVALID', /there is no parameter "state" here, expected site/);
    });
  });

  describe('GET /api/v1/signatures', () => {
    test('without parameters asks for the newest 100', async () => {
      const { status, text } = await request('/api/v1/signatures');
      assert.equal(status, 200);
      assert.deepEqual(JSON.parse(text), { signatures: [SHOWN], next: 'n', cursor: 'c' });
      assert.deepEqual(fake.asked.queries, [
        {
          site: null,
          filter: { path: null, digest: null, fingerprint: null, tag: null, since: null, until: null },
          uploader: null,
          state: null,
          order: 'newest',
          limit: 100,
          cursor: null,
        },
      ]);
    });

    test('with every parameter asks for just that', async () => {
      const parameters = new URLSearchParams({
        repository: 'team/app',
        digest: `sha256:${HEX}`,
        fingerprint: 'a1'.repeat(20),
        tag: 'v1.2',
        uploader: 'ci',
        state: 'key-revoked',
        since: '2026-11-01',
        until: '2026-11-02T10:00:00+02:00',
        order: 'oldest',
        limit: '1000',
        cursor: 'abc',
        site: 'default',
      });
      assert.equal((await request(`/api/v1/signatures?${parameters}`)).status, 200);
      assert.deepEqual(fake.asked.queries, [
        {
          site: 'default',
          filter: {
            path: 'team/app',
            digest: { algorithm: 'sha256', hex: HEX },
            fingerprint: 'A1'.repeat(20),
            tag: 'v1.2',
            since: new Date('2026-11-01T00:00:00Z'),
            until: new Date('2026-11-02T08:00:00Z'),
          },
          uploader: 'ci',
          state: 'key-revoked',
          order: 'oldest',
          limit: 1000,
          cursor: 'abc',
        },
      ]);
    });

    const REFUSED: readonly (readonly [query: string, message: RegExp])[] = [
      ['repo=team', /there is no parameter "repo" here, expected repository, digest, fingerprint, /],
      ['site=', /site is "", expected a site's name/],
      ['__proto__=1', /there is no parameter "__proto__"/],
      ['limit=1&limit=2', /the parameter limit is there twice, expected once/],
      ['repository=', /repository is "", expected a repository path/],
      ['repository=/team', /repository is "\/team", expected/],
      ['repository=registry.example:5000/team', /expected a repository path without the registry's host/],
      [`digest=${HEX}`, /digest is "a{64}", expected sha256:<64/],
      [`digest=sha256:${HEX.slice(1)}`, /digest is "sha256:a*…?", expected/],
      ['fingerprint=0123456789ABCDE', /fingerprint is "0123456789ABCDE", expected the 40 hex digits/],
      ['tag=a/b', /tag is "a\/b", expected a tag like v1\.2/],
      ['tag=', /tag is "", expected a tag/],
      ['uploader=', /uploader is "", expected a token's name/],
      ['state=good', /state is "good", expected verified, unverified, unknown-key/],
      ['state=', /state is ""/],
      ['since=yesterday', /since is "yesterday", expected a time like 2026-11-22T10:00:00Z/],
      ['since=2026-13-01', /since is "2026-13-01"/],
      ['until=2026-11-22T10:00:00+01:00', /until is "2026-11-22T10:00:00 01:00".*\+ as %2B/],
      ['until=1700000000', /until is "1700000000"/],
      ['order=up', /order is "up", expected newest or oldest/],
      ['limit=0', /limit is "0", expected 1 to 1000/],
      ['limit=1001', /limit is "1001", expected 1 to 1000/],
      ['limit=-1', /limit is "-1", expected 1 to 1000/],
      ['limit=1e2', /limit is "1e2", expected 1 to 1000/],
      ['limit=99999999999999999999', /expected 1 to 1000/],
      ['limit=', /limit is "", expected 1 to 1000/],
      ['state=%1B%5B2J%E2%80%AE', /state is "\\u001b\[2J\\u202e"/],
    ];
    for (const [query, message] of REFUSED) {
      test(`?${query.replace(/a{60,}/, '<hex>')} is refused, naming what is wrong`, async () => {
        assertRefused(await request(`/api/v1/signatures?${query}`), 400, 'REQUEST_INVALID', message);
      });
    }

    test('a cursor that does not hold any more is told apart for programs', async () => {
      fake.answers.search = new LookasideError('REQUEST_INVALID', 'begin again', {
        detail: { reason: 'cursor' },
      });
      const { status, text } = await request('/api/v1/signatures?cursor=old');
      assert.equal(status, 400);
      assert.deepEqual(JSON.parse(text).errors[0].detail, { reason: 'cursor' });
    });
  });

  describe('POST /api/v1/signatures/missing', () => {
    test('tells the positions of what is missing', async () => {
      const { status, text } = await ask({
        signatures: [
          { image: `team/app@sha256:${HEX}`, sha256: 'b'.repeat(64) },
          { image: `sha256:${HEX}`, sha256: 'c'.repeat(64) },
        ],
      });
      assert.equal(status, 200, text);
      assert.deepEqual(JSON.parse(text), { missing: [0, 2] });
      assert.deepEqual(fake.asked.missing, [
        [
          { image: APP, sha256: 'b'.repeat(64) },
          { image: { ...APP, layout: 'release', path: '' }, sha256: 'c'.repeat(64) },
        ],
      ]);
    });

    const one = { image: `team/app@sha256:${HEX}`, sha256: 'b'.repeat(64) };

    test('takes 10,000 with long names, and not one more', async () => {
      const long = { ...one, image: `${'x/'.repeat(90)}app@sha256:${HEX}` };
      const full = Array.from({ length: 10_000 }, () => long);
      assert.equal((await ask({ signatures: full })).status, 200);
      assert.equal(fake.asked.missing[0]?.length, 10_000);
      fake = createQueries();
      const over = await ask({ signatures: [...full, long] });
      assertRefused(over, 400, 'REQUEST_INVALID', /signatures is an array of 10001, expected at most 10000/);
    });

    test('a body over 4 MiB is too large', async () => {
      const body = { signatures: [{ ...one, image: 'x'.repeat(4 * 1024 * 1024) }] };
      assertRefused(await ask(body), 413, 'TOO_LARGE', /at most 4194304 are taken here/);
    });

    const REFUSED: readonly (readonly [title: string, body: unknown, message: RegExp])[] = [
      ['null', null, /the body is null, expected \{"signatures":/],
      ['an array', [one], /the body is an array of 1, expected/],
      ['no signatures', {}, /signatures is missing, expected an array/],
      ['a single object', { signatures: one }, /signatures is an object, expected an array/],
      ['a member too many', { signatures: [], force: true }, /the body has the member "force"/],
      ['an item that is text', { signatures: ['x'] }, /signatures\.0 is "x", expected an object/],
      [
        'an item with a member too many',
        { signatures: [{ ...one, number: 1 }] },
        /signatures\.0 has the member "number"/,
      ],
      [
        'no image',
        { signatures: [one, { sha256: one.sha256 }] },
        /signatures\.1\.image is missing, expected a string/,
      ],
      [
        'a text that names no image',
        { signatures: [one, { ...one, image: 'team/app' }] },
        /signatures\.1\.image is "team\/app", expected repository@sha256/,
      ],
      [
        'an image that is too long',
        { signatures: [{ ...one, image: `${'n'.repeat(200)}@sha256:${HEX}` }] },
        /signatures\.0\.image: the folder .* would have a name of 272 bytes/,
      ],
      [
        'an image by its folder',
        { signatures: [{ ...one, image: `team/app@sha256=${HEX}` }] },
        /signatures\.0\.image is/,
      ],
      ['no sha256', { signatures: [{ image: one.image }] }, /signatures\.0\.sha256 is missing/],
      [
        'a sha256 in upper case',
        { signatures: [{ ...one, sha256: 'B'.repeat(64) }] },
        /expected 64 lower-case hex digits/,
      ],
      [
        'a sha256 with its algorithm',
        { signatures: [{ ...one, sha256: `sha256:${one.sha256}` }] },
        /expected 64 lower-case hex digits/,
      ],
      ['a number as sha256', { signatures: [{ ...one, sha256: 1 }] }, /sha256 is 1, expected a string/],
    ];
    for (const [title, body, message] of REFUSED) {
      test(`${title} is refused, naming what is wrong`, async () => {
        assertRefused(await ask(body), 400, 'REQUEST_INVALID', message);
      });
    }

    test('what is no JSON is refused', async () => {
      const answer = await post('{"signatures":[');
      assertRefused(answer, 400, 'REQUEST_INVALID', /not JSON/);
    });
  });

  describe('who may ask', () => {
    const GETS = [`/api/v1/images/team/app@sha256:${HEX}`, '/api/v1/signatures'];
    const MAY_GET = ['admin', 'auditor', 'reader', 'uploader'] as const;
    const body = JSON.stringify({ signatures: [] });

    for (const role of MAY_GET) {
      test(`${role}: what is stored; what is missing only those who upload`, async () => {
        const headers = { Authorization: `Bearer ${served.tokens[role]}` };
        for (const path of GETS) assert.equal((await request(path, { headers })).status, 200);
        const answer = await post(body, headers);
        assert.equal(answer.status, role === 'admin' || role === 'uploader' ? 200 : 403);
      });
    }

    test('nobody without a token', async () => {
      const headers = { Authorization: '' };
      for (const path of GETS)
        assertRefused(await request(path, { headers }), 401, 'UNAUTHORIZED', /a token is needed/);
      const answer = await post(body, headers);
      assertRefused(answer, 401, 'UNAUTHORIZED', /a token is needed/);
      assert.equal(answer.headers.get('www-authenticate'), 'Basic realm="lookaside"');
    });

    test('by other methods nobody', async () => {
      for (const [method, path, allowed] of [
        ['DELETE', GETS[0], 'GET, HEAD'],
        ['PUT', '/api/v1/signatures', 'GET, HEAD, POST'],
        ['GET', '/api/v1/signatures/missing', 'POST'],
      ] as const) {
        const answer = await request(path ?? '', { method });
        assertRefused(answer, 405, 'METHOD_NOT_ALLOWED', /is not possible here/);
        assert.equal(answer.headers.get('allow'), allowed);
      }
    });

    test('HEAD is answered as GET, without the body', async () => {
      for (const path of GETS) {
        const { status, text } = await request(path, { method: 'HEAD' });
        assert.deepEqual([status, text], [200, '']);
      }
    });
  });
});
