// Who signed, with what, and whether the key may: judged at signing time and now.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import type { RefusalCode } from '../../src/domain/errors.ts';
import type { Verdict } from '../../src/domain/verdict.ts';
import { createKeyring } from '../../src/openpgp/keyring.ts';
import { examineMessage } from '../../src/openpgp/verifier.ts';
import {
  type CertificateOptions,
  certificate,
  compressed,
  created,
  issuerKeyId,
  KEYS_MADE_AT,
  type KeyKind,
  type MessageOptions,
  makeKey,
  message,
  mpi,
  notation,
  number,
  packet,
  SIGNED_AT,
  type SubkeyStatement,
  subpacket,
  type WriterKey,
} from './packet-writer.ts';

const NOW = new Date('2025-01-01T00:00:00Z');
const SECOND = 1000;
const DAY = 24 * 3600 * SECOND;
const after = (date: Date, ms: number) => new Date(date.getTime() + ms);
const BEFORE_SIGNING = after(SIGNED_AT, -DAY);
const SINCE = after(SIGNED_AT, DAY);

const DIGEST = '0f'.repeat(32);
const payloadOf = (reference: string) =>
  Buffer.from(
    JSON.stringify({
      critical: {
        identity: { 'docker-reference': reference },
        image: { 'docker-manifest-digest': `sha256:${DIGEST}` },
        type: 'atomic container signature',
      },
      optional: { creator: 'atomic' },
    }),
  );
const PAYLOAD = payloadOf('registry.example/team/app:v1');

const key = makeKey('ed25519');
const subkey = makeKey('ed25519');
const stranger = makeKey('ed25519');
const rsa = makeKey('rsa2048');
const cheap = makeKey('rsa2048-e3');

const judge = (bytes: Uint8Array, ...certificates: readonly Uint8Array[]) =>
  examineMessage(bytes, createKeyring(certificates), NOW);

async function verdictOf(bytes: Uint8Array, ...certificates: readonly Uint8Array[]) {
  const { verdict, refusal } = await judge(bytes, ...certificates);
  return { verdict, code: refusal?.code ?? null, message: refusal?.message };
}

async function expect(
  bytes: Uint8Array,
  certificates: readonly Uint8Array[],
  verdict: Verdict,
  code: RefusalCode | null,
) {
  const { message: why, ...rest } = await verdictOf(bytes, ...certificates);
  assert.deepEqual(rest, { verdict, code }, why);
}

/** A signature of version 3 of the ordinary length. One number in 256 begins with a zero byte, which is left out. */
function ofOrdinaryLength(): Buffer {
  const some = Array.from({ length: 8 }, (_, second) =>
    message(rsa, PAYLOAD, { version: 3, at: after(SIGNED_AT, second * SECOND) }),
  );
  return some.reduce((longest, each) => (each.length > longest.length ? each : longest));
}

