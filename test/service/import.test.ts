import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { isLookasideError, LookasideError } from '../../src/domain/errors.ts';
import { type ImageId, imageFolder, imageKey, imageName } from '../../src/domain/image.ts';
import type { SetEntry, VerifiedUpload } from '../../src/domain/ports.ts';
import type { Judgement } from '../../src/domain/verdict.ts';
import { ADMINISTRATOR, createEventMaker } from '../../src/service/audit.ts';
import { createImporter } from '../../src/service/import.ts';
import { sha256Hex } from '../store/lay.ts';
import { createClock, imageOf } from './hand-driven.ts';
import { FINGERPRINT, goodFor, keyOf, refusedWith } from './judgements.ts';

const IMAGE = imageOf('team/app');
const OTHER = imageOf('team/other', 'b');
/** Begins as clients want it. */
const FIRST_BYTE = '\x89';

interface Scene {
  /** What verification finds, by the text behind the first byte; good for IMAGE unless told. */
  readonly judgements?: Readonly<Record<string, Judgement>>;
  readonly failsWith?: LookasideError;
  readonly tree?: 'owned' | 'shared';
  /** Texts that IMAGE holds already. */
  readonly stored?: readonly string[];
  /** The server stops once so many are appended. */
  readonly stopsAfter?: number;
  /** A key is registered once this text was examined. */
  readonly keyAddedAfter?: string;
}

function open({
  judgements = {},
  failsWith,
  tree = 'owned',
  stored = [],
  stopsAfter,
  keyAddedAfter,
}: Scene = {}) {
  let keyringChanges = 0;
  const verifiedAgain: string[] = [];
  const clock = createClock();
  const appended: VerifiedUpload[] = [];
  const examined: string[] = [];
  const sets = new Map<string, Uint8Array[]>([[imageKey(IMAGE), stored.map(bytesOf)]]);
  const setOf = (image: ImageId) => sets.get(imageKey(image)) ?? [];
  const importer = createImporter({
    treeOf: () => tree,
    verifier: {
      async examine(bytes, _now, urgency) {
        assert.equal(urgency, 'background');
        const text = Buffer.from(bytes).toString('latin1').slice(1);
        examined.push(text);
        if (text === keyAddedAfter) keyringChanges += 1;
        return judgements[text] ?? goodFor(IMAGE);
      },
    },
    keys: { find: async (fingerprint) => (fingerprint === FINGERPRINT ? keyOf() : null) },
    uploads: {
      ofImage: async (image) =>
        setOf(image).map((bytes, position) => {
          return {
            sha256: sha256Hex(bytes),
            uploader: 'ci',
            storedAt: clock.now(),
            auditSeq: position + 1,
            remap: null,
          };
        }),
    },
    reader: {
      async readSet(image) {
        const entries = setOf(image).map((bytes): SetEntry => {
          return { sha256: sha256Hex(bytes), sizeBytes: bytes.length, storedAt: clock.now(), bytes };
        });
        return { generation: 1, entries };
      },
    },
    appender: {
      async append(upload) {
        if (failsWith !== undefined) throw failsWith;
        appended.push(upload);
        if (appended.length === stopsAfter) importer.stop();
        const set = setOf(upload.image);
        sets.set(imageKey(upload.image), [...set, upload.bytes]);
        const sha256 = sha256Hex(upload.bytes);
        return { outcome: 'created', number: set.length + 1, sha256, auditSeq: 70 + appended.length };
      },
    },
    makeEvent: createEventMaker({ clock, randomBytes: (count) => new Uint8Array(count) }),
    clock,
    sha256: sha256Hex,
    keyringChanges: () => keyringChanges,
    verifyAgain: async (issuers) => void verifiedAgain.push(...issuers),
  });
  const run = (parts: readonly ReturnType<typeof partOf>[], dryRun = false) =>
    importer.importBatch(parts, { site: 'default', dryRun }, ADMINISTRATOR);
  return { run, appended, examined, verifiedAgain };
}

function bytesOf(text: string): Buffer {
  return Buffer.from(FIRST_BYTE + text, 'latin1');
}

function partOf(text: string, fileName: string | null = `${imageFolder(IMAGE)}/signature-1`) {
  return { bytes: bytesOf(text), fileName };
}

