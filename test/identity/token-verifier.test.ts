// Tokens of OpenID providers, checked over real HTTP against an issuer that a test makes wrong.
import assert from 'node:assert/strict';
import { createHmac, createPublicKey } from 'node:crypto';
import { describe, test } from 'node:test';
import { exportJWK, generateKeyPair, SignJWT } from 'jose';
import { isLookasideError, type LookasideError } from '../../src/domain/errors.ts';
import { createOidcVerifier } from '../../src/identity/token-verifier.ts';
import { openIssuerDocuments } from '../../src/upstream/issuer-documents.ts';
import { createClock } from '../service/hand-driven.ts';
import { AUDIENCE, DISCOVERY, json, KEYS, openIssuer, type TestIssuer } from './issuer.ts';

async function open() {
  const clock = createClock();
  const issuer = await openIssuer(() => clock.now().getTime());
  const documents = openIssuerDocuments({ ca: null, hasProxies: false });
  const failures: LookasideError[] = [];
  const verifier = createOidcVerifier({
    read: documents.read,
    clock,
    onFailure: (_, error) => void failures.push(error),
  });
  return {
    clock,
    issuer,
    failures,
    verify: (token: string, audiences = [AUDIENCE]) => verifier.verify(token, issuer.url, audiences),
    async refused(
      token: string,
      message: RegExp,
      code: 'UNAUTHORIZED' | 'ISSUER_UNAVAILABLE' = 'UNAUTHORIZED',
    ) {
      let refusal: LookasideError | null = null;
      await assert.rejects(verifier.verify(token, issuer.url, [AUDIENCE]), (error) => {
        assert.ok(isLookasideError(error, code), String(error));
        assert.match(error.message, message);
        refusal = error;
        return true;
      });
      return refusal as LookasideError | null;
    },
    async [Symbol.asyncDispose]() {
      await documents.close();
      await issuer[Symbol.asyncDispose]();
    },
  };
}

const MINUTE_MS = 60_000;
const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');