describe('a good signature', () => {
  const KINDS: readonly KeyKind[] = ['rsa2048', 'ed25519', 'nistp256', 'nistp384', 'nistp521'];
  for (const kind of KINDS) {
    test(`by ${kind} tells whose it is and what it claims`, async () => {
      const signer = makeKey(kind);
      const hash = kind === 'nistp521' ? 'sha512' : kind === 'nistp384' ? 'sha384' : 'sha256';
      const { traits, ...judged } = await judge(message(signer, PAYLOAD, { hash }), certificate(signer));
      assert.equal(traits?.digestBits, Number(hash.slice(3)));
      assert.deepEqual(judged, {
        verdict: 'good',
        refusal: null,
        form: 'binary',
        issuer: signer.fingerprint,
        fingerprint: signer.fingerprint,
        signingFingerprint: signer.fingerprint,
        signedAt: SIGNED_AT,
        expiresAt: null,
        claim: {
          algorithm: 'sha256',
          hex: DIGEST,
          dockerReference: 'registry.example/team/app:v1',
          creator: 'atomic',
        },
        judgeAgainAt: null,
      });
    });
  }

  test('by a subkey names the primary key and the subkey', async () => {
    const judged = await judge(message(subkey, PAYLOAD), certificate(key, { subkeys: [{ key: subkey }] }));
    assert.equal(judged.verdict, 'good', judged.refusal?.message);
    assert.equal(judged.fingerprint, key.fingerprint);
    assert.equal(judged.signingFingerprint, subkey.fingerprint);
  });

  for (const hash of ['sha224', 'sha256', 'sha384', 'sha512'] as const) {
    test(`by RSA over ${hash} is good`, () =>
      expect(message(rsa, PAYLOAD, { hash }), [certificate(rsa)], 'good', null));
  }

  for (const hash of ['sha224', 'sha256', 'sha384', 'sha512'] as const) {
    test(`of version 3 over ${hash} is good`, async () => {
      const judged = await judge(message(rsa, PAYLOAD, { version: 3, hash }), certificate(rsa));
      assert.equal(judged.verdict, 'good', judged.refusal?.message);
      assert.equal(judged.issuer, rsa.keyId);
      assert.deepEqual(judged.signedAt, SIGNED_AT);
    });
  }

  test('of version 3 with a shorter number is good', () => {
    const ordinary = ofOrdinaryLength().length;
    for (let second = 0; second < 5000; second += 1) {
      const bytes = message(rsa, PAYLOAD, { version: 3, at: after(SIGNED_AT, second * SECOND) });
      if (bytes.length < ordinary) return expect(bytes, [certificate(rsa)], 'good', null);
    }
    return assert.fail('5000 signatures, none of them shorter');
  });
});

describe('the reason told', () => {
  const reasons: readonly [string, MessageOptions, RegExp][] = [
    [
      'a critical notation',
      { hashed: [notation('x@example.invalid', 'y', true)] },
      /^the signature has a critical notation\. /,
    ],
    [
      'an unhashed critical notation',
      { unhashed: [notation('x@example.invalid', 'y', true)] },
      /^the signature has a critical notation\. /,
    ],
    [
      'a critical subpacket that nobody knows',
      { hashed: [subpacket(99, Buffer.of(1), true)] },
      /^the signature has a critical subpacket of type 99\. /,
    ],
    [
      'a text whose lines end in LF alone',
      { type: 1, literal: { format: 't' } },
      /^the signature is over a text, whose lines do not end in CR LF/,
    ],
  ];
  for (const [what, options, why] of reasons) {
    test(`of one with ${what} is that`, async () => {
      const content = options.type === 1 ? Buffer.from(PAYLOAD.toString().replaceAll(',', ',\n')) : PAYLOAD;
      const { code, message: refusalText } = await verdictOf(
        message(key, content, options),
        certificate(key),
      );
      assert.equal(code, 'SIGNATURE_BAD');
      assert.match(refusalText ?? '', why);
    });
  }

  test('of one with a critical notation over other content is the content', async () => {
    const changed = message(key, PAYLOAD, { hashed: [notation('x@example.invalid', 'y', true)] });
    changed[changed.indexOf('v1') + 1] = 0x32;
    assert.match((await verdictOf(changed, certificate(key))).message ?? '', /one of them was changed/);
  });
});

