import assert from 'node:assert/strict';
import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { describe, test } from 'node:test';
import { answeredAtOnce, subtleOfThisThread } from '../../src/openpgp/web-crypto.ts';

interface Kind {
  readonly name: string;
  readonly pair: () => { readonly publicKey: KeyObject; readonly privateKey: KeyObject };
  /** For node:crypto. */
  readonly hash: string | null;
  readonly imported: string | object;
  readonly asked: string | object;
  /** The signature is handed over in an ArrayBuffer. */
  readonly isBare?: true;
}

// as OpenPGP.js 6 asks for them
const RSA = 'RSASSA-PKCS1-v1_5';
const rsa = (hash: string, webHash: string): Kind => ({
  name: `RSA with ${webHash}`,
  pair: () => generateKeyPairSync('rsa', { modulusLength: 2048 }),
  hash,
  imported: { name: RSA, hash: { name: webHash } },
  asked: RSA,
});
const ecdsa = (namedCurve: string, hash: string, webHash: string): Kind => ({
  name: `ECDSA on ${namedCurve}`,
  pair: () => generateKeyPairSync('ec', { namedCurve }),
  hash,
  imported: { name: 'ECDSA', namedCurve, hash: { name: webHash } },
  asked: { name: 'ECDSA', namedCurve, hash: { name: webHash } },
  isBare: true,
});
const KINDS: readonly Kind[] = [
  rsa('sha256', 'SHA-256'),
  rsa('sha512', 'SHA-512'),
  ecdsa('P-256', 'sha256', 'SHA-256'),
  ecdsa('P-384', 'sha384', 'SHA-384'),
  ecdsa('P-521', 'sha512', 'SHA-512'),
  {
    name: 'Ed25519',
    pair: () => generateKeyPairSync('ed25519'),
    hash: null,
    imported: 'Ed25519',
    asked: 'Ed25519',
  },
];

const refuse = (): never => {
  throw new Error('the pool of threads was asked');
};
const NOBODY = { importKey: refuse, verify: refuse };

