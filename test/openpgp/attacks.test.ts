// What an attacker would try: to have a signature taken that the owner of the key did not make, and to bend a
// certificate that is registered by sending another.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import type { RefusalCode } from '../../src/domain/errors.ts';
import type { KeyDetails } from '../../src/domain/key.ts';
import type { Verdict } from '../../src/domain/verdict.ts';
import { cleanCertificates } from '../../src/openpgp/certificates.ts';
import { createKeyring } from '../../src/openpgp/keyring.ts';
import { examineMessage } from '../../src/openpgp/verifier.ts';
import {
  backSignature,
  binding,
  embedded,
  FLAGS,
  issuer,
  keyExpiresAfter,
  keyFlags,
  onKey,
  onUserId,
  overSubkey,
  packet,
  primaryPacket,
  revocationReason,
  signatureBody,
  signatureExpiresAfter,
  simpleCertificate,
  subkeyPacket,
  subpacket,
  T0,
  TAGS,
  TYPES,
  uint32,
  userIdPacket,
} from './certificate-writer.ts';
import { certificate, type MessageOptions, makeKey, message, mpi } from './packet-writer.ts';
import { SHARED_KEY_ID, TWINS } from './twin-keys.ts';
import { numbersOf, writtenKey } from './written-key.ts';

const NOW = new Date('2025-01-01T00:00:00Z');
const DAY_S = 86_400;
const MADE = new Date(T0 * 1000);
const PAYLOAD = Buffer.from(
  JSON.stringify({
    critical: {
      identity: { 'docker-reference': 'registry.example/team/app:v1' },
      image: { 'docker-manifest-digest': `sha256:${'0f'.repeat(32)}` },
      type: 'atomic container signature',
    },
    optional: {},
  }),
);

const join = (...chunks: readonly Uint8Array[]) => Buffer.concat(chunks);
const at = (seconds: number) => new Date(seconds * 1000);

const owner = makeKey('ed25519', MADE);
const sub = makeKey('ed25519', at(T0 + 10));
const thief = makeKey('ed25519', MADE);
const [key, subkey, stranger] = [writtenKey(owner), writtenKey(sub), writtenKey(thief)];
const base = simpleCertificate(key);

type Found = readonly [verdict: Verdict, code: RefusalCode | null];

async function judge(bytes: Uint8Array, ...certificates: readonly Uint8Array[]): Promise<Found> {
  const { verdict, refusal } = await examineMessage(bytes, createKeyring(certificates), NOW);
  return [verdict, refusal?.code ?? null];
}