describe('a signature that is refused', () => {
  type Row = readonly [what: string, options: MessageOptions, verdict: Verdict, code: RefusalCode | null];
  const broken = (right: Buffer) =>
    Buffer.concat([right.subarray(0, -1), Buffer.of((right.at(-1) ?? 0) ^ 1)]);

  const BY_ED25519: readonly Row[] = [
    ['with its last bit changed', { numbers: broken }, 'bad', 'SIGNATURE_BAD'],
    ['with numbers of zero', { numbers: () => Buffer.alloc(4) }, 'bad', 'SIGNATURE_BAD'],
    [
      'with numbers too long for Ed25519',
      { numbers: () => Buffer.concat([mpi(Buffer.alloc(57, 1)), mpi(Buffer.alloc(57, 1))]) },
      'unsupported',
      'ALGORITHM_UNSUPPORTED',
    ],
    ['over MD5', { hash: 'md5' }, 'bad', 'ALGORITHM_WEAK'],
    ['over SHA-1', { hash: 'sha1' }, 'bad', 'ALGORITHM_WEAK'],
    ['over RIPEMD-160', { hash: 'ripemd160' }, 'bad', 'ALGORITHM_WEAK'],
    ['over SHA-224 by EdDSA', { hash: 'sha224' }, 'unsupported', 'ALGORITHM_UNSUPPORTED'],
    ['over SHA-3', { hash: 'sha3-256' }, 'unsupported', 'ALGORITHM_UNSUPPORTED'],
    ['of version 6', { version: 6 }, 'unsupported', 'ALGORITHM_UNSUPPORTED'],
    ['of version 3 by EdDSA', { version: 3 }, 'unsupported', 'ALGORITHM_UNSUPPORTED'],
    [
      'with a critical notation',
      { hashed: [notation('x@example.invalid', 'y', true)] },
      'bad',
      'SIGNATURE_BAD',
    ],
    [
      'with an unhashed critical notation',
      { unhashed: [notation('x@example.invalid', 'y', true)] },
      'bad',
      'SIGNATURE_BAD',
    ],
    [
      'with a critical subpacket that nobody knows',
      { hashed: [subpacket(99, Buffer.of(1), true)] },
      'bad',
      'SIGNATURE_BAD',
    ],
    ['with a subpacket that nobody knows', { hashed: [subpacket(99, Buffer.of(1))] }, 'good', null],
    ['with a notation', { hashed: [notation('x@example.invalid', 'y', false)] }, 'good', null],
    ['that expired', { hashed: [subpacket(3, number(3600, 4))] }, 'good', 'SIGNATURE_EXPIRED'],
    ['that expires later', { hashed: [subpacket(3, number(3600 * 24 * 3650, 4))] }, 'good', null],
    ['whose end is not hashed', { unhashed: [subpacket(3, number(1, 4))] }, 'good', null],
    ['that names its key by a fingerprint alone', { onlyUnhashed: [] }, 'good', null],
    ['that names its key by an unhashed key ID alone', { onlyHashed: [created(SIGNED_AT)] }, 'good', null],
    ['with another time outside of what is hashed', { unhashed: [created(NOW)] }, 'good', null],
    ['made two minutes ahead of our clock', { at: after(NOW, 120 * SECOND) }, 'good', null],
    ['made two days ahead of our clock', { at: after(NOW, 2 * DAY) }, 'unverified', 'SIGNED_IN_FUTURE'],
    ['made before its key', { at: after(KEYS_MADE_AT, -DAY) }, 'bad', 'KEY_UNUSABLE'],
    ['over text of one line', { type: 1 }, 'good', null],
  ];
  for (const [what, options, verdict, code] of BY_ED25519) {
    test(`one ${what} is ${verdict}, ${code ?? 'and is taken'}`, () =>
      expect(message(key, PAYLOAD, options), [certificate(key)], verdict, code));
  }

  test('one made in the future is worth a look when its time has come', async () => {
    const at = after(NOW, 2 * DAY);
    const judged = await judge(message(key, PAYLOAD, { at }), certificate(key));
    assert.deepEqual([judged.judgeAgainAt, judged.signedAt, judged.fingerprint], [at, null, null]);
    const later = await examineMessage(message(key, PAYLOAD, { at }), createKeyring([certificate(key)]), at);
    assert.equal(later.verdict, 'good');
  });

  test('one that expired tells when', async () => {
    const bytes = message(key, PAYLOAD, { hashed: [subpacket(3, number(3600, 4))] });
    assert.deepEqual((await judge(bytes, certificate(key))).expiresAt, after(SIGNED_AT, 3600 * SECOND));
  });

  test('one over text whose lines end in LF alone is bad, as gpg has it', async () => {
    const text = (lines: string) => message(key, Buffer.from(lines), { type: 1, literal: { format: 't' } });
    const lines = PAYLOAD.toString().replaceAll(',', ',\r\n');
    await expect(text(lines), [certificate(key)], 'good', null);
    await expect(text(lines.replaceAll('\r', '')), [certificate(key)], 'bad', 'SIGNATURE_BAD');
  });

  test('one over other content is bad', async () => {
    const bytes = message(key, PAYLOAD);
    const changed = Buffer.from(bytes);
    changed[changed.indexOf('v1') + 1] = 0x32;
    await expect(changed, [certificate(key)], 'bad', 'SIGNATURE_BAD');
  });

  test('one of version 3 over other content, or with other hash bytes, is bad', async () => {
    const bytes = ofOrdinaryLength();
    const changed = Buffer.from(bytes);
    changed[changed.indexOf('v1') + 1] = 0x32;
    await expect(changed, [certificate(rsa)], 'bad', 'SIGNATURE_BAD');
    const left = Buffer.from(bytes);
    const at = bytes.length - 258 - 2; // before the one number of 2048 bits
    left[at] = (left[at] ?? 0) ^ 1;
    const judged = await judge(left, certificate(rsa));
    assert.equal(judged.verdict, 'bad');
  });

  test('one of version 3 over SHA-1 or MD5 is weak', async () => {
    for (const hash of ['sha1', 'md5'] as const) {
      await expect(message(rsa, PAYLOAD, { version: 3, hash }), [certificate(rsa)], 'bad', 'ALGORITHM_WEAK');
    }
  });

  for (const version of [3, 4] as const) {
    test(`a forgery against the exponent 3 is bad in version ${version}`, async () => {
      // 00 01 ff 00 and the digest are right, what follows is free: a cube is found without the private key
      let digest = Buffer.alloc(0);
      const head = { version, hash: 'sha256' } as const;
      const numbersOf = (data: Uint8Array) => {
        digest = createHash('sha256').update(data).digest();
        return mpi(forgedCube(digest));
      };
      const forger: WriterKey = { ...cheap, sign: (_, data) => numbersOf(data) };
      await expect(message(forger, PAYLOAD, head), [certificate(cheap)], 'bad', 'SIGNATURE_BAD');
      await expect(message(cheap, PAYLOAD, head), [certificate(cheap)], 'good', null);
      assert.equal(digest.length, 32);
    });
  }

  test('one whose number is larger than the modulus is bad', async () => {
    const { n = '' } = rsa.publicKey.export({ format: 'jwk' });
    const modulus = BigInt(`0x${Buffer.from(n, 'base64url').toString('hex')}`);
    const grown = (right: Buffer) => {
      const value = BigInt(`0x${right.subarray(2).toString('hex')}`) + modulus;
      const digits = value.toString(16);
      return mpi(Buffer.from(digits.padStart(digits.length + (digits.length % 2), '0'), 'hex'));
    };
    for (const version of [3, 4] as const) {
      await expect(
        message(rsa, PAYLOAD, { version, numbers: grown }),
        [certificate(rsa)],
        'bad',
        'SIGNATURE_BAD',
      );
    }
  });

  test('one by an RSA key that is too short to be registered is weak, not unknown', () =>
    expect(message(makeKey('rsa1024'), PAYLOAD), [], 'bad', 'ALGORITHM_WEAK'));

  const UNFIT: readonly (readonly [KeyKind, Verdict, RefusalCode])[] = [
    ['rsa1024', 'bad', 'ALGORITHM_WEAK'],
    ['brainpoolP256r1', 'unsupported', 'ALGORITHM_UNSUPPORTED'],
    ['secp256k1', 'unsupported', 'ALGORITHM_UNSUPPORTED'],
  ];
  for (const [kind, verdict, code] of UNFIT) {
    test(`one by ${kind} is ${verdict}, ${code}`, () => {
      const signer = makeKey(kind);
      return expect(message(signer, PAYLOAD), [certificate(signer)], verdict, code);
    });
  }

  for (const [kind, hash] of [
    ['nistp256', 'sha224'],
    ['nistp384', 'sha256'],
    ['nistp521', 'sha256'],
    ['nistp521', 'sha384'],
  ] as const) {
    test(`one by ${kind} over ${hash}, which gpg finds too short for it, is unsupported`, () => {
      const signer = makeKey(kind);
      const bytes = message(signer, PAYLOAD, { hash });
      return expect(bytes, [certificate(signer)], 'unsupported', 'ALGORITHM_UNSUPPORTED');
    });
  }

  for (const [algorithm, verdict, code] of [
    [17, 'bad', 'ALGORITHM_WEAK'],
    [2, 'unsupported', 'ALGORITHM_UNSUPPORTED'],
    [20, 'unsupported', 'ALGORITHM_UNSUPPORTED'],
    [27, 'unsupported', 'ALGORITHM_UNSUPPORTED'],
    [28, 'unsupported', 'ALGORITHM_UNSUPPORTED'],
    [100, 'unsupported', 'ALGORITHM_UNSUPPORTED'],
  ] as const) {
    test(`one of the key algorithm ${algorithm} is ${verdict}, whether its key is registered or not`, async () => {
      const numbers = () => Buffer.concat([mpi(Buffer.alloc(32, 1)), mpi(Buffer.alloc(32, 1))]);
      const bytes = message({ ...key, algorithm }, PAYLOAD, { numbers });
      await expect(bytes, [certificate(key)], verdict, code);
      await expect(bytes, [], verdict, code);
    });
  }

  test('one by an unknown key names it and how to register it', async () => {
    const judged = await judge(message(stranger, PAYLOAD), certificate(key));
    assert.equal(judged.verdict, 'no-key');
    assert.equal(judged.issuer, stranger.fingerprint);
    assert.match(judged.refusal?.message ?? '', new RegExp(`${stranger.fingerprint}.*lookaside key add`));
    assert.deepEqual([judged.fingerprint, judged.claim, judged.signedAt], [null, null, null]);
  });

  test('one that names a key that did not make it is bad', async () => {
    const onlyUnhashed = [issuerKeyId(key.keyId)];
    const bytes = message(stranger, PAYLOAD, {
      onlyHashed: [created(SIGNED_AT)],
      onlyUnhashed,
      onePass: { keyId: key.keyId },
    });
    await expect(bytes, [certificate(key), certificate(stranger)], 'bad', 'SIGNATURE_BAD');
  });
});

