import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { type ErrorCode, isLookasideError, LookasideError } from '../../src/domain/errors.ts';
import type { CleanedCertificate } from '../../src/domain/ports.ts';
import { parseReference } from '../../src/domain/reference.ts';
import type { Judgement } from '../../src/domain/verdict.ts';
import {
  namedSigners,
  signaturesOf,
  trustKeys,
  type VerifyQuestion,
  verifySignatures,
} from '../../src/service/verify.ts';
import { createClock, imageOf } from './hand-driven.ts';
import { FINGERPRINT, goodFor, keyOf, refusedWith, SUBKEY } from './judgements.ts';

const IMAGE = imageOf('team/app');
const OTHER_DIGEST = { ...IMAGE, hex: 'f'.repeat(64) };
const clock = createClock();

function named(text: string) {
  return parseReference(text) ?? assert.fail(text);
}

const QUESTION: VerifyQuestion = {
  digest: IMAGE,
  reference: named('registry.example/team/app:v1'),
  fingerprints: null,
  keysFrom: 'server',
};

async function check(judgement: Judgement, changes: Partial<VerifyQuestion> = {}) {
  const verifier = { examine: async () => judgement };
  const question = { ...QUESTION, ...changes };
  const [checked] = await verifySignatures({ verifier, clock }, question, [
    { source: 'one.signature', bytes: new Uint8Array() },
  ]);
  return checked ?? assert.fail();
}

const good = goodFor(IMAGE);
const claiming = (dockerReference: string) =>
  goodFor(IMAGE, { claim: { algorithm: 'sha256', hex: IMAGE.hex, creator: null, dockerReference } });

describe('a signature', () => {
  test('that is good and names the digest and the reference is accepted', async () => {
    assert.deepEqual(await check(good), {
      source: 'one.signature',
      refusal: null,
      fingerprint: FINGERPRINT,
      signingFingerprint: FINGERPRINT,
      signedAt: good.signedAt,
      expiresAt: null,
      manifestDigest: `sha256:${IMAGE.hex}`,
      dockerReference: 'registry.example/team/app:v1',
    });
  });

  test('may name Docker Hub in any of the ways that are read alike', async () => {
    const reference = named('busybox:1');
    for (const text of ['docker.io/library/busybox:1', 'index.docker.io/busybox:1', 'library/busybox:1']) {
      assert.equal((await check(claiming(text), { reference })).refusal, null, text);
    }
  });

  for (const [what, text] of [
    ['another tag', 'registry.example/team/app:v2'],
    ['no tag', 'registry.example/team/app'],
    ['a digest behind the tag', `registry.example/team/app:v1@sha256:${IMAGE.hex}`],
    ['another host', 'registry.example:5000/team/app:v1'],
    ['another repository', 'registry.example/team/app2:v1'],
  ] as const) {
    test(`for ${what} is refused, and what it names is told`, async () => {
      const { refusal, dockerReference } = await check(claiming(text));
      assert.equal(refusal?.code, 'REFERENCE_MISMATCH');
      assert.match(refusal.message, /expected registry\.example\/team\/app:v1\./);
      assert.equal(dockerReference, text);
    });
  }

  test('for another manifest is refused', async () => {
    const { refusal } = await check(good, { digest: OTHER_DIGEST });
    assert.equal(refusal?.code, 'DIGEST_MISMATCH');
    assert.match(refusal.message, new RegExp(`${IMAGE.hex}, this one is sha256:${OTHER_DIGEST.hex}`));
  });

  test('that an upload would be refused for is refused with the same code and sentence', async () => {
    const expired = goodFor(IMAGE, { refusal: { code: 'KEY_EXPIRED', message: 'long ago' } });
    assert.deepEqual((await check(expired)).refusal, { code: 'KEY_EXPIRED', message: 'long ago' });
  });

  test('that is not good has nothing of what it says told', async () => {
    const issuer = 'C'.repeat(16);
    const { refusal, ...rest } = await check({ ...refusedWith('SIGNATURE_BAD'), issuer });
    assert.equal(refusal?.code, 'SIGNATURE_BAD');
    const { source, ...facts } = rest;
    assert.equal(source, 'one.signature');
    assert.deepEqual(new Set(Object.values(facts)), new Set([null]));
  });

  test('by a key that is not in the keyring is not told to be unregistered', async () => {
    const stranger = { ...refusedWith('KEY_UNKNOWN', 'no-key'), issuer: 'C'.repeat(40) };
    assert.match(
      (await check(stranger, { keysFrom: 'keyring' })).refusal?.message ?? '',
      /names the key C{40}, which the keyring does not hold.*--keyring FILE$/,
    );
    assert.equal((await check(stranger)).refusal?.message, 'refused with KEY_UNKNOWN');
  });

  test('a key ID means the trusted key or subkey that has it, and is refused when several have it', () => {
    const [one, other] = ['AB'.repeat(20), `${'CD'.repeat(12)}${'AB'.repeat(8)}`];
    const fingerprints = new Set([one, SUBKEY]);
    assert.deepEqual(
      namedSigners([one.slice(-16), SUBKEY.slice(-16)], { fingerprints }),
      new Set([one, SUBKEY]),
    );
    assert.deepEqual(
      namedSigners([other, '0123456789ABCDEF'], { fingerprints }),
      new Set([other, '0123456789ABCDEF']),
    );
    assert.throws(
      () => namedSigners([one.slice(-16)], { fingerprints: new Set([one, other]) }),
      (error) => isLookasideError(error, 'CONFIG_INVALID') && /several keys have the ID/.test(error.message),
    );
  });

  test('is held against the fingerprints that were asked for, of its primary key or of its subkey', async () => {
    const bySubkey = goodFor(IMAGE, { signingFingerprint: SUBKEY });
    const codeFor = async (...fingerprints: string[]) =>
      (await check(bySubkey, { fingerprints: new Set(fingerprints) })).refusal?.code ?? null;
    assert.equal(await codeFor(SUBKEY), null);
    assert.equal(await codeFor('C'.repeat(40), FINGERPRINT), null);
    assert.equal(await codeFor('C'.repeat(40)), 'KEY_UNKNOWN');
  });
});