describe('what OpenPGP.js asks of Web Crypto in a verification thread', () => {
  const subtle = subtleOfThisThread();
  const own = { importKey: subtle.importKey.bind(subtle), verify: subtle.verify.bind(subtle) };
  const data = Buffer.from('what is signed');

  for (const { name, pair, hash, imported, asked, isBare = false } of KINDS) {
    test(`${name}: is answered as Node.js answers it, without the pool of threads`, async () => {
      const { publicKey, privateKey } = pair();
      const right = sign(hash, data, { key: privateKey, dsaEncoding: 'ieee-p1363' });
      const changed = Buffer.from(right);
      changed[changed.length - 1] = (changed.at(-1) ?? 0) ^ 1;
      const cases = [
        [right, data],
        [changed, data],
        [right, Buffer.from('what is signee')],
        [right, Buffer.alloc(0)],
        [right.subarray(1), data],
        [Buffer.concat([Buffer.of(0), right]), data],
        [Buffer.alloc(0), data],
        [Buffer.alloc(right.length), data],
        [Buffer.alloc(right.length, 0xff), data],
        [sign(hash, data, { key: pair().privateKey, dsaEncoding: 'ieee-p1363' }), data],
      ] as const;
      const answersOf = async ({ importKey, verify }: typeof own) => {
        const jwk = { ...publicKey.export({ format: 'jwk' }), ext: true };
        const key = await importKey('jwk', jwk, imported, false, ['verify']);
        return Promise.all(
          cases.map(([signature, signed]) =>
            verify(asked, key, isBare ? new Uint8Array(signature).buffer : signature, signed),
          ),
        );
      };
      const answers = await answersOf(answeredAtOnce(NOBODY));
      assert.deepEqual(answers, [true, ...cases.slice(1).map(() => false)]);
      assert.deepEqual(answers, await answersOf(own));
    });
  }

  test('a key that cannot be read is refused with the error of Node.js', async () => {
    const jwks: readonly object[] = [
      { kty: 'EC', crv: 'P-256', x: 'AAAA', y: 'AAAA' },
      { kty: 'RSA', n: 'AAAA' },
      { kty: 'OKP', crv: 'Ed25519', x: 'AA' },
    ];
    const kinds = [KINDS[2], KINDS[0], KINDS[5]];
    for (const [position, jwk] of jwks.entries()) {
      const algorithm = kinds[position]?.imported ?? 'Ed25519';
      const failureOf = (importKey: typeof own.importKey) =>
        importKey('jwk', jwk, algorithm, false, ['verify']).then(
          () => null,
          (error: Error) => [error.name, error.message],
        );
      const failure = await failureOf(answeredAtOnce(own).importKey);
      assert.deepEqual(failure, await failureOf(own.importKey));
      assert.notEqual(failure, null);
    }
  });

  test('numbers of a key that somebody chose are answered as Node.js answers them', async () => {
    const b64 = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64url');
    const jwkOf = (kind: string) =>
      KINDS.find(({ name }) => name.startsWith(kind))
        ?.pair()
        .publicKey.export({ format: 'jwk' }) ?? {};
    const [rsaKey, ecKey] = [jwkOf('RSA'), jwkOf('ECDSA on P-256')];
    const n = Buffer.from(rsaKey.n ?? '', 'base64url');
    const zeros = Buffer.alloc(32);
    const jwks: readonly (readonly [kind: number, jwk: object])[] = [
      ...['', 'AA', 'AQ', 'Ag', b64(Buffer.alloc(64, 0xff))].map((e) => [0, { ...rsaKey, e }] as const),
      ...[
        Buffer.alloc(0),
        Buffer.of(0),
        Buffer.of(1),
        Buffer.concat([zeros, n]),
        Buffer.concat([n, zeros]),
      ].map((one) => [0, { ...rsaKey, n: b64(one) }] as const),
      ...[zeros, Buffer.alloc(32, 0xff), Buffer.alloc(0), Buffer.alloc(31, 1)].map(
        (x) => [2, { ...ecKey, x: b64(x), y: ecKey.x }] as const,
      ),
      // points of small order, and numbers beyond the field
      ...[zeros, Buffer.of(1, ...zeros.subarray(1)), Buffer.alloc(32, 0xff)].map(
        (x) => [5, { kty: 'OKP', crv: 'Ed25519', x: b64(x) }] as const,
      ),
    ];
    const signatures = [
      ...[0, 1, 63, 64, 65, 256].flatMap((size) => [Buffer.alloc(size), Buffer.alloc(size, 0xff)]),
      // stands for every content under a key of order one
      Buffer.of(1, ...Buffer.alloc(63)),
    ];
    for (const [position, jwk] of jwks) {
      const { imported, asked } = KINDS[position] ?? { imported: '', asked: '' };
      for (const signature of signatures) {
        const answerOf = async ({ importKey, verify }: typeof own) => {
          try {
            return await verify(
              asked,
              await importKey('jwk', jwk, imported, false, ['verify']),
              signature,
              data,
            );
          } catch {
            return 'refused';
          }
        };
        assert.equal(
          await answerOf(answeredAtOnce(own)),
          await answerOf(own),
          JSON.stringify({ jwk, signature }),
        );
      }
    }
  });

  test('other algorithms, forms and uses of keys are left to Node.js', async () => {
    const { importKey, verify } = answeredAtOnce(own);
    const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const spki = publicKey.export({ format: 'der', type: 'spki' });
    const imported = { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' };
    const key = await importKey('spki', spki, imported, false, ['verify']);
    assert.equal(await verify(RSA, key, sign('sha256', data, privateKey), data), true);
    const jwk = publicKey.export({ format: 'jwk' });
    const pss = { name: 'RSA-PSS', hash: { name: 'SHA-256' } };
    const pssKey = await importKey('jwk', jwk, pss, false, ['verify']);
    const asked = { name: 'RSA-PSS', saltLength: 32 };
    assert.equal(await verify(asked, pssKey, sign('sha256', data, privateKey), data), false);
  });
});