describe('a payload', () => {
  test('that lacks what a payload must have is bad', () =>
    expect(message(key, Buffer.from('{}')), [certificate(key)], 'bad', 'PAYLOAD_INVALID'));
  test('that is empty is bad', () =>
    expect(message(key, Buffer.alloc(0)), [certificate(key)], 'bad', 'PAYLOAD_INVALID'));
  test('whose docker-reference no policy could parse is bad', () =>
    expect(message(key, payloadOf('UPPER CASE')), [certificate(key)], 'bad', 'REFERENCE_INVALID'));
  test('is not looked at when the signature is wrong', () =>
    expect(message(stranger, Buffer.from('{}')), [certificate(key)], 'no-key', 'KEY_UNKNOWN'));
});

describe('a primary key', () => {
  type Row = readonly [what: string, options: CertificateOptions, verdict: Verdict, code: RefusalCode | null];
  const KEYS: readonly Row[] = [
    ['that does not expire', {}, 'good', null],
    ['that expires later', { expiresAt: after(NOW, DAY) }, 'good', null],
    ['that has expired since', { expiresAt: SINCE }, 'good', 'KEY_EXPIRED'],
    ['that had expired before', { expiresAt: BEFORE_SIGNING }, 'bad', 'KEY_EXPIRED'],
    ['that was replaced since', { revoked: { at: SINCE, reason: 1 } }, 'good', 'KEY_REVOKED'],
    ['that was retired since', { revoked: { at: SINCE, reason: 3 } }, 'good', 'KEY_REVOKED'],
    ['that had been retired before', { revoked: { at: BEFORE_SIGNING, reason: 3 } }, 'bad', 'KEY_REVOKED'],
    ['that is known to others since', { revoked: { at: SINCE, reason: 2 } }, 'bad', 'KEY_REVOKED'],
    ['that was revoked for no reason', { revoked: { at: SINCE, reason: 0 } }, 'bad', 'KEY_REVOKED'],
    ['that was revoked without a word', { revoked: { at: SINCE, reason: null } }, 'bad', 'KEY_REVOKED'],
    ['that will be revoked', { revoked: { at: after(NOW, 10 * DAY), reason: 3 } }, 'good', 'KEY_REVOKED'],
    ['without the flag for signing', { flags: 0x01 }, 'bad', 'KEY_UNUSABLE'],
    ['without any flags', { flags: null }, 'good', null],
    ['without a user id', { userId: null }, 'bad', 'KEY_UNUSABLE'],
    ['that a stranger certified', { certifiedBy: stranger }, 'bad', 'KEY_UNUSABLE'],
    ['that vouches for itself tomorrow', { at: after(NOW, DAY) }, 'bad', 'KEY_UNUSABLE'],
    ['whose self-signature was made after the signature', { at: SINCE }, 'good', null],
    ['whose self-signature expired', { hashed: [subpacket(3, number(60, 4))] }, 'bad', 'KEY_UNUSABLE'],
    [
      'whose self-signature nobody understands',
      { hashed: [notation('x@y.invalid', 'z', true)] },
      'bad',
      'KEY_UNUSABLE',
    ],
  ];
  for (const [what, options, verdict, code] of KEYS) {
    test(`${what} makes it ${verdict}, ${code ?? 'and is taken'}`, () =>
      expect(message(key, PAYLOAD), [certificate(key, options)], verdict, code));
  }

  test('may vouch for itself over SHA-1, as old release keys do, and not over MD5', async () => {
    await expect(message(rsa, PAYLOAD), [certificate(rsa, { hash: 'sha1' })], 'good', null);
    await expect(message(rsa, PAYLOAD), [certificate(rsa, { hash: 'md5' })], 'bad', 'KEY_UNUSABLE');
  });

  test('is not revoked by what a stranger says', async () => {
    const forged = certificate(stranger, { revoked: { at: SINCE, reason: 2 } });
    const [, , ...rest] = splitPackets(forged);
    const [own = Buffer.alloc(0), ...mine] = splitPackets(certificate(key));
    const [revocation = Buffer.alloc(0)] = splitPackets(forged).slice(1, 2);
    assert.ok(rest.length > 0);
    await expect(message(key, PAYLOAD), [Buffer.concat([own, revocation, ...mine])], 'good', null);
  });

  test('is judged by its newest self-signature', async () => {
    const [own = Buffer.alloc(0), ...old] = splitPackets(certificate(key, { expiresAt: SINCE }));
    const [, , prolonged = Buffer.alloc(0)] = splitPackets(
      certificate(key, { at: SINCE, expiresAt: after(NOW, DAY) }),
    );
    for (const order of [
      [...old, prolonged],
      [old[0] ?? Buffer.alloc(0), prolonged, ...old.slice(1)],
    ]) {
      await expect(message(key, PAYLOAD), [Buffer.concat([own, ...order])], 'good', null);
    }
  });
});