describe('a token of an OpenID provider', () => {
  test('of the form of GitHub Actions, GitLab or Kubernetes is taken, with its claims', async () => {
    await using scene = await open();
    const github = {
      sub: 'repo:team/app:ref:refs/heads/main',
      repository: 'team/app',
      ref: 'refs/heads/main',
      environment: 'prod',
      job_workflow_ref: 'team/app/.github/workflows/ci.yml@refs/heads/main',
    };
    const gitlab = {
      sub: 'project_path:team/app:ref_type:branch:ref:main',
      project_path: 'team/app',
      ref_protected: 'true',
    };
    const kubernetes = {
      sub: 'system:serviceaccount:ci:signer',
      aud: [AUDIENCE, 'https://kubernetes.default.svc'],
      'kubernetes.io': { namespace: 'ci', serviceaccount: { name: 'signer', uid: '1' } },
    };
    for (const claims of [github, gitlab, kubernetes]) {
      const verified = await scene.verify(await scene.issuer.token(claims));
      assert.equal(verified.subject, claims.sub);
      for (const [name, value] of Object.entries(claims)) assert.deepEqual(verified.all[name], value);
    }
    // the keys were asked for once
    assert.deepEqual(scene.issuer.asked, [DISCOVERY, KEYS]);
  });

  test('is taken by each algorithm with a public key', async () => {
    await using scene = await open();
    for (const alg of ['RS256', 'PS384', 'ES384', 'EdDSA']) {
      await scene.issuer.rotate({ alg });
      scene.clock.pass(MINUTE_MS);
      assert.equal((await scene.verify(await scene.issuer.token())).subject, 'repo:team/app', alg);
    }
  });

  test('of another issuer, signed by that issuer, is refused', async () => {
    await using scene = await open();
    await using other = await openIssuer(() => scene.clock.now().getTime());
    await scene.refused(await other.token({ iss: scene.issuer.url }), /has not signed it|has no such key/);
    await scene.refused(
      await scene.issuer.token({ iss: other.url }),
      /its claim iss is missing or not what is wanted/,
    );
    assert.deepEqual(other.asked, []);
  });

  test('for another audience is refused, and told what was wanted', async () => {
    await using scene = await open();
    for (const aud of ['https://sts.example.com', [], `${AUDIENCE}/`, AUDIENCE.toUpperCase(), undefined]) {
      const error = await scene.refused(await scene.issuer.token({ aud }), /audience|claim aud/);
      assert.ok(error !== null && !error.message.includes('undefined'));
    }
    await scene.refused(
      await scene.issuer.token({ aud: 'other' }),
      /it is for the audience "other"; wanted https:\/\/signatures\.example\.com \(LOOKASIDE_OIDC_AUDIENCE\)/,
    );
  });

  test('without an algorithm (none), in any spelling, is refused', async () => {
    await using scene = await open();
    const [, payload] = (await scene.issuer.token()).split('.');
    for (const alg of ['none', 'None', 'NONE', '', undefined]) {
      await scene.refused(`${part({ alg, kid: 'key-1' })}.${payload}.`, /is refused/);
    }
    const signature = (await scene.issuer.token()).split('.')[2];
    await scene.refused(
      `${part({ alg: 'none', kid: 'key-1' })}.${payload}.${signature}`,
      /algorithm is not among/,
    );
  });

  test('by HS256 with the public key as its secret is refused', async () => {
    await using scene = await open();
    const [, payload] = (await scene.issuer.token()).split('.');
    const [jwk] = scene.issuer.keys;
    assert.ok(jwk !== undefined);
    const publicKey = createPublicKey({ key: { ...jwk }, format: 'jwk' });
    const pem = publicKey.export({ type: 'spki', format: 'pem' }).toString();
    for (const secret of [pem, JSON.stringify(jwk), jwk.x ?? '']) {
      const signed = `${part({ alg: 'HS256', kid: jwk.kid })}.${payload}`;
      const mac = createHmac('sha256', secret).update(signed).digest('base64url');
      await scene.refused(`${signed}.${mac}`, /its algorithm is not among those that are taken: RS256, /);
    }
  });

  test('by a shared secret that the set of keys shows is refused', async () => {
    await using scene = await open();
    const secret = Buffer.alloc(32, 7);
    scene.issuer.keys = [{ kty: 'oct', k: secret.toString('base64url'), kid: 'key-1', alg: 'HS256' }];
    const token = await new SignJWT({ sub: 'x', iss: scene.issuer.url, aud: AUDIENCE })
      .setProtectedHeader({ alg: 'HS256', kid: 'key-1' })
      .sign(secret);
    await scene.refused(token, /is refused/);
  });

  test('by a key of another algorithm than its header says is refused', async () => {
    await using scene = await open();
    const [, payload, signature] = (await scene.issuer.token()).split('.');
    await scene.refused(`${part({ alg: 'RS256', kid: 'key-1' })}.${payload}.${signature}`, /is refused/);
  });

  test('that has expired is refused with the time, and is known for genuine', async () => {
    await using scene = await open();
    const token = await scene.issuer.token();
    scene.clock.pass(5 * MINUTE_MS + 59_000);
    assert.equal((await scene.verify(token)).subject, 'repo:team/app');
    scene.clock.pass(2000);
    const error = await scene.refused(token, /it expired at 20\d\d-.*Z; get a new one/);
    assert.equal(error?.detail?.isExpired, true);
    const [head, payload] = token.split('.');
    const forged = await scene.refused(
      `${head}.${payload}.${Buffer.alloc(64, 1).toString('base64url')}`,
      /has not signed/,
    );
    assert.equal(forged?.detail?.isExpired, undefined);
  });

  test('of the future is refused, but for a minute by which clocks differ', async () => {
    await using scene = await open();
    const now = Math.floor(scene.clock.now().getTime() / 1000);
    await scene.verify(await scene.issuer.token({ iat: now + 50, nbf: now + 50 }));
    await scene.refused(
      await scene.issuer.token({ nbf: now + 120 }),
      /it is valid from .* on; are the clocks/,
    );
    await scene.refused(await scene.issuer.token({ iat: now + 120, nbf: undefined }), /issued in the future/);
    await scene.refused(
      await scene.issuer.token({ iat: 1e300, nbf: undefined }),
      /issued in the future, at no time/,
    );
  });

  test('without sub, iat or exp, or with a sub that is no name, is refused', async () => {
    await using scene = await open();
    for (const name of ['sub', 'iat', 'exp'])
      await scene.refused(
        await scene.issuer.token({ [name]: undefined }),
        new RegExp(`its claim ${name} is missing`),
      );
    for (const sub of ['', 'x'.repeat(256), 'a\nb', '\u202e'])
      await scene.refused(await scene.issuer.token({ sub }), /sub is not a text of 1 to 255 characters/);
    await scene.refused(await scene.issuer.token({ exp: 'never' }), /is refused/);
  });

  test('of which a byte was changed is refused', async () => {
    await using scene = await open();
    const [head, , signature] = (await scene.issuer.token()).split('.');
    const [, other] = (await scene.issuer.token({ sub: 'repo:team/evil' })).split('.');
    await scene.refused(`${head}.${other}.${signature}`, /has not signed it/);
    await scene.refused(`${head}.${other}.`, /is refused/);
  });
});