test('the signatures of a server are those up to the first missing number', async () => {
  const blobs = new Map([1, 2, 4].map((number) => [number, Uint8Array.of(number)]));
  const results = [];
  for await (const one of signaturesOf({ signature: async (_image, number) => blobs.get(number) ?? null }, [
    IMAGE,
    OTHER_DIGEST,
  ])) {
    results.push(one);
  }
  assert.deepEqual(results, [
    { source: 'signature-1', bytes: Uint8Array.of(1) },
    { source: 'signature-2', bytes: Uint8Array.of(2) },
  ]);
});

test('the signatures of a server are those of OpenShift’s release layout where the repository has none', async () => {
  const release = { ...IMAGE, layout: 'release', path: '' } as const;
  const server = {
    signature: async ({ layout }: { readonly layout: string }, number: number) =>
      layout === 'release' && number === 1 ? Uint8Array.of(7) : null,
  };
  const results = [];
  for await (const one of signaturesOf(server, [IMAGE, release])) results.push(one);
  assert.deepEqual(results, [{ source: 'signature-1', bytes: Uint8Array.of(7) }]);
});

test('a signature that cannot be looked at to its end keeps no other from being accepted', async () => {
  const verifier = {
    async examine(bytes: Uint8Array) {
      if (bytes[0] === 1) throw new LookasideError('BUSY', 'verification took longer than 2000 ms');
      return good;
    },
  };
  const untrusted = [1, 2].map((octet) => ({ source: String(octet), bytes: Uint8Array.of(octet) }));
  const checked = await verifySignatures({ verifier, clock }, QUESTION, untrusted);
  assert.deepEqual(
    checked.map(({ refusal }) => refusal?.code ?? null),
    ['BUSY', null],
  );
});

test('a server that has an answer to every number is asked for no more than clients would', async () => {
  let asked = 0;
  const endless = {
    signature: async () => {
      asked += 1;
      return new Uint8Array();
    },
  };
  for await (const { source } of signaturesOf(endless, [IMAGE, OTHER_DIGEST])) assert.ok(source !== '');
  assert.equal(asked, 127);
});

/** A verifier that takes a file for the name of a key; `none` holds no certificate. */
function open() {
  const keyrings: string[][] = [];
  const clean = (name: string): CleanedCertificate =>
    name === 'bad'
      ? { kind: 'refused', fingerprint: null, code: 'ALGORITHM_WEAK', message: 'weak' }
      : {
          kind: 'clean',
          details: keyOf({ fingerprint: name }),
          certificate: Buffer.from(name),
          warnings: [],
        };
  const verifier = {
    async cleanCertificates(bytes: Uint8Array) {
      const names = Buffer.from(bytes).toString().split(' ');
      const thrown = names.find((name): name is ErrorCode => /^[A-Z_]+$/.test(name));
      if (thrown !== undefined) throw new LookasideError(thrown, 'no certificate');
      return names.map(clean);
    },
    setKeyring: (certificates: readonly Uint8Array[]) => {
      keyrings.push(certificates.map((certificate) => Buffer.from(certificate).toString()));
    },
  };
  const trust = (...files: readonly string[]) =>
    trustKeys(
      { verifier, clock },
      files.map((text) => ({ source: `${text}.gpg`, certificates: [Buffer.from(text)] })),
    );
  return { trust, keyrings };
}

describe('the keys to verify with', () => {
  test('are those of all files, each file merged with what came before it', async () => {
    const { trust, keyrings } = open();
    const { fingerprints, ...rest } = await trust('alice bob', 'carol alice');
    assert.deepEqual(rest, { refused: [], warnings: [] });
    for (const name of ['alice', 'bob', 'carol']) assert.ok(fingerprints.has(name), name);
    assert.deepEqual(keyrings, [
      ['alice', 'bob'],
      ['alice', 'bob', 'carol'],
    ]);
  });

  test('are used without those that cannot be taken, which are told', async () => {
    const { trust, keyrings } = open();
    assert.deepEqual((await trust('bad alice', 'REQUEST_INVALID')).refused, [
      { source: 'bad alice.gpg', fingerprint: null, code: 'ALGORITHM_WEAK', message: 'weak' },
      {
        source: 'REQUEST_INVALID.gpg',
        fingerprint: null,
        code: 'REQUEST_INVALID',
        message: 'no certificate',
      },
    ]);
    assert.deepEqual(keyrings.at(-1), ['alice']);
  });

  test('must not be none', async () => {
    const message = /no key to verify with: bad\.gpg: weak/;
    await assert.rejects(open().trust('bad'), { code: 'CONFIG_INVALID', message });
    await assert.rejects(open().trust(), { code: 'CONFIG_INVALID', message: /none is there/ });
  });

  test('are not said to be missing when nobody could look at them', async () => {
    await assert.rejects(open().trust('alice', 'BUSY'), { code: 'BUSY' });
  });
});