describe('a subkey', () => {
  type Row = readonly [
    what: string,
    options: Omit<SubkeyStatement, 'key'>,
    verdict: Verdict,
    code: RefusalCode | null,
  ];
  const SUBKEYS: readonly Row[] = [
    ['that is bound and has bound itself', {}, 'good', null],
    ['that is not bound', { boundBy: false }, 'bad', 'KEY_UNUSABLE'],
    ['that another key has bound', { boundBy: stranger }, 'bad', 'KEY_UNUSABLE'],
    ['that has not bound itself', { backedBy: false }, 'bad', 'KEY_UNUSABLE'],
    ['that another key has bound itself for', { backedBy: stranger }, 'bad', 'KEY_UNUSABLE'],
    ['without the flag for signing', { flags: 0x0c }, 'bad', 'KEY_UNUSABLE'],
    ['without any flags', { flags: null }, 'bad', 'KEY_UNUSABLE'],
    ['that has expired since', { expiresAt: SINCE }, 'good', 'KEY_EXPIRED'],
    ['that had expired before', { expiresAt: BEFORE_SIGNING }, 'bad', 'KEY_EXPIRED'],
    ['that was replaced since', { revoked: { at: SINCE, reason: 1 } }, 'good', 'KEY_REVOKED'],
    ['that had been replaced before', { revoked: { at: BEFORE_SIGNING, reason: 1 } }, 'bad', 'KEY_REVOKED'],
    ['that is known to others', { revoked: { at: SINCE, reason: 2 } }, 'bad', 'KEY_REVOKED'],
  ];
  for (const [what, options, verdict, code] of SUBKEYS) {
    test(`${what} makes it ${verdict}, ${code ?? 'and is taken'}`, () =>
      expect(
        message(subkey, PAYLOAD),
        [certificate(key, { subkeys: [{ key: subkey, ...options }] })],
        verdict,
        code,
      ));
  }

  const PRIMARIES: readonly (readonly [string, CertificateOptions, Verdict, RefusalCode | null])[] = [
    ['of a primary key that may not sign', { flags: 0x01 }, 'good', null],
    ['of a primary key that has expired since', { expiresAt: SINCE }, 'good', 'KEY_EXPIRED'],
    ['of a primary key that was revoked', { revoked: { at: SINCE, reason: 2 } }, 'bad', 'KEY_REVOKED'],
    ['of a primary key that nothing vouches for', { userId: null }, 'bad', 'KEY_UNUSABLE'],
  ];
  for (const [what, options, verdict, code] of PRIMARIES) {
    test(`${what} makes it ${verdict}, ${code ?? 'and is taken'}`, () =>
      expect(
        message(subkey, PAYLOAD),
        [certificate(key, { ...options, subkeys: [{ key: subkey }] })],
        verdict,
        code,
      ));
  }

  test('that is lost is told with its primary key when it has made the signature, and belongs to that key', async () => {
    const lost = { revoked: { at: SINCE, reason: 2 } };
    const refused = async (bytes: Buffer, ...certificates: Uint8Array[]) =>
      (await judge(bytes, ...certificates)).refusedSigner;
    const own = certificate(key, { ...lost, subkeys: [{ key: subkey }] });
    assert.equal(await refused(message(subkey, PAYLOAD), own), key.fingerprint);
    assert.equal(await refused(message(key, PAYLOAD), own), key.fingerprint);
    const expired = certificate(key, { expiresAt: BEFORE_SIGNING });
    assert.equal(await refused(message(key, PAYLOAD), expired), key.fingerprint);
    const changed = message(key, PAYLOAD);
    changed.writeUInt8(changed.readUInt8(changed.length - 1) ^ 1, changed.length - 1);
    assert.equal(await refused(changed, own), undefined);
    assert.equal(await refused(message(key, PAYLOAD), certificate(key)), undefined, 'a good one');
    const thiefs = certificate(stranger, { ...lost, subkeys: [{ key: subkey, backedBy: false }] });
    assert.equal(await refused(message(subkey, PAYLOAD), thiefs), undefined);
  });

  test('that a thief has adopted signs for its owner alone', async () => {
    const owners = certificate(key, { subkeys: [{ key: subkey }] });
    const thiefs = certificate(stranger, { subkeys: [{ key: subkey, backedBy: stranger }] });
    await expect(message(subkey, PAYLOAD), [thiefs], 'bad', 'KEY_UNUSABLE');
    for (const keyring of [
      [owners, thiefs],
      [thiefs, owners],
    ]) {
      const judged = await judge(message(subkey, PAYLOAD), ...keyring);
      assert.equal(judged.verdict, 'good', judged.refusal?.message);
      assert.equal(judged.fingerprint, key.fingerprint);
    }
  });

  test('that a thief has adopted is bad when its owner has revoked it', async () => {
    const owners = certificate(key, { subkeys: [{ key: subkey, revoked: { at: SINCE, reason: 2 } }] });
    const thiefs = certificate(stranger, { subkeys: [{ key: subkey, backedBy: false }] });
    const judged = await judge(message(subkey, PAYLOAD), owners, thiefs);
    assert.equal(judged.verdict, 'bad');
  });
});