describe('the key that a token names', () => {
  test('is looked for among those of the issuer alone, whatever the name and the header say', async () => {
    await using scene = await open();
    await using evil = await openIssuer();
    const keysAt = evil.url + KEYS;
    const { publicKey, privateKey } = await generateKeyPair('ES256', { extractable: true });
    const jwk = { ...(await exportJWK(publicKey)), kid: 'mine' };
    const sign = (header: object) =>
      new SignJWT({ sub: 'x', iss: scene.issuer.url, aud: AUDIENCE })
        .setProtectedHeader({ alg: 'ES256', ...header })
        .setIssuedAt(scene.clock.now())
        .setExpirationTime(new Date(scene.clock.now().getTime() + MINUTE_MS))
        .sign(privateKey);
    for (const kid of [
      '../../etc/passwd',
      '/dev/null',
      "' OR 1=1 --",
      keysAt,
      '__proto__',
      'x'.repeat(4000),
      '',
      'key-1',
    ])
      await scene.refused(await sign({ kid }), /is refused/);
    for (const header of [{ jku: keysAt }, { jwk }, { x5u: keysAt }, { kid: 'mine', jku: keysAt, jwk }])
      await scene.refused(await sign(header), /is refused/);
    await scene.refused(await sign({ kid: 'key-1', crit: ['x'], x: 1 }).catch(() => 'a.b.c'), /is refused/);
    assert.deepEqual(evil.asked, []);
  });

  test('is asked for again when it is new, and at most once in thirty seconds', async () => {
    await using scene = await open();
    await scene.verify(await scene.issuer.token());
    await scene.issuer.rotate();
    scene.clock.pass(29_000);
    await scene.refused(await scene.issuer.token(), /has no such key as it names/);
    assert.equal(scene.issuer.asked.length, 2);
    scene.clock.pass(1000);
    assert.equal((await scene.verify(await scene.issuer.token())).subject, 'repo:team/app');
    await scene.issuer.rotate({ isShown: false });
    const tokens = await Promise.all(Array.from({ length: 20 }, () => scene.issuer.token()));
    await Promise.all(tokens.map((token) => scene.refused(token, /has no such key/)));
    assert.equal(scene.issuer.asked.length, 4);
  });

  test('may be left out while the issuer has one, and not when it has several', async () => {
    await using scene = await open();
    const unnamed = () => scene.issuer.token({}, { kid: undefined });
    await scene.verify(await unnamed());
    await scene.issuer.rotate();
    scene.clock.pass(11 * MINUTE_MS);
    await scene.refused(await unnamed(), /names no key \(kid\), and the issuer .* has several/);
  });

  test('that the issuer has withdrawn is of no use ten minutes later', async () => {
    await using scene = await open();
    await scene.verify(await scene.issuer.token());
    scene.issuer.keys = [];
    scene.clock.pass(10 * MINUTE_MS);
    await scene.refused(await scene.issuer.token(), /has no such key/);
  });
});