/** `created verified`, `exists`, or the code of the refusal. */
function summaries(results: Awaited<ReturnType<ReturnType<typeof open>['run']>>): string[] {
  return results.map((result) => {
    if (result.result === 'refused') return result.code;
    return result.result === 'exists' ? 'exists' : `created ${result.state}`;
  });
}

describe('what clients could read is kept with its verdict', () => {
  const EXPIRED = new Date('2026-01-01T00:00:00.000Z');
  const kept: Readonly<Record<string, readonly [Judgement, string]>> = {
    good: [goodFor(IMAGE), 'verified'],
    'by an unknown key': [refusedWith('KEY_UNKNOWN', 'no-key'), 'unknown-key'],
    'of version 6 or post-quantum': [refusedWith('ALGORITHM_UNSUPPORTED', 'unsupported'), 'unsupported'],
    'cosign, tagged': [refusedWith('FORMAT_UNSUPPORTED', 'unsupported'), 'unsupported'],
    'signed in the future': [refusedWith('SIGNED_IN_FUTURE', 'unverified'), 'unverified'],
    'tagged and clear-signed': [
      goodFor(IMAGE, { ...refused('NOT_INLINE_SIGNED'), form: 'tagged-cleartext' }),
      'verified',
    ],
    'expired since': [goodFor(IMAGE, { ...refused('SIGNATURE_EXPIRED'), expiresAt: EXPIRED }), 'expired'],
    'of another repository': [goodFor(imageOf('mirror/of/app')), 'verified'],
  };
  for (const [what, [judgement, state]] of Object.entries(kept)) {
    test(what, async () => {
      const { run, appended } = open({ judgements: { it: judgement } });
      assert.deepEqual(summaries(await run([partOf('it')])), [`created ${state}`]);
      assert.equal(appended[0]?.judgement.verdict, judgement.verdict);
      assert.equal(appended[0]?.event.action, 'import');
      assert.equal(appended[0]?.uploader, 'administrator');
    });
  }
});

function refused(code: 'NOT_INLINE_SIGNED' | 'SIGNATURE_EXPIRED') {
  return { refusal: { code, message: code } };
}

describe('what clients could never read or verify is refused', () => {
  const findings: Readonly<Record<string, Judgement>> = {
    ARMORED: refusedWith('ARMORED', 'unreadable'),
    STRUCTURE_INVALID: refusedWith('STRUCTURE_INVALID', 'unreadable'),
    SIGNATURE_BAD: refusedWith('SIGNATURE_BAD'),
    PAYLOAD_INVALID: refusedWith('PAYLOAD_INVALID'),
    REFERENCE_INVALID: refusedWith('REFERENCE_INVALID'),
    KEY_REVOKED: refusedWith('KEY_REVOKED'),
    DIGEST_MISMATCH: goodFor(OTHER),
  };

  test('each with its code and its sentence, and never stops the others', async () => {
    const { run, appended } = open({ judgements: findings });
    const codes = Object.keys(findings);
    const results = await run([...codes.map((code) => partOf(code)), partOf('good')]);
    assert.deepEqual(summaries(results), [...codes, 'created verified']);
    for (const result of results) assert.ok(result.result !== 'refused' || result.message.length > 0);
    assert.equal(appended.length, 1);
  });

  test('also when nothing speaks against it but that no client takes its first byte', async () => {
    const { run, appended } = open({ judgements: { x: refusedWith('KEY_UNKNOWN', 'no-key') } });
    const wrong = { bytes: Buffer.from('zx'), fileName: `${imageFolder(IMAGE)}/signature-1` };
    assert.deepEqual(summaries(await run([wrong])), ['FIRST_BYTE']);
    assert.equal(appended.length, 0);
  });
});

test('a place that is too long is refused, by the path or by the claim, and stops none of the others', async () => {
  const { run, appended } = open({ judgements: { claims: goodFor(imageOf('n'.repeat(200))) } });
  const results = await run([
    partOf('named', `${'c/'.repeat(1900)}sha256=${IMAGE.hex}/signature-1`),
    partOf('claims', null),
    partOf('good'),
  ]);
  assert.deepEqual(summaries(results), ['PATH_INVALID', 'PATH_INVALID', 'created verified']);
  assert.equal(appended.length, 1);
});

