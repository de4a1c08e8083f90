// What is kept of certificates that are right, wrong, poisoned or in pieces.
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { readKey } from 'openpgp';
import { isLookasideError } from '../../src/domain/errors.ts';
import type { KeyDetails } from '../../src/domain/key.ts';
import {
  MAX_CERTIFICATE_BYTES,
  MAX_CERTIFICATES,
  MAX_CERTIFICATES_BYTES,
  MAX_SUBKEYS,
  MAX_USER_ID_BYTES,
  MAX_USER_IDS,
} from '../../src/domain/limits.ts';
import type { CleanedCertificate } from '../../src/domain/ports.ts';
import { armorPublicKey } from '../../src/openpgp/armor.ts';
import { cleanCertificates } from '../../src/openpgp/certificates.ts';
import { count, longTest } from '../faults/promise.ts';
import {
  backSignature,
  binding,
  embedded,
  FLAGS,
  issuer,
  type KeyKind,
  keyExpiresAfter,
  keyOf,
  makeKey,
  mpi,
  onKey,
  onUserId,
  overKey,
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
  TAG_USER_ATTRIBUTE,
  TAGS,
  TYPES,
  uint16,
  userIdPacket,
  type WrittenKey,
} from './certificate-writer.ts';

import { KEY_FILES, KEY_FILES_FINGERPRINT } from './other-versions.ts';

const NOW = new Date((T0 + 365 * 86_400) * 1000);
const EMPTY: ReadonlyMap<string, Uint8Array> = new Map();

const join = (...chunks: readonly Uint8Array[]): Uint8Array => Buffer.concat(chunks);
const at = (seconds: number) => new Date(seconds * 1000);

type Clean = Extract<CleanedCertificate, { kind: 'clean' }>;
type Refused = Extract<CleanedCertificate, { kind: 'refused' }>;

async function cleanAll(
  bytes: Uint8Array,
  keyring = EMPTY,
  now = NOW,
): Promise<readonly CleanedCertificate[]> {
  return cleanCertificates(bytes, keyring, now);
}

async function cleanOne(bytes: Uint8Array, keyring = EMPTY, now = NOW): Promise<Clean> {
  const [result, another] = await cleanAll(bytes, keyring, now);
  assert.equal(another, undefined);
  if (result?.kind !== 'clean') assert.fail(`refused: ${result?.code} ${result?.message}`);
  return result;
}

async function details(bytes: Uint8Array, keyring = EMPTY, now = NOW): Promise<KeyDetails> {
  return (await cleanOne(bytes, keyring, now)).details;
}

async function refusal(bytes: Uint8Array, keyring = EMPTY, now = NOW): Promise<Refused> {
  const [result, another] = await cleanAll(bytes, keyring, now);
  assert.equal(another, undefined);
  if (result?.kind !== 'refused') assert.fail('it was taken');
  return result;
}

function keyringOf(...certificates: readonly Clean[]): ReadonlyMap<string, Uint8Array> {
  return new Map(certificates.map(({ details, certificate }) => [details.fingerprint, certificate]));
}

const withoutLines = (text: string, pattern: RegExp) =>
  text
    .split('\n')
    .filter((line) => !pattern.test(line))
    .join('\n');

describe('a certificate as it should be', () => {
  for (const kind of [
    'ed25519',
    'nistp256',
    'nistp384',
    'nistp521',
    'rsa2048',
    'rsa3072',
    'rsa4096',
  ] as const) {
    // to make two keys of 4096 bits takes longer than all that is checked here
    const testOf = kind === 'rsa4096' ? longTest : test;
    testOf(`of ${kind} is taken and described, with a signing subkey of that kind`, async () => {
      const key = makeKey(kind);
      const subkey = makeKey(kind, T0 + 10);
      const { details, certificate } = await cleanOne(
        join(simpleCertificate(key, 'Alice <a@x>'), subkeyPacket(subkey), binding(key, subkey)),
      );
      const always = { algorithm: kind, expiresAt: null, revokedAt: null, canSign: true };
      assert.deepEqual(details, {
        ...always,
        fingerprint: key.fingerprint,
        createdAt: at(T0),
        userIds: ['Alice <a@x>'],
        subkeys: [{ ...always, fingerprint: subkey.fingerprint, createdAt: at(T0 + 10) }],
      });
      const loaded = await readKey({ binaryKey: certificate });
      assert.equal(loaded.getFingerprint().toUpperCase(), key.fingerprint);
      const signing = await loaded.getSigningKey(undefined, NOW);
      assert.ok([key.fingerprint, subkey.fingerprint].includes(signing.getFingerprint().toUpperCase()));
    });
  }

  test('comes out the same when it comes in again, and merged with itself', async () => {
    const key = makeKey();
    const subkey = makeKey('nistp256');
    const once = await cleanOne(join(simpleCertificate(key), subkeyPacket(subkey), binding(key, subkey)));
    const again = await cleanOne(once.certificate);
    assert.deepEqual(again, once);
    assert.deepEqual(await cleanOne(once.certificate, keyringOf(once)), once);
  });

  test('is of memory of its own, so that it can go from thread to thread', async () => {
    const { certificate } = await cleanOne(simpleCertificate(makeKey()));
    assert.equal(certificate.buffer.byteLength, certificate.length);
  });

  for (const hash of ['sha1', 'sha384', 'sha512'] as const) {
    test(`may be bound with ${hash}`, async () => {
      const key = makeKey('rsa2048');
      const { certificate } = await cleanOne(simpleCertificate(key, 'alice', { hash }));
      const loaded = await readKey({ binaryKey: certificate });
      assert.equal((await loaded.getPrimaryUser(NOW)).user.userID?.userID, 'alice');
    });
  }

  test('has its expiry from the newest self-certification, and the primary user ID first', async () => {
    const key = makeKey();
    const isPrimary = subpacket(25, Uint8Array.of(1));
    const keyDetails = await details(
      join(
        primaryPacket(key),
        userIdPacket('old'),
        onUserId(key, 'old', { createdAt: T0 + 1, hashed: [keyExpiresAfter(1000)] }),
        onUserId(key, 'old', { createdAt: T0 + 5, hashed: [keyExpiresAfter(5000)] }),
        onUserId(key, 'old', { createdAt: T0 + 3, hashed: [keyExpiresAfter(3000)] }),
        userIdPacket('new'),
        onUserId(key, 'new', { createdAt: T0 + 4, hashed: [keyExpiresAfter(4000)] }),
        userIdPacket('main'),
        onUserId(key, 'main', { createdAt: T0 + 2, hashed: [isPrimary, keyExpiresAfter(2000)] }),
      ),
    );
    assert.deepEqual(keyDetails.userIds, ['main', 'old', 'new']);
    assert.deepEqual(keyDetails.expiresAt, at(T0 + 5000));
  });

  test('has flags and expiry from a direct-key signature where there is one', async () => {
    const key = makeKey();
    const direct = onKey(key, {
      type: TYPES.direct,
      hashed: [subpacket(27, Uint8Array.of(FLAGS.certifyAndSign)), keyExpiresAfter(7777)],
    });
    const userId = join(
      userIdPacket('a'),
      onUserId(key, 'a', { flags: FLAGS.certify, hashed: [keyExpiresAfter(1)] }),
    );
    const keyDetails = await details(join(primaryPacket(key), direct, userId));
    assert.equal(keyDetails.canSign, true);
    assert.deepEqual(keyDetails.expiresAt, at(T0 + 7777));
  });

  test('can sign when nothing says what it may', async () => {
    const key = makeKey();
    assert.equal((await details(simpleCertificate(key, 'a', { flags: null }))).canSign, true);
  });

  test('that has expired is taken, and its state told', async () => {
    const key = makeKey();
    const keyDetails = await details(simpleCertificate(key, 'a', { hashed: [keyExpiresAfter(100)] }));
    assert.deepEqual(keyDetails.expiresAt, at(T0 + 100));
  });

  test('is over when the last certification of a user ID is', async () => {
    const key = makeKey();
    const keyDetails = await details(
      simpleCertificate(key, 'a', { createdAt: T0 + 50, hashed: [signatureExpiresAfter(100)] }),
    );
    assert.deepEqual(keyDetails.expiresAt, at(T0 + 150));
    assert.deepEqual(keyDetails.userIds, ['a']);
  });

  test('that is revoked is taken, and its state told', async () => {
    const key = makeKey();
    const revocation = onKey(key, { type: TYPES.keyRevocation, createdAt: T0 + 99 });
    const keyDetails = await details(
      join(primaryPacket(key), revocation, simpleCertificate(key).subarray(primaryPacket(key).length)),
    );
    assert.deepEqual(keyDetails.revokedAt, at(T0 + 99));
    assert.deepEqual((await details(join(simpleCertificate(key), revocation))).revokedAt, at(T0 + 99));
  });

  test('shows user IDs with hostile text as they are, and bytes that are no text as U+FFFD', async () => {
    const key = makeKey();
    const names = [
      '\u001b[2J\u202e\r\nevil',
      '',
      '-----BEGIN PGP PUBLIC KEY BLOCK-----\n',
      '=cmd()',
      '\ufeffbom',
    ];
    const parts = names.map((name) => join(userIdPacket(name), onUserId(key, name)));
    const latin1 = Buffer.from('J\xfcrgen', 'latin1');
    const bytes = join(primaryPacket(key), ...parts, userIdPacket(latin1), onUserId(key, latin1));
    const keyDetails = await details(bytes);
    assert.deepEqual([...keyDetails.userIds].sort(), [...names, 'J\ufffdrgen'].sort());
  });
});