describe('the numbers of a signature', () => {
  const ecdsa = makeKey('nistp256', MADE);
  const rsa = makeKey('rsa2048', MADE);
  const ORDER_P256 = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;
  const ORDER_ED25519 = 2n ** 252n + 27742317777372353535851937790883648493n;
  const { n = '' } = rsa.publicKey.export({ format: 'jwk' });
  const modulus = BigInt(`0x${Buffer.from(n, 'base64url').toString('hex')}`);

  const toNumber = (bytes: Uint8Array) => BigInt(`0x0${Buffer.from(bytes).toString('hex')}`);
  const toBytes = (value: bigint) => {
    const digits = value.toString(16);
    return Buffer.from(digits.padStart(digits.length + (digits.length % 2), '0'), 'hex');
  };
  const reversed = (bytes: Uint8Array) => Buffer.from(bytes).reverse();
  /** With a zero octet ahead, and a length that says so. */
  const withPadding = (bytes: Uint8Array) => {
    const bits = (bytes.length + 1) * 8;
    return join(Buffer.of(bits >> 8, bits & 0xff, 0), bytes);
  };

  type Edit = readonly [what: string, edit: (r: Uint8Array, s: Uint8Array) => Uint8Array];
  const ZERO = mpi(new Uint8Array());
  const TWO: readonly Edit[] = [
    ['r is zero', (_, s) => join(ZERO, mpi(s))],
    ['s is zero', (r) => join(mpi(r), ZERO)],
    ['both are zero', () => join(ZERO, ZERO)],
    ['both are one', () => join(mpi(Buffer.of(1)), mpi(Buffer.of(1)))],
    ['they are swapped', (r, s) => join(mpi(s), mpi(r))],
    ['r has a zero ahead', (r, s) => join(withPadding(r), mpi(s))],
    ['s has a zero ahead', (r, s) => join(mpi(r), withPadding(s))],
    ['r is cut', (r, s) => join(mpi(r.subarray(0, -1)), mpi(s))],
    ['r is longer', (r, s) => join(mpi(join(r, Buffer.of(1))), mpi(s))],
  ];
  const ECDSA: readonly Edit[] = [
    ...TWO,
    ['r is the order', (_, s) => join(mpi(toBytes(ORDER_P256)), mpi(s))],
    ['s is the order', (r) => join(mpi(r), mpi(toBytes(ORDER_P256)))],
    ['r is larger by the order', (r, s) => join(mpi(toBytes(toNumber(r) + ORDER_P256)), mpi(s))],
    ['s is larger by the order', (r, s) => join(mpi(r), mpi(toBytes(toNumber(s) + ORDER_P256)))],
  ];
  const ED25519: readonly Edit[] = [
    ...TWO,
    [
      's is larger by the order',
      (r, s) => join(mpi(r), mpi(reversed(toBytes(toNumber(reversed(s)) + ORDER_ED25519)))),
    ],
    ['r is the neutral point', (_, s) => join(mpi(join(Buffer.of(1), Buffer.alloc(31))), mpi(s))],
  ];
  const RSA: readonly Edit[] = [
    ['it is zero', () => ZERO],
    ['it is one', () => mpi(Buffer.of(1))],
    ['it is the modulus', () => mpi(toBytes(modulus))],
    ['it is the modulus less one', () => mpi(toBytes(modulus - 1n))],
    ['it is the modulus less the right one', (s) => mpi(toBytes(modulus - toNumber(s)))],
    ['it is larger by the modulus', (s) => mpi(toBytes(toNumber(s) + modulus))],
    ['it has a zero ahead', (s) => withPadding(s)],
  ];
  for (const [signer, edits] of [
    [ecdsa, ECDSA],
    [owner, ED25519],
    [rsa, RSA],
  ] as const) {
    for (const [what, edit] of edits) {
      test(`of the algorithm ${signer.algorithm} are bad when ${what}`, async () => {
        const edited = (right: Buffer) => {
          const [r = right, s = right] = numbersOf(right);
          return edit(r, s);
        };
        const [verdict] = await judge(message(signer, PAYLOAD, { numbers: edited }), certificate(signer));
        assert.ok(['bad', 'unsupported'].includes(verdict), verdict);
        if (signer !== rsa) return;
        const old: MessageOptions = { version: 3, numbers: edited };
        assert.deepEqual(await judge(message(signer, PAYLOAD, old), certificate(signer)), [
          'bad',
          'SIGNATURE_BAD',
        ]);
      });
    }
    test(`of the algorithm ${signer.algorithm} are unreadable when there is one too many or too few`, async () => {
      const more = (right: Buffer) => join(right, mpi(Buffer.of(1)));
      const fewer = (right: Buffer) => numbersOf(right).slice(1).map(mpi)[0] ?? Buffer.alloc(0);
      for (const numbers of [more, fewer]) {
        const judged = await judge(message(signer, PAYLOAD, { numbers }), certificate(signer));
        assert.deepEqual(judged, ['unreadable', 'STRUCTURE_INVALID']);
      }
    });
  }

  test('of ECDSA count over hashes as long as the curve alone, as gpg has it', async () => {
    const long = makeKey('nistp384', MADE);
    for (const [hash, wanted] of [
      ['sha256', ['unsupported', 'ALGORITHM_UNSUPPORTED']],
      ['sha384', ['good', null]],
      ['sha512', ['good', null]],
    ] as const) {
      assert.deepEqual(await judge(message(long, PAYLOAD, { hash }), certificate(long)), wanted);
      const selfSigned = certificate(long, { hash });
      assert.equal((await judge(message(long, PAYLOAD), selfSigned))[0] === 'good', hash !== 'sha256');
    }
  });

  test('of a key with another number of the same algorithm are bad', async () => {
    const bytes = message({ ...rsa, algorithm: 3 }, PAYLOAD);
    assert.deepEqual(await judge(bytes, certificate(rsa)), ['bad', 'SIGNATURE_BAD']);
    const renamed = writtenKey({ ...rsa, algorithm: 3 });
    const selfSigned = join(primaryPacket(renamed), userIdPacket('a'), onUserId(renamed, 'a'));
    assert.deepEqual(await judge(message(rsa, PAYLOAD), selfSigned), ['bad', 'KEY_UNUSABLE']);
  });

  test('are not checked with a point that is not on its curve', () => {
    const body = Buffer.from(ecdsa.body);
    body[body.length - 1] = (body.at(-1) ?? 0) ^ 1;
    const spoilt = certificate(ecdsa);
    const here = spoilt.indexOf(ecdsa.body);
    body.copy(spoilt, here);
    const [result] = cleanCertificates(spoilt, new Map(), NOW);
    assert.equal(result?.kind === 'refused' && result.code, 'KEY_UNUSABLE');
  });
});