describe('any bytes', () => {
  const certificates = [certificate(key), certificate(rsa)];
  const keyring = createKeyring(certificates);
  const SEEDS = [
    message(key, PAYLOAD),
    message(rsa, PAYLOAD, { version: 3 }),
    compressed(message(key, PAYLOAD)),
    compressed(message(rsa, PAYLOAD), 'zlib'),
    Buffer.concat([Buffer.from('\0simple-signing\n'), message(key, PAYLOAD)]),
  ];
  const claimOf = async (bytes: Uint8Array) => {
    const judged = await examineMessage(bytes, keyring, NOW);
    if (judged.verdict !== 'good') assert.notEqual(judged.refusal, null);
    return judged.verdict === 'good' ? judged.claim?.dockerReference : null;
  };

  test('have an answer', async () => {
    const start = fc.constantFrom(0x88, 0x90, 0xa3, 0xc2, 0xc4, 0xc8, 0x00);
    const bytes = fc.oneof(
      fc.uint8Array({ maxLength: 300 }),
      fc
        .tuple(start, fc.uint8Array({ maxLength: 300 }))
        .map(([first, rest]) => Buffer.from([first, ...rest])),
      fc
        .uint8Array({ maxLength: 300 })
        .map((rest) => packet(8, Buffer.concat([Buffer.of(3), Buffer.from('BZh9'), rest]), 'end')),
    );
    await fc.assert(
      fc.asyncProperty(bytes, async (given) => assert.equal(await claimOf(given), null)),
      { numRuns: 1000 },
    );
  });

  test('that were a good signature and were changed are never good for another claim', async () => {
    const change = fc.record({
      at: fc.nat(),
      to: fc.nat({ max: 255 }),
      kind: fc.constantFrom('set', 'drop', 'insert'),
    });
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...SEEDS),
        fc.array(change, { minLength: 1, maxLength: 3 }),
        async (seed, changes) => {
          const bytes = [...seed];
          for (const { at, to, kind } of changes) {
            if (kind === 'set') bytes[at % bytes.length] = to;
            else if (kind === 'drop') bytes.splice(at % bytes.length, 1);
            else bytes.splice(at % bytes.length, 0, to);
          }
          const claim = await claimOf(Buffer.from(bytes));
          assert.ok(claim === null || claim === 'registry.example/team/app:v1', `${claim}`);
        },
      ),
      { numRuns: 1500 },
    );
  });

  test('in a keyring harm nobody', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 200 }), fc.nat(), async (junk, at) => {
        const spoilt = Buffer.from(certificate(stranger));
        spoilt[at % spoilt.length] = junk[0] ?? 0;
        const ring = createKeyring([junk, spoilt, ...certificates]);
        assert.equal((await examineMessage(message(key, PAYLOAD), ring, NOW)).verdict, 'good');
        const { verdict } = await examineMessage(message(stranger, PAYLOAD), ring, NOW);
        assert.ok(['good', 'no-key', 'bad', 'unsupported'].includes(verdict));
      }),
      { numRuns: 200 },
    );
  });
});