describe('what comes around a certificate', () => {
  const key = makeKey();
  const bytes = simpleCertificate(key);

  test('armour is taken off, with text around it, comments and other line ends', async () => {
    const clean = await cleanOne(bytes);
    const armor = armorPublicKey(bytes);
    const commented = armor.replace('BLOCK-----\n', 'BLOCK-----\nComment: \u202e<script>\nVersion: 1: 2\n');
    for (const text of [
      armor,
      commented,
      `Dear all,\nmy key:\n\n${armor}\nBye\n`,
      `\ufeff${armor}`,
      armor.replace(/\n/g, '\r\n'),
      withoutLines(armor, /^=/),
      withoutLines(armor, /^-----END/).trimEnd(),
      armor.replaceAll(/\n(?=[^-=\n])/g, ' \n'),
    ]) {
      assert.deepEqual(await cleanOne(Buffer.from(text)), clean, text);
    }
  });

  test('armour whose checksum is another is refused, as gpg refuses it', async () => {
    const spoilt = Buffer.from(armorPublicKey(bytes).replace(/^=.*$/m, '=AAAA'));
    const { code, message } = await refusal(spoilt);
    assert.equal(code, 'STRUCTURE_INVALID');
    assert.match(
      message,
      /the checksum of the armour \(AAAA\) is not that of its data .*export the key anew/,
    );
  });

  test('armour behind a colon, as gpg writes revocations, is not taken, and what to do is told', async () => {
    const rev = `This is a revocation certificate\n\n:${armorPublicKey(bytes)}`;
    await assert.rejects(cleanAll(Buffer.from(rev)), /a colon stands ahead .* delete the colon/);
    await assert.rejects(cleanAll(Buffer.from(`  ${armorPublicKey(bytes)}`)), /begins with something else/);
  });

  test('our armour is what gpg writes but for comments: 64 characters a line and a checksum', () => {
    const armor = armorPublicKey(bytes);
    const lines = armor.split('\n');
    assert.equal(lines[0], '-----BEGIN PGP PUBLIC KEY BLOCK-----');
    assert.equal(lines[1], '');
    assert.ok(lines.slice(2, -3).every((line, i, all) => line.length === 64 || i === all.length - 1));
    assert.match(lines.at(-3) ?? '', /^=[A-Za-z0-9+/]{4}$/);
    assert.deepEqual(lines.slice(-2), ['-----END PGP PUBLIC KEY BLOCK-----', '']);
    // the example of RFC 9580, section 6.1.1: CRC-24 of nothing
    assert.match(armorPublicKey(new Uint8Array()), /^=twTO$/m);
  });

  test('several certificates, in one block or in several, are answered in their order', async () => {
    const keys = [key, makeKey('nistp256'), makeKey('rsa2048')];
    const files = keys.map((one) => simpleCertificate(one));
    const wanted = keys.map(({ fingerprint }) => fingerprint);
    const binary = await cleanAll(join(...files));
    const armored = await cleanAll(Buffer.from(files.map(armorPublicKey).join('and\n')));
    for (const results of [binary, armored]) {
      assert.deepEqual(
        results.map((result) => result.kind === 'clean' && result.details.fingerprint),
        wanted,
      );
    }
  });

  test('one that is bad does not stop the others', async () => {
    const good = [makeKey(), makeKey()];
    const [first, second] = good.map((one) => simpleCertificate(one));
    const bad = primaryPacket(makeKey());
    const results = await cleanAll(join(first ?? bad, bad, second ?? bad));
    assert.deepEqual(
      results.map(({ kind }) => kind),
      ['clean', 'refused', 'clean'],
    );
    const damaged = armorPublicKey(bytes).replace(/^x/m, '!');
    const texts = await cleanAll(
      Buffer.from(`${armorPublicKey(first ?? bad)}${damaged}${armorPublicKey(second ?? bad)}`),
    );
    assert.deepEqual(
      texts.map((result) => (result.kind === 'refused' ? result.code : 'clean')),
      ['clean', 'STRUCTURE_INVALID', 'clean'],
    );
  });

  test('the same key twice in a file is merged: the second result has all of both', async () => {
    const revoked = join(bytes, onKey(key, { type: TYPES.keyRevocation }));
    const [one, two, three] = await cleanAll(join(bytes, revoked, bytes));
    assert.equal(one?.kind === 'clean' && one.details.revokedAt, null);
    assert.deepEqual(two?.kind === 'clean' && two.details.revokedAt, at(T0 + 60));
    assert.deepEqual(three, two);
  });

  test('64 certificates are taken and 65 refused as a whole', async () => {
    const file = (count: number) => join(...Array.from({ length: count }, () => simpleCertificate(key)));
    assert.equal((await cleanAll(file(MAX_CERTIFICATES))).length, MAX_CERTIFICATES);
    await assert.rejects(cleanAll(file(MAX_CERTIFICATES + 1)), (error) =>
      isLookasideError(error, 'TOO_LARGE'),
    );
    const blocks = `${armorPublicKey(bytes)}\n`.repeat(MAX_CERTIFICATES + 1);
    await assert.rejects(cleanAll(Buffer.from(blocks)), (error) => isLookasideError(error, 'TOO_LARGE'));
  });

  test('a file of 4 MiB is read, and of one byte more refused', async () => {
    const filling =
      MAX_CERTIFICATES_BYTES - bytes.length - packet(TAG_USER_ATTRIBUTE, new Uint8Array()).length;
    const file = join(bytes, packet(TAG_USER_ATTRIBUTE, Buffer.alloc(filling)));
    assert.equal(file.length, MAX_CERTIFICATES_BYTES);
    assert.deepEqual(await cleanOne(file), await cleanOne(bytes));
    await assert.rejects(cleanAll(join(file, Uint8Array.of(0))), (error) =>
      isLookasideError(error, 'TOO_LARGE'),
    );
  });

  for (const [what, content] of [
    ['nothing', ''],
    ['text', 'hello'],
    ['a message', '-----BEGIN PGP MESSAGE-----\n\nowE=\n-----END PGP MESSAGE-----\n'],
    ['an empty block', '-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n-----END PGP PUBLIC KEY BLOCK-----\n'],
  ] as const) {
    test(`${what} is refused as no certificate, with the line that makes one`, async () => {
      await assert.rejects(cleanAll(Buffer.from(content)), (error) => {
        assert.ok(isLookasideError(error, 'REQUEST_INVALID'));
        assert.match(error.message, /gpg --export/);
        return true;
      });
    });
  }

  test('a file that breaks off anywhere takes nothing of the certificate that it breaks', async () => {
    const two = join(simpleCertificate(makeKey()), bytes);
    const whole = await cleanAll(two);
    const ends = packetEnds(two);
    for (let length = 0; length < two.length; length += 1) {
      const results = await cleanAll(two.subarray(0, length)).catch((error: unknown) => {
        assert.ok(isLookasideError(error, 'REQUEST_INVALID'), String(error));
        return [];
      });
      for (const [index, result] of results.entries()) {
        if (result.kind === 'clean') assert.deepEqual(result, whole[index]);
        else assert.ok(['STRUCTURE_INVALID', 'KEY_UNUSABLE'].includes(result.code), result.code);
      }
      const last = results.at(-1);
      if (!ends.has(length) && results.length > 0) assert.equal(last?.kind, 'refused', `${length}`);
    }
  });

  test('bytes after a certificate that are no packet spoil it', async () => {
    assert.equal((await refusal(join(bytes, Buffer.from('\n')))).code, 'STRUCTURE_INVALID');
  });

  test('random bytes, and certificates with random changes, throw nothing but LookasideError', async () => {
    const subkey = makeKey('nistp256');
    const whole = join(bytes, subkeyPacket(subkey), binding(key, subkey));
    const edit = fc.record({ at: fc.nat(whole.length - 1), byte: fc.nat(255) });
    const changed = fc.array(edit, { minLength: 1, maxLength: 8 }).map((edits) => {
      const copy = Uint8Array.from(whole);
      for (const { at, byte } of edits) copy[at] = byte;
      return copy;
    });
    const armored = changed.map((copy) => Buffer.from(armorPublicKey(copy)));
    const anything = fc.oneof(fc.uint8Array({ maxLength: 300 }), changed, armored);
    const known = keyringOf(await cleanOne(whole));
    await fc.assert(
      fc.asyncProperty(anything, fc.boolean(), async (input, isKnown) => {
        const results = await cleanAll(input, isKnown ? known : EMPTY).catch((error: unknown) => {
          assert.ok(isLookasideError(error), String(error));
          return [];
        });
        for (const result of results)
          if (result.kind === 'clean') await readKey({ binaryKey: result.certificate });
      }),
      { numRuns: 400 },
    );
  });
});