describe('a file whose path names no image', () => {
  test('goes where its verified claim says', async () => {
    const { run, appended } = open({ judgements: { one: goodFor(OTHER) } });
    const [result] = await run([partOf('one', null)]);
    assert.ok(result?.result === 'created');
    assert.equal(result.image, imageName(OTHER));
    assert.deepEqual(appended[0]?.image, OTHER);
  });

  test('is refused when nobody vouches for its claim', async () => {
    const { run } = open({ judgements: { one: refusedWith('KEY_UNKNOWN', 'no-key') } });
    assert.deepEqual(summaries(await run([partOf('one', 'app.signature')])), ['REFERENCE_INVALID']);
  });

  test('and lies beside a manifest has to be that manifest’s', async () => {
    const { run } = open();
    const beside = (digit: string) => partOf(digit, `sha256:${digit.repeat(64)}`);
    assert.deepEqual(summaries(await run([beside('a'), beside('b')])), [
      'created verified',
      'DIGEST_MISMATCH',
    ]);
  });
});

test('signatures of one image are appended in the order of the parts', async () => {
  const { run, appended } = open({ judgements: { there: goodFor(OTHER) } });
  const elsewhere = partOf('there', `${imageFolder(OTHER)}/signature-1`);
  await run([partOf('a'), elsewhere, partOf('b'), partOf('c')]);
  const texts = appended.filter(({ image }) => imageKey(image) === imageKey(IMAGE)).map(({ bytes }) => bytes);
  assert.deepEqual(texts, [bytesOf('a'), bytesOf('b'), bytesOf('c')]);
  assert.ok(appended.every(({ number, review }) => number === null && review === null));
});

test('what is stored and kept already is not verified again', async () => {
  const { run, appended, examined } = open({ stored: ['a', 'b'] });
  const results = await run([partOf('b'), partOf('c')]);
  assert.deepEqual(summaries(results), ['exists', 'created verified']);
  assert.ok(results[0]?.result === 'exists');
  assert.deepEqual([results[0].number, results[0].auditSeq], [2, 2]);
  assert.deepEqual(examined, ['c']);
  assert.equal(appended.length, 1);
});

test('a dry run judges everything, tells what would be stored, and stores nothing', async () => {
  const stored = Array.from({ length: 126 }, (_, n) => `stored ${n}`);
  const { run, appended } = open({ stored, judgements: { bad: refusedWith('SIGNATURE_BAD') } });
  const results = await run(
    ['stored 3', 'bad', 'a', 'a', 'b'].map((text) => partOf(text)),
    true,
  );
  assert.deepEqual(summaries(results), [
    'exists',
    'SIGNATURE_BAD',
    'created verified',
    'exists',
    'TOO_MANY_SIGNATURES',
  ]);
  assert.equal(appended.length, 0);
});

test('one image that takes no more is told of its files; a store that takes no more ends the import', async () => {
  const full = open({ failsWith: new LookasideError('TOO_MANY_SIGNATURES', 'full') });
  assert.deepEqual(summaries(await full.run([partOf('a')])), ['TOO_MANY_SIGNATURES']);
  const broken = open({ failsWith: new LookasideError('DISK_FULL', 'no space') });
  await assert.rejects(broken.run([partOf('a')]), (error) => isLookasideError(error, 'DISK_FULL'));
});

test('once the server stops, an image with many signatures gets no more of them, and all are to be sent again', async () => {
  const { run, appended } = open({ stopsAfter: 2 });
  const texts = ['a', 'b', 'c', 'd'];
  await assert.rejects(run(texts.map((text) => partOf(text))), (error) => isLookasideError(error, 'BUSY'));
  assert.deepEqual(
    appended.map(({ bytes }) => Buffer.from(bytes)),
    ['a', 'b'].map(bytesOf),
  );
});

test('a shared tree takes no import', async () => {
  const { run, examined } = open({ tree: 'shared' });
  await assert.rejects(run([partOf('a')]), (error) => isLookasideError(error, 'REQUEST_INVALID'));
  assert.deepEqual(examined, []);
});

test('what had no key is verified again when a key was registered before it was stored', async () => {
  const noKey = { ...refusedWith('KEY_UNKNOWN', 'no-key'), issuer: FINGERPRINT };
  const judgements = { early: noKey, late: noKey };
  const quiet = open({ judgements });
  await quiet.run([partOf('early'), partOf('late')]);
  assert.deepEqual(quiet.verifiedAgain, []);
  const changed = open({ judgements, keyAddedAfter: 'early' });
  await changed.run([partOf('early')]);
  assert.deepEqual(changed.verifiedAgain, [FINGERPRINT]);
});
