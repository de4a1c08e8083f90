// Every pair of signatures that differ in what readers care about, held against a model of the readers.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { isSameSignature, type Judged, saysTheSame, standsInFor } from '../../src/domain/equivalence.ts';
import { FORMS, OBSTACLES, type Obstacle, type Traits } from '../../src/domain/verdict.ts';

const PRIMARY = 'A'.repeat(40);
const SUBKEY = 'B'.repeat(40);
const DAYS = [1, 30].map((day) => new Date(Date.UTC(2026, 10, day)));

const BEST: Judged = {
  fingerprint: PRIMARY,
  signingFingerprint: PRIMARY,
  dockerReference: 'registry.example/team/app:v1',
  form: 'binary',
  expiresAt: null,
  traits: { signedSha256: '1'.repeat(64), digestBits: 512, obstacles: [] },
};

/** A reader of signatures: what it takes. */
interface Reader {
  readonly name: string;
  readonly takes: (signature: Judged, traits: Traits) => boolean;
}

const lacks = (...missing: readonly Obstacle[]) => {
  return (_: Judged, { obstacles }: Traits) => !obstacles.some((obstacle) => missing.includes(obstacle));
};

const READERS: readonly Reader[] = [
  { name: 'gpgme with containers/image 5.40', takes: ({ form }) => form !== 'cosign' },
  {
    name: 'older than August 2025',
    takes: ({ fingerprint, signingFingerprint }) => fingerprint === signingFingerprint,
  },
  {
    name: 'whose keyring lacks the subkey',
    takes: ({ signingFingerprint }) => signingFingerprint === PRIMARY,
  },
  {
    name: 'whose keyring revokes the primary key alone',
    takes: ({ signingFingerprint }) => signingFingerprint === SUBKEY,
  },
  { name: 'older than containers/image 5.22', takes: ({ form }) => form === 'binary' },
  { name: 'Go, which knows no clear text', takes: ({ form }) => form === 'binary' || form === 'tagged' },
  { name: 'Go after July 2026', takes: lacks('version-3') },
  { name: 'that converts the lines of a text', takes: lacks('text') },
  { name: 'Go, which stops at unhashed subpackets', takes: lacks('wrapping') },
  {
    name: 'OpenShift',
    takes: (signature, traits) => signature.form === 'binary' && lacks('payload')(signature, traits),
  },
  { name: 'with a policy of SHA-256', takes: (_, { digestBits }) => digestBits >= 256 },
  { name: 'with a policy of SHA-512', takes: (_, { digestBits }) => digestBits >= 512 },
];
const TIMES = [0, 15, 45].map((days) => new Date(Date.UTC(2026, 10, 1 + days)));

function accepts(reader: Reader, signature: Judged, now: Date): boolean {
  const { expiresAt, traits } = signature;
  return traits !== null && (expiresAt === null || expiresAt > now) && reader.takes(signature, traits);
}

function* variants(): Generator<Judged> {
  for (const form of FORMS) {
    for (const signingFingerprint of [PRIMARY, SUBKEY]) {
      for (const expiresAt of [null, ...DAYS]) {
        for (const digestBits of [224, 256, 512]) {
          for (let bits = 0; bits < 2 ** OBSTACLES.length; bits += 1) {
            const obstacles = OBSTACLES.filter((_, position) => (bits & (1 << position)) !== 0);
            const traits = { signedSha256: '2'.repeat(64), digestBits, obstacles };
            yield { ...BEST, form, signingFingerprint, expiresAt, traits };
          }
        }
      }
    }
  }
}

describe('a signature that stands in for another', () => {
  const all = [...variants()];

  test('is accepted by every reader that accepts the other, at any time: all pairs', () => {
    const accepted = all.map((signature) =>
      READERS.flatMap((reader) => TIMES.map((now) => accepts(reader, signature, now))),
    );
    let count = 0;
    for (const [one, ofOne] of accepted.entries()) {
      for (const [other, ofOther] of accepted.entries()) {
        const [first, second] = [all[one] ?? assert.fail(), all[other] ?? assert.fail()];
        if (!standsInFor(first, second)) continue;
        count += 1;
        assert.ok(
          ofOther.every((isTaken, position) => !isTaken || ofOne[position]),
          `${JSON.stringify(first)} leaves out a reader of ${JSON.stringify(second)}`,
        );
      }
    }
    // a chain of 3 has 6 ordered pairs, an obstacle that may be there or not has 3 of 4
    const forms = 4 + 3 + 2; // each for itself, binary for all, the tagged form for two
    assert.equal(count, forms * 2 * 6 * 6 * 3 ** OBSTACLES.length);
  });

  test('is of the same key and name, and its traits are known', () => {
    assert.ok(standsInFor(BEST, BEST));
    const others: readonly Partial<Judged>[] = [
      { fingerprint: SUBKEY },
      { fingerprint: null },
      { dockerReference: 'registry.example/team/app:v2' },
      { traits: null },
    ];
    for (const change of others) {
      assert.equal(standsInFor({ ...BEST, ...change }, BEST), false, JSON.stringify(change));
      assert.equal(standsInFor(BEST, { ...BEST, ...change }), false, JSON.stringify(change));
    }
    const nobody = { ...BEST, fingerprint: null };
    assert.equal(saysTheSame(nobody, nobody), false, 'what nobody vouches for says nothing');
  });
});

test('two are one signature when the same was signed, whatever its form', () => {
  assert.ok(isSameSignature(BEST, { ...BEST, form: 'tagged' }));
  const signedSha256 = '3'.repeat(64);
  assert.equal(
    isSameSignature(BEST, { ...BEST, traits: { signedSha256, digestBits: 512, obstacles: [] } }),
    false,
  );
  assert.equal(isSameSignature({ ...BEST, traits: null }, { ...BEST, traits: null }), false);
});