/** Lengths at which a prefix ends with a packet. All packets here have the header of five bytes' length. */
function packetEnds(bytes: Uint8Array): ReadonlySet<number> {
  const ends = new Set<number>();
  for (let at = 0; at < bytes.length; ) {
    at += 6 + Buffer.from(bytes).readUInt32BE(at + 2);
    ends.add(at);
  }
  return ends;
}

describe('keys that are refused', () => {
  const selfSigned = (key: WrittenKey) => simpleCertificate(key);
  const unsigned = (algorithm: number, material: Uint8Array) => primaryPacket(keyOf(algorithm, material));
  const odd = (bits: number) => {
    const bytes = Buffer.alloc(Math.ceil(bits / 8), 0x55);
    bytes[0] = 1 << ((bits - 1) % 8);
    bytes[bytes.length - 1] = 0x55;
    return bytes;
  };
  const E = Uint8Array.of(1, 0, 1);
  const oid = (hex: string) => join(Uint8Array.of(hex.length / 2), Buffer.from(hex, 'hex'));
  const versioned = (version: number) =>
    packet(TAGS.publicKey, join(Uint8Array.of(version), makeKey().body.subarray(1)));

  const CASES: readonly (readonly [what: string, bytes: () => Uint8Array, code: string, sentence: RegExp])[] =
    [
      [
        'RSA of 1024 bits',
        () => selfSigned(makeKey('rsa1024')),
        'ALGORITHM_WEAK',
        /1024 bits; wanted at least 2048/,
      ],
      ['RSA of 2047 bits', () => unsigned(1, join(mpi(odd(2047)), mpi(E))), 'ALGORITHM_WEAK', /2047 bits/],
      [
        'RSA of 8193 bits',
        () => unsigned(1, join(mpi(odd(8193)), mpi(E))),
        'ALGORITHM_UNSUPPORTED',
        /8193 bits/,
      ],
      [
        'RSA with an even modulus',
        () => unsigned(1, join(mpi(Buffer.concat([odd(2040), Uint8Array.of(2)])), mpi(E))),
        'KEY_UNUSABLE',
        /even modulus/,
      ],
      [
        'RSA with an even exponent',
        () => unsigned(1, join(mpi(odd(2048)), mpi(Uint8Array.of(4)))),
        'KEY_UNUSABLE',
        /exponent/,
      ],
      [
        'RSA with the exponent 1',
        () => unsigned(1, join(mpi(odd(2048)), mpi(Uint8Array.of(1)))),
        'KEY_UNUSABLE',
        /exponent/,
      ],
      [
        'RSA with an exponent of 65 bits',
        () => unsigned(1, join(mpi(odd(2048)), mpi(odd(65)))),
        'KEY_UNUSABLE',
        /64 bits/,
      ],
      [
        'RSA that only encrypts',
        () => unsigned(2, join(mpi(odd(2048)), mpi(E))),
        'KEY_UNUSABLE',
        /only encrypt/,
      ],
      [
        'DSA',
        () => unsigned(17, join(mpi(odd(2048)), mpi(odd(256)), mpi(odd(2047)), mpi(odd(2046)))),
        'ALGORITHM_WEAK',
        /DSA/,
      ],
      [
        'ElGamal',
        () => unsigned(16, join(mpi(odd(2048)), mpi(E), mpi(odd(2047)))),
        'ALGORITHM_UNSUPPORTED',
        /algorithm 16/,
      ],
      ['the newer Ed25519', () => unsigned(27, randomBytes(32)), 'ALGORITHM_UNSUPPORTED', /algorithm 27/],
      [
        'a post-quantum key',
        () => unsigned(30, randomBytes(1984)),
        'ALGORITHM_UNSUPPORTED',
        /today's clients/,
      ],
      [
        'secp256k1',
        () => unsigned(19, join(oid('2b8104000a'), mpi(odd(515)))),
        'ALGORITHM_UNSUPPORTED',
        /curve/,
      ],
      [
        'brainpool',
        () => unsigned(19, join(oid('2b2403030208010107'), mpi(odd(515)))),
        'ALGORITHM_UNSUPPORTED',
        /curve/,
      ],
      [
        'Ed25519 called ECDSA',
        () => unsigned(19, join(oid('2b06010401da470f01'), mpi(odd(263)))),
        'ALGORITHM_UNSUPPORTED',
        /curve/,
      ],
      [
        'a point of a wrong length',
        () => unsigned(22, join(oid('2b06010401da470f01'), mpi(odd(262)))),
        'KEY_UNUSABLE',
        /numbers/,
      ],
      [
        'a key with bytes behind it',
        () => unsigned(1, join(mpi(odd(2048)), mpi(E), E)),
        'KEY_UNUSABLE',
        /numbers/,
      ],
      ['version 2', () => versioned(2), 'ALGORITHM_WEAK', /version 2/],
      ['version 3', () => versioned(3), 'ALGORITHM_WEAK', /version 3/],
      ['version 5', () => versioned(5), 'ALGORITHM_UNSUPPORTED', /today's clients cannot verify with it/],
      ['version 6', () => versioned(6), 'ALGORITHM_UNSUPPORTED', /today's clients cannot verify with it/],
      ['no user ID', () => primaryPacket(makeKey()), 'KEY_UNUSABLE', /no user ID/],
      [
        'a user ID that nobody certified',
        () => join(primaryPacket(makeKey()), userIdPacket('a')),
        'KEY_UNUSABLE',
        /no user ID/,
      ],
      [
        'a key made in two days',
        () => selfSigned(makeKey('ed25519', NOW.getTime() / 1000 + 172_800)),
        'KEY_UNUSABLE',
        /clocks/,
      ],
      [
        'a primary key that only certifies, without subkeys',
        () => simpleCertificate(makeKey(), 'a', { flags: FLAGS.certify }),
        'KEY_UNUSABLE',
        /can sign nothing/,
      ],
      [
        'user IDs bound with MD5',
        () => simpleCertificate(makeKey('rsa2048'), 'a', { hash: 'md5' }),
        'ALGORITHM_WEAK',
        /MD5/,
      ],
      [
        'a self-certification of version 3',
        () => simpleCertificate(makeKey('rsa2048'), 'a', { version: 3, flags: null }),
        'KEY_UNUSABLE',
        /bound by a signature of version 3; wanted version 4/,
      ],
    ];
  for (const [what, bytes, code, sentence] of CASES) {
    test(`${what}: ${code}`, async () => {
      const refused = await refusal(bytes());
      assert.equal(refused.code, code, refused.message);
      assert.match(refused.message, sentence);
    });
  }

  test('a key whose clock is two minutes ahead is taken', async () => {
    const createdAt = NOW.getTime() / 1000 + 120;
    await cleanOne(simpleCertificate(makeKey('ed25519', createdAt), 'a', { createdAt }));
  });

  test('a fingerprint is told for what has one, and version 6 has one of 64 digits', async () => {
    const weak = makeKey('rsa1024');
    assert.equal((await refusal(selfSigned(weak))).fingerprint, weak.fingerprint);
    assert.equal((await refusal(versioned(3))).fingerprint, null);
    const body = join(Uint8Array.of(6), makeKey().body.subarray(1));
    const size = Buffer.alloc(4);
    size.writeUInt32BE(body.length);
    const digest = createHash('sha256')
      .update(join(Uint8Array.of(0x9b), size, body))
      .digest('hex')
      .toUpperCase();
    assert.equal((await refusal(packet(TAGS.publicKey, body))).fingerprint, digest);
  });

  test('a self-certification that does not say when it was made, or asks for what nobody knows, is none', async () => {
    const key = makeKey();
    const critical = (type: number) => subpacket(type | 0x80, Uint8Array.of(1, 2, 3));
    for (const hashed of [critical(60), critical(20)]) {
      assert.equal((await refusal(simpleCertificate(key, 'a', { hashed: [hashed] }))).code, 'KEY_UNUSABLE');
    }
    await cleanOne(
      simpleCertificate(key, 'a', {
        flags: null,
        hashed: [subpacket(60, Uint8Array.of(1)), subpacket(27 | 0x80, Uint8Array.of(FLAGS.sign))],
      }),
    );
  });

  test('a self-certification from before the key or from tomorrow is none', async () => {
    const key = makeKey();
    for (const createdAt of [T0 - 1, NOW.getTime() / 1000 + 86_400]) {
      assert.equal((await refusal(simpleCertificate(key, 'a', { createdAt }))).code, 'KEY_UNUSABLE');
    }
  });
});

describe('the reason why no user ID counts', () => {
  const key = makeKey();
  const critical = subpacket(0x80 | 99, Uint8Array.of(1));
  const twice = subpacket(27, Uint8Array.of(3));
  const reasons: readonly [string, Parameters<typeof simpleCertificate>[2], string, RegExp][] = [
    [
      'a certification that is yet to come',
      { createdAt: T0 + 366 * 86_400 },
      'KEY_UNUSABLE',
      /bound by a signature of 2021-09-14T12:26:40.000Z, which is yet to come; compare the clocks/,
    ],
    [
      'one by Ed25519 over SHA-1',
      { hash: 'sha1' },
      'ALGORITHM_WEAK',
      /over a hash that is shorter than the curve/,
    ],
    ['one from before the key', { createdAt: T0 - 60 }, 'KEY_UNUSABLE', /before the key was made/],
    ['a critical subpacket', { hashed: [critical] }, 'KEY_UNUSABLE', /with a critical subpacket of type 99/],
    ['a subpacket that is there twice', { hashed: [twice] }, 'KEY_UNUSABLE', /two subpackets of type 27/],
  ];
  for (const [what, options, code, why] of reasons) {
    test(`is told: ${what}`, async () => {
      const refused = await refusal(simpleCertificate(key, 'alice', options));
      assert.equal(refused.code, code);
      assert.match(refused.message, why);
    });
  }

  test('is not taken from what another has signed', async () => {
    const other = onUserId(key, 'alice', { createdAt: T0 + 366 * 86_400 }, makeKey());
    const refused = await refusal(join(primaryPacket(key), userIdPacket('alice'), other));
    assert.match(refused.message, /has no user ID that it vouches for itself/);
  });
});

describe('a signing subkey of a kind that is not taken', () => {
  const key = makeKey();
  const weak = makeKey('rsa1024', T0 + 10);
  const withSubkey = (flags: number) =>
    join(simpleCertificate(key), subkeyPacket(weak), binding(key, weak, { flags }));

  test('is left out, and that is told', async () => {
    const { details, warnings } = await cleanOne(withSubkey(FLAGS.sign));
    assert.deepEqual(details.subkeys, []);
    assert.deepEqual(
      warnings.map(({ code }) => code),
      ['SUBKEY_LEFT_OUT'],
    );
    assert.match(
      warnings[0]?.message ?? '',
      new RegExp(`${weak.fingerprint} was left out.*RSA key of 1024 bits`),
    );
  });

  test('is not told of when it may only encrypt', async () => {
    assert.deepEqual((await cleanOne(withSubkey(FLAGS.encrypt))).warnings, []);
  });

  test('is told as unbound when the key has not bound it', async () => {
    const bound = binding(makeKey(), weak, { flags: FLAGS.sign });
    const foreign = join(simpleCertificate(key), subkeyPacket(weak), bound);
    const [warning, ...others] = (await cleanOne(foreign)).warnings;
    assert.equal(warning?.code, 'PARTS_LEFT_OUT');
    assert.deepEqual(others, []);
  });
});

describe('parts that the key has not bound', () => {
  const key = makeKey();
  const stranger = makeKey();
  const [one, other, own] = [makeKey(), makeKey(), makeKey('ed25519', T0 + 10)];
  const good = simpleCertificate(key, 'alice');
  const forgedName = (name: string) => join(userIdPacket(name), onUserId(key, name, {}, stranger));
  const bareName = (name: string) => userIdPacket(name);

  const cases: readonly (readonly [string, readonly Uint8Array[], RegExp | null])[] = [
    [
      'a forged user ID',
      [forgedName('mallory')],
      /^1 user ID was left out: the key [0-9A-F]{40} has not bound it /,
    ],
    ['a user ID without a signature', [bareName('mallory')], /^1 user ID was /],
    ['a user ID that stands there twice', [bareName('m'), forgedName('m'), bareName('m')], /^1 user ID was /],
    [
      'a thousand user IDs and two subkeys',
      [
        ...Array.from({ length: 1000 }, (_, index) => forgedName(`m${index}`)),
        join(subkeyPacket(one), binding(stranger, one)),
        subkeyPacket(other),
      ],
      /^1000 user IDs and 2 subkeys were left out: .* has not bound them /,
    ],
    [
      'a subkey of somebody else, which has not agreed',
      [subkeyPacket(one), binding(key, one, { back: null })],
      /^1 subkey was left out/,
    ],
    ['what the key has bound, again without it', [bareName('alice')], null],
    ['certifications by others', [bareName('alice'), onUserId(key, 'alice', {}, stranger)], null],
    ['a subkey of its own', [subkeyPacket(own), binding(key, own)], null],
  ];
  for (const [what, parts, warning] of cases) {
    test(`${what}: ${warning === null ? 'not told' : 'dropped, with one warning'}`, async () => {
      const { details, warnings } = await cleanOne(join(good, ...parts));
      assert.deepEqual(details.userIds, ['alice']);
      assert.deepEqual(
        warnings.map(({ code }) => code),
        warning === null ? [] : ['PARTS_LEFT_OUT'],
      );
      if (warning === null) return;
      assert.match(warnings[0]?.message ?? '', warning);
      assert.deepEqual(details.subkeys, []);
    });
  }

  test('are told when they are sent, and not of what is kept', async () => {
    const first = await cleanOne(join(good, forgedName('mallory')));
    assert.deepEqual((await cleanOne(first.certificate)).warnings, []);
  });
});

describe('what clients will make of a file', () => {
  for (const { what, bytes, obstacle } of KEY_FILES) {
    test(`with ${what} is ${obstacle === null ? 'not warned of' : 'told'}`, async () => {
      for (const file of [bytes, Buffer.from(armorPublicKey(bytes))]) {
        const taken = (await cleanAll(file)).filter((result) => result.kind === 'clean');
        assert.deepEqual(
          taken.map(({ details }) => details.fingerprint),
          [KEY_FILES_FINGERPRINT],
        );
        const [warning] = taken.flatMap(({ warnings }) => warnings);
        assert.equal(warning?.code, obstacle === null ? undefined : 'GPG_CANNOT_IMPORT');
        if (obstacle !== null) assert.match(warning?.message ?? '', obstacle);
      }
    });
  }

  test('is not warned of once it is cleaned', async () => {
    for (const { bytes } of KEY_FILES) {
      const clean = (await cleanAll(bytes)).find((result) => result.kind === 'clean');
      assert.deepEqual((await cleanOne(clean?.certificate ?? bytes)).warnings, []);
    }
  });

  test('what is bound by SHA-1 is warned of, unless another user ID is not', async () => {
    const key = makeKey('rsa2048');
    const subkey = makeKey('rsa2048', T0 + 10);
    const old = simpleCertificate(key, 'old', { hash: 'sha1' });
    const bound = join(subkeyPacket(subkey), binding(key, subkey, { hash: 'sha1' }));
    const warned = async (bytes: Uint8Array) =>
      (await cleanOne(bytes)).warnings.map(({ code, message }) => `${code}: ${message}`).join('\n');
    assert.match(await warned(old), /^BOUND_BY_SHA1: .* its user IDs by SHA-1, .*Sequoia/);
    assert.equal(await warned(join(old, userIdPacket('new'), onUserId(key, 'new'))), '');
    assert.match(
      await warned(join(simpleCertificate(key), bound)),
      new RegExp(`its subkey ${subkey.fingerprint} by SHA-1`),
    );
  });
});

describe('secret keys', () => {
  const key = makeKey();
  const marker = randomBytes(32);
  const secretBody = join(key.body, Uint8Array.of(0), mpi(marker), uint16(0));
  const rest = simpleCertificate(key).subarray(primaryPacket(key).length);
  const secret = join(packet(TAGS.secretKey, secretBody), rest);

  for (const [what, bytes] of [
    ['binary', secret],
    ['armoured', Buffer.from(armorPublicKey(secret).replaceAll('PUBLIC', 'PRIVATE'))],
    ['armoured as if public', Buffer.from(armorPublicKey(secret))],
    ['as a subkey alone', join(simpleCertificate(key), packet(TAGS.secretSubkey, secretBody))],
    ['cut short', secret.subarray(0, secret.length - 9)],
  ] as const) {
    test(`${what}: refused, with the line that exports the public one and not one byte of the secret`, async () => {
      const refused = await refusal(bytes);
      assert.equal(refused.code, 'SECRET_KEY');
      assert.match(refused.message, new RegExp(`gpg --export ${key.fingerprint}`));
      assert.equal(refused.fingerprint, key.fingerprint);
      for (const form of ['hex', 'base64', 'latin1'] as const) {
        assert.ok(!JSON.stringify(refused).includes(marker.toString(form)));
      }
    });
  }

  test('of other kinds are refused too, also when their public half cannot be told', async () => {
    for (const body of [
      Uint8Array.of(4, 0),
      Uint8Array.of(3, 1, 2),
      new Uint8Array(),
      Uint8Array.of(6, 0, 0, 0, 0, 1),
    ]) {
      const refused = await refusal(packet(TAGS.secretKey, body));
      assert.equal(refused.code, 'SECRET_KEY');
      assert.match(refused.message, /gpg --export FINGERPRINT/);
    }
  });

  test('beside a public one do not stop it', async () => {
    const other = makeKey();
    const results = await cleanAll(join(secret, simpleCertificate(other)));
    assert.deepEqual(
      results.map((result) => (result.kind === 'refused' ? result.code : result.details.fingerprint)),
      ['SECRET_KEY', other.fingerprint],
    );
  });
});

describe('limits, at and one over', () => {
  const key = makeKey();
  const withUserIds = (names: readonly string[]) =>
    join(primaryPacket(key), ...names.map((name) => join(userIdPacket(name), onUserId(key, name))));
  const names = (count: number) => Array.from({ length: count }, (_, i) => `user ${i}`);
  const withSubkeys = (count: number) =>
    join(
      simpleCertificate(key),
      ...Array.from({ length: count }, () => {
        const subkey = makeKey();
        return join(subkeyPacket(subkey), binding(key, subkey));
      }),
    );

  test('user IDs', async () => {
    assert.equal((await details(withUserIds(names(MAX_USER_IDS)))).userIds.length, MAX_USER_IDS);
    const refused = await refusal(withUserIds(names(MAX_USER_IDS + 1)));
    assert.equal(refused.code, 'TOO_LARGE');
    assert.match(refused.message, /21 user IDs that are not revoked; wanted at most 20/);
  });

  test('the length of a user ID', async () => {
    const largest = 'x'.repeat(MAX_USER_ID_BYTES);
    assert.deepEqual((await details(withUserIds([largest]))).userIds, [largest]);
    const refused = await refusal(withUserIds([`${largest}x`]));
    assert.equal(refused.code, 'TOO_LARGE');
    assert.match(refused.message, /1025 bytes; wanted at most 1024/);
  });

  test('subkeys', async () => {
    assert.equal((await details(withSubkeys(MAX_SUBKEYS))).subkeys.length, MAX_SUBKEYS);
    const refused = await refusal(withSubkeys(MAX_SUBKEYS + 1));
    assert.equal(refused.code, 'TOO_LARGE');
    assert.match(refused.message, /33 subkeys that may sign; wanted at most 32/);
  });

  test('revoked user IDs and subkeys that only encrypt do not count', async () => {
    const revoked = names(30).map((name) => {
      const revocation = onUserId(key, name, { type: TYPES.certificationRevocation, createdAt: T0 + 90 });
      return join(userIdPacket(name), onUserId(key, name), revocation);
    });
    const encrypting = Array.from({ length: 40 }, (_, i) => {
      const subkey = makeKey('ed25519', T0 + i); // of a kind that could sign
      return join(subkeyPacket(subkey), binding(key, subkey, { flags: FLAGS.encrypt }));
    });
    const keyDetails = await details(join(simpleCertificate(key), ...revoked, ...encrypting));
    assert.deepEqual([keyDetails.userIds, keyDetails.subkeys.length], [['alice'], 40]);
  });

  test('the whole, cleaned', async () => {
    const notes = (length: number, letter: string) => [subpacket(20, Buffer.alloc(length, letter))];
    const filledWith = (letter: string, last: number) =>
      join(
        primaryPacket(key),
        ...names(10).map((name, i) => {
          const hashed = i === 0 ? notes(last, letter) : notes(7000, 'a');
          return join(userIdPacket(name), onUserId(key, name, { hashed }));
        }),
      );
    // one signature in a hundred is a byte shorter than the others: its numbers are written without leading zeros
    const certificate = (last: number) => {
      const made = [...'abcdefgh'].map((letter) => filledWith(letter, last));
      return made.reduce((longest, next) => (next.length > longest.length ? next : longest));
    };
    const some = 1000;
    const room = some + MAX_CERTIFICATE_BYTES - (await cleanOne(certificate(some))).certificate.length;
    // a signature that is longer than 64 KiB in all cannot be, so the room is within one
    assert.ok(room > 0 && room < 7000, `${room}`);
    assert.equal((await cleanOne(certificate(room))).certificate.length, MAX_CERTIFICATE_BYTES);
    const refused = await refusal(certificate(room + 1));
    assert.equal(refused.code, 'TOO_LARGE');
    assert.match(refused.message, /65537 bytes; wanted at most 65536/);
  });

  test('what nobody vouches for counts for none of them', async () => {
    const strangers = names(500).map((name) => userIdPacket(`${name}${'x'.repeat(2000)}`));
    const subkeys = Array.from({ length: 50 }, () => subkeyPacket(makeKey()));
    const poisoned = join(withUserIds(names(MAX_USER_IDS)), ...strangers, ...subkeys);
    const { warnings, ...kept } = await cleanOne(poisoned);
    const { warnings: none, ...clean } = await cleanOne(withUserIds(names(MAX_USER_IDS)));
    assert.deepEqual(kept, clean);
    assert.deepEqual([warnings.length, none.length], [1, 0]);
    assert.match(warnings[0]?.message ?? '', /^500 user IDs and 50 subkeys were left out/);
  });

  test('a key that would be over a limit merged is refused, and nothing of it taken', async () => {
    const known = keyringOf(await cleanOne(withUserIds(names(MAX_USER_IDS))));
    assert.equal((await refusal(withUserIds(['one more']), known)).code, 'TOO_LARGE');
  });
});

describe('subkeys', () => {
  const key = makeKey();
  const victim = makeKey();
  const base = simpleCertificate(key);
  const subkeysOf = async (...packets: readonly Uint8Array[]) =>
    (await details(join(base, ...packets))).subkeys.map(({ fingerprint, canSign }) => ({
      fingerprint,
      canSign,
    }));

  test('stolen from another key are dropped: without back-signature, with a forged, a foreign or a borrowed one', async () => {
    const stranger = makeKey();
    const forged = backSignature(key, victim, { forged: [randomBytes(32), randomBytes(32)] });
    const foreign = backSignature(stranger, victim);
    const byMyself = signatureBody(key, overSubkey(key, victim), {
      type: TYPES.backSignature,
      unhashed: [issuer(victim.keyId)],
    });
    const wrongType = signatureBody(victim, overSubkey(key, victim), { type: TYPES.binding });
    for (const back of [null, forged, foreign, byMyself, wrongType, new Uint8Array()]) {
      assert.deepEqual(await subkeysOf(subkeyPacket(victim), binding(key, victim, { back })), []);
    }
    const taken = [{ fingerprint: victim.fingerprint, canSign: true }];
    assert.deepEqual(await subkeysOf(subkeyPacket(victim), binding(key, victim)), taken);
    assert.deepEqual(
      await subkeysOf(subkeyPacket(victim), binding(key, victim, { isBackHashed: true })),
      taken,
    );
  });

  test('are told from the back-signature among many that is right', async () => {
    const backs = Array.from({ length: 30 }, () =>
      embedded(backSignature(key, victim, { forged: [randomBytes(32), randomBytes(32)] })),
    );
    const right = embedded(backSignature(key, victim));
    const mixed = binding(key, victim, { back: null, unhashed: [...backs, right, ...backs] });
    const subkeys = await subkeysOf(subkeyPacket(victim), mixed);
    assert.deepEqual(subkeys, [{ fingerprint: victim.fingerprint, canSign: true }]);
  });

  test('bound by nobody, or by another key, are dropped', async () => {
    const stranger = makeKey();
    assert.deepEqual(await subkeysOf(subkeyPacket(victim)), []);
    assert.deepEqual(await subkeysOf(subkeyPacket(victim), binding(stranger, victim)), []);
    const unhashed = [issuer(key.keyId), embedded(backSignature(key, victim))];
    assert.deepEqual(await subkeysOf(subkeyPacket(victim), binding(stranger, victim, { unhashed })), []);
  });

  test('that only encrypt by their algorithm are dropped, others are kept as ones that do not sign', async () => {
    const ecdh = keyOf(
      18,
      join(
        Uint8Array.of(10),
        Buffer.from('2b060104019755010501', 'hex'),
        mpi(join(Uint8Array.of(0x40), randomBytes(32))),
        Uint8Array.of(3, 1, 8, 7),
      ),
    );
    assert.deepEqual(await subkeysOf(subkeyPacket(ecdh), binding(key, ecdh, { flags: FLAGS.encrypt })), []);
    const login = makeKey('nistp256');
    assert.deepEqual(
      await subkeysOf(subkeyPacket(login), binding(key, login, { flags: FLAGS.authenticate })),
      [{ fingerprint: login.fingerprint, canSign: false }],
    );
  });

  test('that are weak are dropped, and a certificate that can sign by such alone is refused', async () => {
    const weak = makeKey('rsa1024');
    assert.deepEqual(await subkeysOf(subkeyPacket(weak), binding(key, weak)), []);
    const certifier = simpleCertificate(key, 'a', { flags: FLAGS.certify });
    const refused = await refusal(join(certifier, subkeyPacket(weak), binding(key, weak)));
    assert.equal(refused.code, 'KEY_UNUSABLE');
    assert.equal(
      (await cleanOne(join(certifier, subkeyPacket(victim), binding(key, victim)))).details.canSign,
      false,
    );
  });

  test('have their own expiry and revocation', async () => {
    const revocation = packet(
      TAGS.signature,
      signatureBody(key, overSubkey(key, victim), { type: TYPES.subkeyRevocation, createdAt: T0 + 9 }),
    );
    const bound = binding(key, victim, { hashed: [keyExpiresAfter(500)] });
    const [subkey] = (await details(join(base, subkeyPacket(victim), bound, revocation))).subkeys;
    assert.deepEqual(subkey?.expiresAt, at(T0 + 500));
    assert.deepEqual(subkey?.revokedAt, at(T0 + 9));
  });

  test('that may no longer sign do not get that right back from an older copy', async () => {
    const older = join(base, subkeyPacket(victim), binding(key, victim, { createdAt: T0 + 100 }));
    const newer = join(
      base,
      subkeyPacket(victim),
      binding(key, victim, { createdAt: T0 + 200, flags: FLAGS.authenticate }),
    );
    for (const [one, other] of [
      [older, newer],
      [newer, older],
    ] as const) {
      const merged = await cleanOne(other, keyringOf(await cleanOne(one)));
      assert.deepEqual(
        merged.details.subkeys.map(({ canSign }) => canSign),
        [false],
      );
    }
  });
});

describe('revocations', () => {
  const key = makeKey();
  const stranger = makeKey();
  const base = simpleCertificate(key);
  const revoke = (options: Partial<Parameters<typeof onKey>[1]> = {}, signer = key) =>
    onKey(key, { type: TYPES.keyRevocation, createdAt: T0 + 500, ...options }, signer);
  const revokedAt = async (...packets: readonly Uint8Array[]) =>
    (await details(join(base, ...packets))).revokedAt;

  test('that are forged are dropped', async () => {
    const numbers = [randomBytes(32), randomBytes(32)];
    assert.equal(await revokedAt(revoke({ forged: numbers })), null);
    assert.equal(await revokedAt(revoke({ unhashed: [issuer(key.keyId)] }, stranger)), null);
    assert.equal(await revokedAt(revoke({}, stranger)), null);
    const ofAnother = packet(
      TAGS.signature,
      signatureBody(key, overKey(stranger), { type: TYPES.keyRevocation }),
    );
    assert.equal(await revokedAt(ofAnother), null);
  });

  test('that are real are found among the forged, whatever their date', async () => {
    const forged = Array.from({ length: 40 }, (_, i) =>
      revoke({ createdAt: T0 + i * 30, forged: [randomBytes(32), randomBytes(32)] }),
    );
    assert.deepEqual(await revokedAt(...forged, revoke(), ...forged), at(T0 + 500));
    const tomorrow = NOW.getTime() / 1000 + 86_400;
    assert.deepEqual(await revokedAt(revoke({ createdAt: tomorrow })), at(tomorrow));
    assert.deepEqual(await revokedAt(revoke({ createdAt: T0 - 5 })), at(T0 - 5));
  });

  test('of version 3, which gpg takes too, count', async () => {
    const rsa = makeKey('rsa2048');
    const revocation = onKey(rsa, { type: TYPES.keyRevocation, createdAt: T0 + 5, version: 3 });
    const { details: keyDetails, certificate } = await cleanOne(join(simpleCertificate(rsa), revocation));
    assert.deepEqual(keyDetails.revokedAt, at(T0 + 5));
    assert.deepEqual(
      (await details(simpleCertificate(rsa), new Map([[rsa.fingerprint, certificate]]))).revokedAt,
      at(T0 + 5),
    );
  });

  test('for a compromise outweigh those of a retirement', async () => {
    const retired = revoke({ createdAt: T0 + 100, hashed: [revocationReason(3)] });
    const compromised = revoke({ createdAt: T0 + 300, hashed: [revocationReason(2)] });
    const later = revoke({ createdAt: T0 + 400, hashed: [revocationReason(2)] });
    assert.deepEqual(await revokedAt(later, retired, compromised), at(T0 + 300));
    assert.deepEqual(await revokedAt(retired), at(T0 + 100));
  });

  test('alone in a file, as gpg --gen-revoke makes them, revoke the key that is known', async () => {
    const known = await cleanOne(base);
    const file = Buffer.from(armorPublicKey(revoke()));
    const merged = await cleanOne(file, keyringOf(known));
    assert.deepEqual(merged.details, { ...known.details, revokedAt: at(T0 + 500) });
    assert.equal((await refusal(file)).code, 'KEY_UNKNOWN');
    const forged = revoke({ forged: [randomBytes(32), randomBytes(32)] });
    assert.equal((await refusal(forged, keyringOf(known))).code, 'SIGNATURE_BAD');
    const byStranger = onKey(stranger, { type: TYPES.keyRevocation });
    assert.equal((await refusal(byStranger, keyringOf(known))).code, 'KEY_UNKNOWN');
  });

  test('of a user ID hide it, until it is certified anew', async () => {
    const revocation = onUserId(key, 'old', { type: TYPES.certificationRevocation, createdAt: T0 + 200 });
    const old = join(userIdPacket('old'), onUserId(key, 'old', { createdAt: T0 + 100 }));
    assert.deepEqual((await details(join(base, old, revocation))).userIds, ['alice']);
    const again = onUserId(key, 'old', { createdAt: T0 + 300 });
    assert.deepEqual((await details(join(base, old, revocation, again))).userIds.toSorted(), [
      'alice',
      'old',
    ]);
  });

  test('of all user IDs revoke the key, which is taken so that this is known', async () => {
    const revocation = onUserId(key, 'alice', { type: TYPES.certificationRevocation, createdAt: T0 + 200 });
    const keyDetails = await details(join(base, revocation));
    assert.deepEqual(keyDetails.revokedAt, at(T0 + 200));
    assert.deepEqual(keyDetails.userIds, ['alice']);
  });
});

describe('merging', () => {
  const key = makeKey();
  const subkey = makeKey('nistp256', T0 + 10);
  const other = makeKey('ed25519', T0 + 20);
  const base = simpleCertificate(key);
  const userId = (name: string, options: Parameters<typeof onUserId>[2]) =>
    join(base, userIdPacket(name), onUserId(key, name, options));
  const withSubkey = (one: WrittenKey, ...options: readonly Parameters<typeof binding>[2][]) =>
    join(base, subkeyPacket(one), ...options.map((option) => binding(key, one, option)));

  /** What happens to a key over the years, each as a file that holds nothing of the others. */
  const UPDATES: readonly Uint8Array[] = [
    base,
    userId('alice', { createdAt: T0 + 1000, hashed: [keyExpiresAfter(86_400 * 400)] }),
    userId('alice', { createdAt: T0 + 2000, hashed: [keyExpiresAfter(86_400 * 800)] }),
    userId('work', { createdAt: T0 + 500 }),
    userId('work', { type: TYPES.certificationRevocation, createdAt: T0 + 1500 }),
    userId('bob', { type: TYPES.certificationRevocation, createdAt: T0 + 1500 }),
    userId('bob', { createdAt: T0 + 600, hashed: [subpacket(25, Uint8Array.of(1))] }),
    withSubkey(subkey, { createdAt: T0 + 300 }, { createdAt: T0 + 200 }),
    withSubkey(subkey, { createdAt: T0 + 900, hashed: [keyExpiresAfter(86_400 * 900)] }),
    withSubkey(other, { createdAt: T0 + 300 }),
    join(
      base,
      subkeyPacket(other),
      packet(
        TAGS.signature,
        signatureBody(key, overSubkey(key, other), { type: TYPES.subkeyRevocation, createdAt: T0 + 700 }),
      ),
    ),
    join(base, onKey(key, { type: TYPES.direct, createdAt: T0 + 50 })),
    join(
      base,
      onKey(key, { type: TYPES.direct, createdAt: T0 + 800, hashed: [subpacket(30, Uint8Array.of(1))] }),
    ),
    join(
      base,
      onKey(key, { type: TYPES.keyRevocation, createdAt: T0 + 3000, hashed: [revocationReason(3)] }),
    ),
    join(base, onKey(key, { type: TYPES.keyRevocation, createdAt: T0 + 4000 })),
    // two of the same second
    userId('twin', { createdAt: T0 + 1000, hashed: [keyExpiresAfter(86_400 * 700)] }),
    userId('twin', { createdAt: T0 + 1000, hashed: [keyExpiresAfter(86_400 * 600)] }),
  ];

  async function mergeAll(updates: readonly Uint8Array[]): Promise<Clean | null> {
    let merged: Clean | null = null;
    for (const update of updates) {
      merged = await cleanOne(update, merged === null ? EMPTY : keyringOf(merged));
    }
    return merged;
  }

  test('gives the same bytes in whatever order updates come, one by one, repeated or as one file', async () => {
    const all = await mergeAll(UPDATES);
    assert.deepEqual(all?.details.revokedAt, at(T0 + 4000));
    assert.deepEqual(all?.details.userIds, ['alice', 'twin']);
    assert.deepEqual(
      all?.details.subkeys.map(({ revokedAt }) => revokedAt),
      [null, at(T0 + 700)],
    );
    const order = fc.shuffledSubarray([...UPDATES], { minLength: UPDATES.length });
    const repeated = fc.tuple(order, fc.array(fc.constantFrom(...UPDATES), { maxLength: 6 }));
    await fc.assert(
      fc.asyncProperty(repeated, async ([updates, more]) => {
        assert.deepEqual(await mergeAll([...updates, ...more]), all);
        const file = join(...updates);
        const results = await cleanAll(file);
        assert.deepEqual(results.at(-1), all);
      }),
      { numRuns: count(60, 20) },
    );
  });

  test('once revoked stays revoked, whatever comes of the key later', async () => {
    const revocation = join(base, onKey(key, { type: TYPES.keyRevocation, createdAt: T0 + 4000 }));
    await fc.assert(
      fc.asyncProperty(fc.shuffledSubarray([...UPDATES]), async (updates) => {
        const merged = await mergeAll([revocation, ...updates]);
        assert.deepEqual(merged?.details.revokedAt, at(T0 + 4000));
      }),
      { numRuns: 30 },
    );
  });

  test('an older copy does not undo a newer expiry', async () => {
    const older = userId('alice', { createdAt: T0 + 1000, hashed: [keyExpiresAfter(1000)] });
    const newer = userId('alice', { createdAt: T0 + 2000, hashed: [keyExpiresAfter(9000)] });
    assert.deepEqual((await mergeAll([newer, older]))?.details.expiresAt, at(T0 + 9000));
    assert.deepEqual((await mergeAll([older, newer]))?.details.expiresAt, at(T0 + 9000));
  });

  test('keeps what is registered when our clock has been set back', async () => {
    const known = await cleanOne(withSubkey(subkey, { createdAt: T0 + 300 }));
    const earlier = new Date((T0 + 30) * 1000);
    const merged = await cleanOne(
      simpleCertificate(key, 'alice', { createdAt: T0 + 1 }),
      keyringOf(known),
      earlier,
    );
    assert.deepEqual(merged.certificate, known.certificate);
  });

  test('does not let the copy of one key into another', async () => {
    const stranger = makeKey();
    const known = await cleanOne(simpleCertificate(stranger, 'stranger'));
    assert.deepEqual(await cleanOne(base, keyringOf(known)), await cleanOne(base));
  });
});

describe('a poisoned certificate of 4 MiB', () => {
  for (const kind of ['ed25519', 'rsa2048'] satisfies readonly KeyKind[]) {
    test(`of ${kind} comes out as the clean one does`, async () => {
      const key = makeKey(kind);
      const subkey = makeKey(kind);
      const genuine = {
        revocation: onKey(key, { type: TYPES.keyRevocation, createdAt: T0 + 5000 }),
        older: onUserId(key, 'alice', { createdAt: T0 + 100 }),
        newest: onUserId(key, 'alice', { createdAt: T0 + 9000, hashed: [keyExpiresAfter(99_999)] }),
        subkey: join(subkeyPacket(subkey), binding(key, subkey, { createdAt: T0 + 7000 })),
      };
      const clean = join(
        primaryPacket(key),
        genuine.revocation,
        userIdPacket('alice'),
        genuine.newest,
        genuine.older,
        genuine.subkey,
      );
      const poison = poisonFor(key, kind, subkey);
      const parts = [
        primaryPacket(key),
        ...poison.revocations,
        genuine.revocation,
        userIdPacket('alice'),
        ...poison.certifications.slice(0, poison.certifications.length / 2),
        genuine.older,
        genuine.newest,
        ...poison.certifications.slice(poison.certifications.length / 2),
        ...poison.rest,
        subkeyPacket(subkey),
        ...poison.bindings,
        genuine.subkey.subarray(subkeyPacket(subkey).length),
      ];
      const filling = MAX_CERTIFICATES_BYTES - join(...parts).length;
      assert.ok(filling > 0 && filling < 1024 * 1024, `${filling}`);
      const poisoned = join(...parts, packet(TAG_USER_ATTRIBUTE, Buffer.alloc(filling - 6)));
      assert.equal(poisoned.length, MAX_CERTIFICATES_BYTES);
      const wanted = await cleanOne(clean);
      assert.deepEqual(wanted.details.revokedAt, at(T0 + 5000));
      assert.deepEqual(wanted.details.expiresAt, at(T0 + 99_999));
      const { warnings, ...kept } = await cleanOne(poisoned);
      assert.deepEqual({ ...kept, warnings: [] }, wanted);
      assert.deepEqual(
        warnings.map(({ code }) => code),
        ['PARTS_LEFT_OUT'],
      );
    });
  }

  test('that has more convincing forgeries than we check is refused as a whole, and those beside it are not', async () => {
    const key = makeKey();
    const good = makeKey();
    const forged = Array.from({ length: 9000 }, (_, i) =>
      onUserId(key, 'alice', { createdAt: T0 + 100 + i, forged: numbersLike('ed25519') }),
    );
    const results = await cleanAll(
      join(
        simpleCertificate(key),
        ...forged,
        onKey(key, { type: TYPES.keyRevocation }),
        simpleCertificate(good),
      ),
    );
    assert.deepEqual(
      results.map((result) => (result.kind === 'refused' ? result.code : result.details.fingerprint)),
      ['TOO_LARGE', good.fingerprint],
    );
  });
});

const NUMBER_BYTES = { ed25519: [32, 32], rsa2048: [256] } as const;

function numbersLike(kind: keyof typeof NUMBER_BYTES): readonly Uint8Array[] {
  return NUMBER_BYTES[kind].map((size) => {
    const number = randomBytes(size);
    number[0] = 0x10;
    return number;
  });
}

/** About 3.5 MiB of what strangers can add to a certificate. */
function poisonFor(key: WrittenKey, kind: 'ed25519' | 'rsa2048', subkey: WrittenKey) {
  const stranger = makeKey(kind);
  const each = kind === 'ed25519' ? 9600 : 3600;
  const forged = (i: number) => ({
    createdAt: T0 + 10_000 + i,
    forged: numbersLike(kind),
    digestStart: i & 0xffff,
  });
  const times = <T>(count: number, make: (i: number) => T) =>
    Array.from({ length: count }, (_, i) => make(i));
  const convincing = (i: number) => ({ createdAt: T0 + 10_000 + i, forged: numbersLike(kind) });
  return {
    revocations: [
      ...times(each / 4, (i) => onKey(key, { type: TYPES.keyRevocation, ...forged(i) })),
      ...times(50, (i) => onKey(key, { type: TYPES.keyRevocation, ...convincing(i) })),
    ],
    certifications: [
      ...times(each, (i) => onUserId(key, 'alice', { ...forged(i), unhashed: [issuer(stranger.keyId)] })),
      ...times(each, (i) => onUserId(key, 'alice', forged(i))),
      ...times(200, (i) => onUserId(key, 'alice', convincing(i))),
      ...times(each / 2, (i) => onUserId(key, 'alice', { ...forged(i), unhashed: [] })),
    ],
    bindings: [
      ...times(each / 4, (i) => binding(key, subkey, { ...forged(i), back: null })),
      ...times(50, (i) => binding(key, subkey, { ...convincing(i), back: null })),
    ],
    rest: [
      ...times(each / 4, (i) => join(userIdPacket(`evil ${i}`), onUserId(key, `evil ${i}`, forged(i)))),
      ...times(each, (i) => userIdPacket(`unbound ${i}`)),
      ...times(each / 10, (i) =>
        join(packet(TAG_USER_ATTRIBUTE, randomBytes(50)), onUserId(key, 'alice', forged(i))),
      ),
      ...times(20, () =>
        join(subkeyPacket(makeKey(kind === 'ed25519' ? 'ed25519' : 'nistp256')), binding(stranger, subkey)),
      ),
    ],
  };
}