async function away(issuer: TestIssuer): Promise<void> {
  for (const path of [DISCOVERY, KEYS]) issuer.answers.set(path, (_, res) => void res.writeHead(500).end());
}

describe('an issuer that cannot be asked', () => {
  test('is not needed for an hour after its keys were fetched, and then its tokens wait', async () => {
    await using scene = await open();
    const { issuer, clock } = scene;
    await scene.verify(await issuer.token());
    await away(issuer);
    for (const minutes of [11, 20, 28]) {
      clock.pass(minutes * MINUTE_MS);
      assert.equal((await scene.verify(await issuer.token())).subject, 'repo:team/app');
    }
    assert.equal(scene.failures.length, 3);
    clock.pass(MINUTE_MS);
    const wanted = /the keys of the issuer cannot be had: .* answers 500/;
    await scene.refused(await issuer.token(), wanted, 'ISSUER_UNAVAILABLE');
    issuer.answers.clear();
    // not asked again at once
    await scene.refused(await issuer.token(), wanted, 'ISSUER_UNAVAILABLE');
    clock.pass(MINUTE_MS);
    assert.equal((await scene.verify(await issuer.token())).subject, 'repo:team/app');
  });

  test('is one that does not answer, or answers what is no set of keys', async () => {
    const wrong: readonly (readonly [
      path: string,
      answer: Parameters<TestIssuer['answers']['set']>[1],
      message: RegExp,
    ])[] = [
      [DISCOVERY, (req) => void req.socket.destroy(), /cannot be reached \(/],
      [DISCOVERY, (_, res) => void res.writeHead(404).end('<html>'), /answers 404/],
      [DISCOVERY, (_, res) => void res.end('<html>'), /is not a JSON object/],
      [DISCOVERY, (_, res) => json(res, null), /is not a JSON object/],
      [
        DISCOVERY,
        (_, res) => json(res, { issuer: 'https://evil.example' }),
        /names the issuer "https:\/\/evil\.example", and not/,
      ],
      [KEYS, (_, res) => json(res, { keys: {} }), /has no keys/],
      [
        KEYS,
        (_, res) => json(res, { keys: Array.from({ length: 101 }, () => ({})) }),
        /has 101 keys; at most 100/,
      ],
      [
        KEYS,
        (_, res) => void res.writeHead(302, { Location: DISCOVERY }).end(),
        /redirects, which is not followed/,
      ],
      // 10 MiB
      [
        KEYS,
        (_, res) => json(res, { keys: [], filling: 'x'.repeat(10 * 1024 * 1024) }),
        /sends more than 262144 bytes/,
      ],
    ];
    await Promise.all(
      wrong.map(async ([path, answer, message]) => {
        await using scene = await open();
        scene.issuer.answers.set(path, answer);
        await scene.refused(await scene.issuer.token(), message, 'ISSUER_UNAVAILABLE');
      }),
    );
  });

  test('leads neither to other schemes, nor from another host into the own network', async () => {
    for (const [keysAt, message] of [
      ['file:///etc/passwd', /only https is asked/],
      ['http://169.254.169.254/latest', /only https is asked/],
      ['https://169.254.169.254/latest', /lies on another host, whose address is not public/],
      ['https://localhost:1/keys', /whose address is not public/],
      ['https://[::1]/keys', /whose address is not public/],
      ['https://user:x@127.1:1/keys', /whose address is not public/],
      ['keys', /names no jwks_uri/],
    ] as const) {
      await using scene = await open();
      const { issuer } = scene;
      issuer.answers.set(DISCOVERY, (_, res) => json(res, { issuer: issuer.url, jwks_uri: keysAt }));
      await scene.refused(await issuer.token(), message, 'ISSUER_UNAVAILABLE');
    }
  });
});