describe('a certificate in the keyring', () => {
  const [one, other] = TWINS;

  test('is found by its fingerprint where another has the same key ID', async () => {
    assert.deepEqual([one.keyId, other.keyId], [SHARED_KEY_ID, SHARED_KEY_ID]);
    assert.notEqual(one.fingerprint, other.fingerprint);
    for (const order of [
      [one, other],
      [other, one],
    ] as const) {
      const keyring = createKeyring(order.map((each) => certificate(each)));
      for (const signer of TWINS) {
        // version 3 names its key by the key ID alone
        for (const version of [3, 4] as const) {
          const judged = await examineMessage(message(signer, PAYLOAD, { version }), keyring, NOW);
          assert.equal(judged.verdict, 'good', judged.refusal?.message);
          assert.equal(judged.fingerprint, signer.fingerprint);
        }
      }
    }
  });

  test('does not speak for another of the same key ID', async () => {
    for (const version of [3, 4] as const) {
      const judged = await judge(message(one, PAYLOAD, { version }), certificate(other));
      assert.deepEqual(judged, version === 3 ? ['bad', 'SIGNATURE_BAD'] : ['no-key', 'KEY_UNKNOWN']);
    }
    const revoked = certificate(other, { revoked: { at: NOW, reason: 2 } });
    assert.deepEqual(await judge(message(one, PAYLOAD, { version: 3 }), revoked, certificate(one)), [
      'good',
      null,
    ]);
  });

  test('is revoked by its own revocation, not by one of the same key ID', () => {
    const [mine, its] = TWINS.map(writtenKey) as [typeof key, typeof key]; // of two there are two
    const known = cleanKeys(join(simpleCertificate(mine), simpleCertificate(its)));
    const revocation = onKey(its, { type: TYPES.keyRevocation, createdAt: T0 + 500 });
    const [result] = cleanCertificates(revocation, known, NOW);
    assert.equal(result?.kind === 'clean' && result.details.fingerprint, its.fingerprint);
    const forged = onKey(mine, { type: TYPES.keyRevocation, createdAt: T0 + 500 }, its);
    const [merged] = cleanCertificates(join(simpleCertificate(mine), forged), known, NOW);
    assert.equal(merged?.kind === 'clean' && merged.details.revokedAt, null);
  });

  test('brings nobody a subkey that was given away: its owner has revoked it, and it is bound to another key', async () => {
    const revoked = (reason: number) =>
      join(
        base,
        subkeyPacket(subkey),
        binding(key, subkey, { createdAt: subkey.createdAt }),
        packet(
          TAGS.signature,
          signatureBody(key, overSubkey(key, subkey), {
            type: TYPES.subkeyRevocation,
            createdAt: T0 + 20 * DAY_S,
            hashed: [revocationReason(reason)],
          }),
        ),
      );
    const adopted = join(
      simpleCertificate(stranger),
      subkeyPacket(subkey),
      binding(stranger, subkey, { createdAt: subkey.createdAt }),
    );
    const signed = message(sub, PAYLOAD);
    for (const [reason, wanted] of [
      [2, ['bad', 'KEY_REVOKED']],
      [1, ['good', null]],
    ] as const) {
      assert.deepEqual(await judge(signed, revoked(reason), adopted), wanted);
      assert.deepEqual(await judge(signed, adopted, revoked(reason)), wanted);
    }
  });

  test('loses no subkey because a stranger says that it is revoked', async () => {
    const owners = join(base, subkeyPacket(subkey), binding(key, subkey, { createdAt: subkey.createdAt }));
    const body = signatureBody(stranger, overSubkey(stranger, subkey), { type: TYPES.subkeyRevocation });
    const thiefs = join(simpleCertificate(stranger), subkeyPacket(subkey), packet(TAGS.signature, body));
    for (const order of [
      [owners, thiefs],
      [thiefs, owners],
    ]) {
      assert.deepEqual(await judge(message(sub, PAYLOAD), ...order), ['good', null]);
    }
  });

  test('does not make its key the maker of what the key signed as something else', async () => {
    const asDocument = signatureBody(subkey, overSubkey(stranger, subkey), { type: 0x00 });
    const asBinding = signatureBody(subkey, overSubkey(stranger, subkey), { type: TYPES.binding });
    for (const back of [asDocument, asBinding]) {
      const adopted = join(
        simpleCertificate(stranger),
        subkeyPacket(subkey),
        binding(stranger, subkey, { createdAt: subkey.createdAt, back }),
      );
      assert.deepEqual(await judge(message(sub, PAYLOAD), adopted), ['bad', 'KEY_UNUSABLE']);
    }
  });

  const bound = (options: Parameters<typeof binding>[2], primary = base) =>
    join(primary, subkeyPacket(subkey), binding(key, subkey, { createdAt: subkey.createdAt, ...options }));
  const certifyOnly = simpleCertificate(key, 'alice', { flags: FLAGS.certify });
  const critical = (type: number) => subpacket(type | 0x80, Uint8Array.of(1, 2, 3));
  const later = NOW.getTime() / 1000 + DAY_S;
  const good: Found = ['good', null];
  const unusable: Found = ['bad', 'KEY_UNUSABLE'];
  const unhashed = (...more: readonly Uint8Array[]) => [issuer(key.keyId), ...more];
  const back = embedded(backSignature(key, subkey, { createdAt: subkey.createdAt }));

  const SUBKEYS: readonly (readonly [what: string, certificate: Uint8Array, found: Found])[] = [
    ['of a primary key that may only certify signs', bound({}, certifyOnly), good],
    ['that is bound tomorrow does not sign', bound({ createdAt: later }), unusable],
    ['whose binding has expired does not sign', bound({ hashed: [signatureExpiresAfter(60)] }), unusable],
    ['that never expires signs', bound({ hashed: [keyExpiresAfter(0)] }), good],
    ['without flags does not sign', bound({ flags: null }), unusable],
    ['with two sets of flags does not sign', bound({ hashed: [keyFlags(FLAGS.encrypt)] }), unusable],
    ['bound with something critical and unknown does not sign', bound({ hashed: [critical(60)] }), unusable],
    ['bound with a critical revoker does not sign', bound({ hashed: [critical(12)] }), unusable],
    ['bound with something unknown signs', bound({ hashed: [subpacket(60, Uint8Array.of(1))] }), good],
    [
      'beside whose binding a stranger put something critical signs',
      bound({ back: null, unhashed: unhashed(back, critical(60)) }),
      good,
    ],
    ['that agrees outside of what is hashed signs', bound({ back: null, unhashed: unhashed(back) }), good],
    ['that agrees in what is hashed signs', bound({ isBackHashed: true }), good],
    [
      'that agrees beside other words signs',
      bound({ back: null, unhashed: unhashed(embedded(Buffer.alloc(60, 4)), back) }),
      good,
    ],
    [
      'whose flags stand outside of what is hashed does not sign',
      bound({ flags: null, unhashed: unhashed(keyFlags(FLAGS.sign), back) }),
      unusable,
    ],
    [
      'whose end stands outside of what is hashed signs',
      bound({ back: null, unhashed: unhashed(keyExpiresAfter(1), signatureExpiresAfter(1), back) }),
      good,
    ],
    [
      'that agreed before it was made does not sign',
      bound({ back: backSignature(key, subkey, { createdAt: T0 }) }),
      unusable,
    ],
  ];
  for (const [what, bytes, wanted] of SUBKEYS) {
    test(`a subkey ${what}`, async () => {
      assert.deepEqual(await judge(message(sub, PAYLOAD), bytes), wanted);
      for (const cleaned of cleanKeys(bytes).values()) {
        const again = await judge(message(sub, PAYLOAD), cleaned);
        assert.deepEqual(
          again,
          wanted[0] === 'bad' && again[0] === 'no-key' ? ['no-key', 'KEY_UNKNOWN'] : wanted,
        );
      }
    });
  }

  const withUserId = (options: Parameters<typeof onUserId>[2]) => simpleCertificate(key, 'alice', options);
  const alone = (...packets: readonly Uint8Array[]) => join(primaryPacket(key), ...packets);
  const revokedUserId = join(
    userIdPacket('alice'),
    onUserId(key, 'alice'),
    onUserId(key, 'alice', { type: TYPES.certificationRevocation, createdAt: T0 + 99, flags: null }),
  );
  const direct = onKey(key, { type: TYPES.direct, hashed: [keyFlags(FLAGS.certifyAndSign)] });
  const named = (name: string, options: Parameters<typeof onUserId>[2]) =>
    join(userIdPacket(name), onUserId(key, name, options));
  const twoOfOneSecond = [
    named('a', { hashed: [keyExpiresAfter(3600)] }),
    named('b', { hashed: [keyExpiresAfter(DAY_S * 9999)] }),
    named('c', { flags: FLAGS.certify, hashed: [keyExpiresAfter(DAY_S * 9999)] }),
  ];
  const oldRevocation = onKey(key, { type: TYPES.keyRevocation, hashed: [critical(60)] });

  const PRIMARIES: readonly (readonly [what: string, certificate: Uint8Array, found: Found])[] = [
    ['that never expires signs', withUserId({ hashed: [keyExpiresAfter(0)] }), good],
    [
      'whose flags are empty does not sign',
      withUserId({ flags: null, hashed: [subpacket(27, new Uint8Array())] }),
      unusable,
    ],
    [
      'whose flags stand outside of what is hashed may do everything',
      withUserId({ flags: null, unhashed: unhashed(keyFlags(0)) }),
      good,
    ],
    ['that may only certify does not sign', certifyOnly, unusable],
    ['certified before it was made does not sign', withUserId({ createdAt: T0 - 1 }), unusable],
    [
      'certified with something critical and unknown does not sign',
      withUserId({ hashed: [critical(60)] }),
      unusable,
    ],
    [
      'beside whose certification a stranger put something critical signs',
      withUserId({ unhashed: unhashed(critical(60)) }),
      good,
    ],
    ['certified with two times does not sign', withUserId({ hashed: [subpacket(2, uint32(T0))] }), unusable],
    ['certified by Ed25519 over SHA-1 does not sign', withUserId({ hash: 'sha1' }), unusable],
    [
      'whose user ID is revoked does not sign, whatever it says of itself',
      alone(direct, revokedUserId),
      unusable,
    ],
    ['that speaks for itself but has no user ID does not sign', alone(direct), unusable],
    [
      'with two words of one second has the shorter life',
      alone(...twoOfOneSecond.slice(0, 2)),
      ['bad', 'KEY_EXPIRED'],
    ],
    ['with two words of one second has the lesser right', alone(...twoOfOneSecond.slice(1)), unusable],
    [
      'is revoked by what it says with something critical and unknown',
      join(base, oldRevocation),
      ['bad', 'KEY_REVOKED'],
    ],
  ];
  for (const [what, bytes, wanted] of PRIMARIES) {
    test(`a primary key ${what}`, async () => {
      assert.deepEqual(await judge(message(owner, PAYLOAD), bytes), wanted);
      for (const cleaned of cleanKeys(bytes).values()) {
        assert.deepEqual(await judge(message(owner, PAYLOAD), cleaned), wanted);
      }
    });
  }

  test('is lost to a revocation that gives two reasons, one of them a soft one', async () => {
    for (const hashed of [
      [revocationReason(2), revocationReason(3)],
      [revocationReason(3), revocationReason(2)],
    ]) {
      const revocation = onKey(key, { type: TYPES.keyRevocation, createdAt: NOW.getTime() / 1000, hashed });
      assert.deepEqual(await judge(message(owner, PAYLOAD), join(base, revocation)), ['bad', 'KEY_REVOKED']);
    }
  });

  test('does not take what was signed before the subkey was made, though after the primary key', async () => {
    const early = message(sub, PAYLOAD, { at: at(subkey.createdAt - 1) });
    assert.deepEqual(await judge(early, bound({ createdAt: subkey.createdAt })), unusable);
  });

  test('that a revocation of version 3 has ended verifies nothing', async () => {
    const rsa = makeKey('rsa2048', MADE);
    const revocation = onKey(writtenKey(rsa), { type: TYPES.keyRevocation, version: 3 });
    const judged = await judge(message(rsa, PAYLOAD), join(simpleCertificate(writtenKey(rsa)), revocation));
    assert.deepEqual(judged, ['bad', 'KEY_REVOKED']);
  });
});