/** Packets of a certificate as they were written, each with its header. */
function splitPackets(bytes: Buffer): Buffer[] {
  const packets: Buffer[] = [];
  for (let at = 0; at < bytes.length; ) {
    const first = bytes[at + 1] ?? 0;
    const size = first < 192 ? 2 + first : 3 + (first - 192) * 256 + (bytes[at + 2] ?? 0) + 192;
    packets.push(bytes.subarray(at, at + size));
    at += size;
  }
  return packets;
}

/** The number whose cube begins as PKCS#1 padding with one `ff` and this SHA-256 digest, in 2048 bits. */
function forgedCube(digest: Uint8Array): Uint8Array {
  const start = Buffer.concat([
    Buffer.from('0001ff00', 'hex'),
    Buffer.from('3031300d060960864801650304020105000420', 'hex'),
    digest,
  ]);
  const wanted = BigInt(`0x${start.toString('hex')}`) << BigInt((256 - start.length) * 8);
  let low = 0n;
  let high = 1n << 700n;
  while (low < high) {
    const middle = (low + high) >> 1n;
    if (middle ** 3n < wanted) low = middle + 1n;
    else high = middle;
  }
  const cube = Buffer.from((low ** 3n).toString(16).padStart(512, '0'), 'hex');
  assert.deepEqual(cube.subarray(0, start.length), start, 'the forgery is what a careless verifier takes');
  const digits = low.toString(16);
  return Buffer.from(digits.padStart(digits.length + (digits.length % 2), '0'), 'hex');
}