/** Those of the file that are taken, by fingerprint. */
function cleanKeys(bytes: Uint8Array): ReadonlyMap<string, Uint8Array> {
  return new Map(
    cleanCertificates(bytes, new Map(), NOW).flatMap((result) =>
      result.kind === 'clean' ? [[result.details.fingerprint, result.certificate] as const] : [],
    ),
  );
}

describe('a certificate that is registered', () => {
  const retired = makeKey('ed25519', MADE);
  const old = writtenKey(retired);
  const subkeyRevocation = signatureBody(key, overSubkey(key, old), {
    type: TYPES.subkeyRevocation,
    createdAt: T0 + 4000,
  });
  const newest = { createdAt: T0 + 5000, hashed: [keyExpiresAfter(DAY_S * 2000)] };
  const newestBinding = { createdAt: subkey.createdAt, hashed: [keyExpiresAfter(DAY_S * 1500)] };
  /** All that the owner has ever said, the latest of it less than the earlier: a shorter life, revocations. */
  const genuine: readonly Uint8Array[] = [
    primaryPacket(key),
    onKey(key, { type: TYPES.direct, createdAt: T0 + 100, hashed: [keyExpiresAfter(DAY_S * 9000)] }),
    onKey(key, { type: TYPES.direct, createdAt: T0 + 5000 }),
    userIdPacket('alice'),
    onUserId(key, 'alice', { createdAt: T0 + 100, hashed: [keyExpiresAfter(DAY_S * 9000)] }),
    onUserId(key, 'alice', newest),
    userIdPacket('left'),
    onUserId(key, 'left', { createdAt: T0 + 100 }),
    onUserId(key, 'left', { type: TYPES.certificationRevocation, createdAt: T0 + 3000, flags: null }),
    subkeyPacket(subkey),
    binding(key, subkey, newestBinding),
    subkeyPacket(old),
    binding(key, old, { createdAt: T0 + 100 }),
    packet(TAGS.signature, subkeyRevocation),
  ];
  const keyRevocation = onKey(key, {
    type: TYPES.keyRevocation,
    createdAt: T0 + 6000,
    hashed: [revocationReason(3)],
  });

  /** What everybody can write: his own signatures in the owner's name, and the owner's with other words around. */
  const others: readonly Uint8Array[] = [
    ...genuine,
    onKey(key, { type: TYPES.keyRevocation, unhashed: [issuer(key.keyId)] }, stranger),
    onKey(key, { type: TYPES.direct, createdAt: T0 + 9000, unhashed: [issuer(key.keyId)] }, stranger),
    onUserId(key, 'alice', { createdAt: T0 + 9000, unhashed: [issuer(key.keyId)] }, stranger),
    onUserId(key, 'alice', { ...newest, unhashed: [issuer(key.keyId), keyExpiresAfter(0), keyFlags(0xff)] }),
    onUserId(key, 'alice', { ...newest, unhashed: [issuer(stranger.keyId)] }),
    onUserId(key, 'alice', { ...newest, unhashed: [subpacket(60 | 0x80, Uint8Array.of(1))] }),
    onUserId(stranger, 'alice', { createdAt: T0 + 9000 }, key),
    userIdPacket('mallory'),
    onUserId(key, 'mallory', { createdAt: T0 + 9000, unhashed: [issuer(key.keyId)] }, stranger),
    subkeyPacket(stranger),
    binding(stranger, stranger, { createdAt: T0 + 9000 }),
    binding(key, stranger, { createdAt: T0 + 9000, forged: [Buffer.alloc(32, 9), Buffer.alloc(32, 9)] }),
    binding(key, subkey, { ...newestBinding, back: null }),
    binding(key, subkey, { ...newestBinding, back: null, unhashed: [embedded(Buffer.alloc(90, 4))] }),
    binding(stranger, subkey, { createdAt: T0 + DAY_S * 30 }),
    primaryPacket(stranger),
    packet(TAGS.signature, signatureBody(key, [PAYLOAD], { type: 0 })),
  ];

  test('keeps what was said after the time that our clock now shows', () => {
    const known = cleanKeys(join(...genuine));
    const clockSetBack = at(T0 + 60);
    const [result] = cleanCertificates(
      simpleCertificate(key, 'alice', { createdAt: T0 }),
      known,
      clockSetBack,
    );
    assert.ok(result?.kind === 'clean');
    assert.deepEqual(result.certificate, known.get(key.fingerprint));
  });

  test('has the agreement of a subkey from whichever copy of the binding brings it', () => {
    const stripped = binding(key, subkey, { ...newestBinding, back: null });
    const whole = binding(key, subkey, newestBinding);
    for (const order of [
      [stripped, whole],
      [whole, stripped],
    ]) {
      const [result] = cleanCertificates(join(base, subkeyPacket(subkey), ...order), new Map(), NOW);
      assert.ok(result?.kind === 'clean');
      assert.deepEqual(
        result.details.subkeys.map(({ canSign }) => canSign),
        [true],
      );
    }
  });

  for (const [what, registered] of [
    ['in force', join(...genuine)],
    ['revoked', join(...genuine, keyRevocation)],
  ] as const) {
    test(`and ${what} is bent by nothing that others send`, () => {
      const known = cleanKeys(registered);
      const [before] = cleanCertificates(registered, new Map(), NOW);
      assert.ok(before?.kind === 'clean');
      assertShape(before.details, what === 'revoked');
      const change = fc.record({ at: fc.nat(), byte: fc.nat({ max: 255 }) });
      const piece = fc
        .tuple(fc.constantFrom(...others), fc.option(change))
        .map(([bytes, edit]) => (edit === null ? bytes : withByte(bytes, edit.at, edit.byte)));
      fc.assert(
        fc.property(fc.array(piece, { maxLength: 25 }), (pieces) => {
          const file = join(primaryPacket(key), ...pieces);
          for (const result of cleanCertificates(file, known, NOW)) {
            if (result.kind === 'refused' || result.details.fingerprint !== key.fingerprint) continue;
            // warnings are about the file as it was sent, which gpg may stop at
            assert.deepEqual({ ...result, warnings: before.warnings }, before);
          }
        }),
        { numRuns: 400 },
      );
    });
  }

  function assertShape({ userIds, subkeys, expiresAt, revokedAt }: KeyDetails, isRevoked: boolean): void {
    assert.deepEqual(userIds, ['alice']);
    assert.deepEqual(
      subkeys.map((each) => [each.fingerprint, each.revokedAt, each.expiresAt]),
      [
        [old.fingerprint, at(T0 + 4000), null],
        [subkey.fingerprint, null, at(subkey.createdAt + DAY_S * 1500)],
      ],
    );
    assert.deepEqual(expiresAt, at(T0 + DAY_S * 2000));
    assert.deepEqual(revokedAt, isRevoked ? at(T0 + 6000) : null);
  }

  function withByte(bytes: Uint8Array, position: number, byte: number): Uint8Array {
    const copy = Uint8Array.from(bytes);
    copy[position % copy.length] = byte;
    return copy;
  }
});
