import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { NewAuditEvent } from '../../src/domain/audit.ts';
import { isLookasideError, LookasideError } from '../../src/domain/errors.ts';
import { type ImageId, imageFolder, imageKey } from '../../src/domain/image.ts';
import type { RegisteredKey } from '../../src/domain/key.ts';
import {
  MAX_SIGNATURE_BYTES,
  MAX_SIGNATURES_PER_CLAIM,
  MAX_UNVERIFIABLE_PER_IMAGE,
} from '../../src/domain/limits.ts';
import type { IndexedSignature, UploadReview, VerifiedUpload } from '../../src/domain/ports.ts';
import type { Receipt } from '../../src/domain/receipt.ts';
import { parseRemap, type Remap } from '../../src/domain/remap.ts';
import type { Claim, Judgement, Traits } from '../../src/domain/verdict.ts';
import { createEventMaker } from '../../src/service/audit.ts';
import { createRefusalRecorder } from '../../src/service/refusals.ts';
import { createUploader, type UploaderOptions } from '../../src/service/upload.ts';
import { sha256Hex } from '../store/lay.ts';
import { createClock, createLog, imageOf } from './hand-driven.ts';
import { FINGERPRINT, goodFor, indexed, keyOf, refusedWith, SUBKEY, TRAITS } from './judgements.ts';

const IMAGE = imageOf('team/app');
const ACTOR = { name: 'ci', address: '192.0.2.7', requestId: 'r-1' };

interface Scene {
  /** What verification finds, by the text of the bytes. */
  readonly judgements?: Readonly<Record<string, Judgement>>;
  readonly stored?: readonly IndexedSignature[];
  readonly failsWith?: LookasideError;
  readonly auditFails?: boolean;
  /** Another one comes with each verification. */
  readonly keyring?: { number: number };
  /** What the operator allows. */
  readonly remaps?: readonly string[];
  readonly acceptUnsupported?: 'off' | 'v6';
  /** SHA-256 of stored blobs by who has uploaded them. */
  readonly uploads?: Readonly<Record<string, string>>;
  readonly permit?: UploaderOptions['permit'];
  /** What is told of the registered key; null: another node has removed it. */
  readonly key?: Partial<RegisteredKey> | null;
}

interface Changes {
  readonly number?: number;
  readonly force?: boolean;
  readonly image?: ImageId;
  readonly signedFor?: readonly string[];
}

/** An uploader over an appender that stores in memory as the real one promises to. */
function open({
  judgements = {},
  stored = [],
  failsWith,
  auditFails = false,
  remaps = [],
  ...more
}: Scene = {}) {
  const clock = createClock();
  const log = createLog();
  const appended: VerifiedUpload[] = [];
  const events: NewAuditEvent[] = [];
  const judged: string[] = [];
  const reviews: UploadReview[] = [];
  const keysAsked: string[] = [];
  const taken = new Map<string, number>();
  const makeEvent = createEventMaker({
    clock,
    randomBytes: (count) => new Uint8Array(count),
  });
  const audit = {
    append: async (event: NewAuditEvent) => {
      if (auditFails) throw new LookasideError('STORE_UNAVAILABLE', 'no disk');
      return events.push(event);
    },
  };
  const { keyring } = more;
  const uploader = createUploader({
    ...(keyring === undefined ? {} : { keyringNumber: () => keyring.number }),
    verifier: {
      examine: async (bytes, _now, urgency) => {
        assert.equal(urgency, 'upload');
        if (keyring !== undefined) keyring.number += 1;
        return judgements[Buffer.from(bytes).toString()] ?? goodFor(IMAGE);
      },
    },
    keys: {
      async find(fingerprint) {
        keysAsked.push(fingerprint);
        return fingerprint === FINGERPRINT && more.key !== null ? keyOf(more.key) : null;
      },
    },
    appender: {
      async append(upload) {
        if (failsWith !== undefined) throw failsWith;
        const review = (await upload.review?.(stored)) ?? assert.fail('an upload that asks nothing');
        reviews.push(review);
        const { standIn, outcome } = review;
        if (standIn !== null) {
          const { servedNumber: number, sha256 } = standIn;
          return { outcome, number, sha256, auditSeq: null };
        }
        appended.push(upload);
        const key = imageKey(upload.image);
        const number = (taken.get(key) ?? stored.length) + 1;
        taken.set(key, number);
        return { outcome: 'created', number, sha256: sha256Hex(upload.bytes), auditSeq: 7 };
      },
    },
    judgeImage: async (image) => void judged.push(imageKey(image)),
    refusals: createRefusalRecorder({ audit, makeEvent, clock, log }),
    makeEvent,
    clock,
    sha256: sha256Hex,
    remaps: () => remaps.map(remapOf),
    permit: more.permit ?? (async (actor) => actor),
    unverifiable: {
      accepted: () => more.acceptUnsupported ?? 'off',
      // of bytes that say so themselves, or of a stored blob
      untrustedClaim: (bytes) => claimOf6(Buffer.from(bytes).toString()),
      readBlob: async (_image, sha256) => Buffer.from(BLOBS_6[sha256] ?? ''),
      uploads: {
        ofImage: async () =>
          Object.entries(more.uploads ?? {}).map(([sha256, uploader], position) => {
            return { sha256, uploader, storedAt: clock.now(), auditSeq: position + 1, remap: null };
          }),
      },
    },
    maxBytes: () => 1000,
  });
  const put = (text: string, changes: Changes = {}) => {
    const { number = null, force = false, image = IMAGE, signedFor = [] } = changes;
    const how = { number, force, signedFor: signedFor.map(remapOf) };
    return uploader.upload({ image, bytes: Buffer.from(text), ...how }, ACTOR);
  };
  return { uploader, put, appended, events, judged, reviews, keysAsked, log, clock };
}

const UNSUPPORTED = refusedWith('ALGORITHM_UNSUPPORTED', 'unsupported');
const NAME = 'registry.example/team/app:v1';

/** By SHA-256: what stored signatures of version 6 are, in the words of claimOf6(). */
const BLOBS_6: Readonly<Record<string, string>> = {
  ['6'.repeat(64)]: `v6 ${NAME}`,
  ['7'.repeat(64)]: 'v6 registry.example/team/app:v2',
};

function claimOf6(text: string): Claim | null {
  const [version, dockerReference] = text.split(' ');
  if (version !== 'v6' || dockerReference === undefined) return null;
  return { algorithm: IMAGE.algorithm, hex: IMAGE.hex, dockerReference, creator: null };
}

const remapOf = (text: string): Remap => parseRemap(text) ?? assert.fail(text);

const codesOf = ({ warnings }: Receipt) => warnings.map((warning) => warning.code);

/** Traits of a signature that is not the uploaded one: its number is in what was signed. */
const signed = (number: string): Traits => ({ ...TRAITS, signedSha256: number.padStart(64, '0') });

const code = (wanted: string) => (error: unknown) => isLookasideError(error) && error.code === wanted;

test('an upload says with which keyring it was verified: the one from before', async () => {
  const { put, appended } = open({ keyring: { number: 7 } });
  await put('one');
  await put('two');
  assert.deepEqual(
    appended.map(({ keyring }) => keyring),
    [7, 8],
  );
});

test('an upload by a key that an administrator revoked is refused with the reason, and nothing is stored', async () => {
  const at = new Date('2026-11-01T00:00:00.000Z');
  const revocation = {
    at,
    by: 'carol',
    reason: 'leaked',
    auditSeq: 1,
    withdraws: false,
    isInCertificate: false,
  };
  const { put, appended, events } = open({ key: { revokedAt: at, revocation } });
  await assert.rejects(
    put('one'),
    (error) =>
      isLookasideError(error, 'KEY_REVOKED') &&
      /revoked the key A{40} at 2026-11-01T00:00:00.000Z: "leaked"; sign the image with another/.test(
        error.message,
      ),
  );
  assert.deepEqual(appended, []);
  assert.deepEqual(
    events.map(({ action, result }) => [action, result]),
    [['upload', 'KEY_REVOKED']],
  );
});

test('an upload by a key that was removed since the signature was verified is refused', async () => {
  const { put, appended, events } = open({ key: null });
  await assert.rejects(put('one'), { code: 'KEY_UNKNOWN', message: /the key A{40} has just been removed/ });
  assert.deepEqual(appended, []);
  assert.deepEqual(
    events.map(({ action, result }) => [action, result]),
    [['upload', 'KEY_UNKNOWN']],
  );
});

describe('an upload by a retired key', () => {
  const key = { retiredAt: new Date('2026-11-01T00:00:00.000Z') };

  test('is refused with an event that says what to do, and nothing is stored', async () => {
    const { put, appended, events } = open({ key });
    await assert.rejects(put('one'), (error) => {
      assert.ok(isLookasideError(error, 'KEY_RETIRED'));
      assert.match(
        error.message,
        /was retired at 2026-11-01T00:00:00.000Z, .* sign the image with the key that/,
      );
      assert.match(error.message, new RegExp(`lookaside key retire ${FINGERPRINT} --undo$`));
      return true;
    });
    assert.deepEqual(appended, []);
    assert.deepEqual(
      events.map(({ action, result, fingerprint }) => [action, result, fingerprint]),
      [['upload', 'KEY_RETIRED', FINGERPRINT]],
    );
  });

  test('that a stored signature stands in for succeeds as before, and that signature stays verified', async () => {
    const { put, appended } = open({ key, stored: [indexed(IMAGE, 1, goodFor(IMAGE))] });
    const { created, number, state } = await put('one');
    assert.deepEqual([created, number, state, appended], [false, 1, 'verified', []]);
  });
});

describe('an upload that no grant covers', () => {
  const permit = async () => {
    throw new LookasideError('NOT_GRANTED', 'no grant of the signer "ci" covers the key');
  };

  test('is refused with an event, and nothing is stored', async () => {
    const { put, appended, events } = open({ permit });
    await assert.rejects(put('one'), code('NOT_GRANTED'));
    assert.deepEqual(appended, []);
    assert.deepEqual(
      events.map(({ action, result, fingerprint }) => [action, result, fingerprint]),
      [['upload', 'NOT_GRANTED', FINGERPRINT]],
    );
  });

  test('is asked about by its place, its key and its tag; what nobody verified by no key', async () => {
    const asked: unknown[] = [];
    const judgements = { 'v6 registry.example/team/app:v1': UNSUPPORTED };
    const { put } = open({
      judgements,
      acceptUnsupported: 'v6',
      async permit(actor, { image, fingerprint, tag }) {
        asked.push([actor.name, image.path, fingerprint, tag]);
        return actor;
      },
    });
    await put('one');
    await assert.rejects(put('v6 registry.example/team/app:v1'));
    assert.deepEqual(asked, [
      ['ci', 'team/app', FINGERPRINT, 'v1'],
      ['ci', 'team/app', null, 'v1'],
    ]);
  });
});

describe('an upload', () => {
  test('that is good is stored with its judgement, its uploader and an event, and told with its number', async () => {
    const { put, appended, events } = open();
    assert.deepEqual(await put('one'), {
      path: `/${imageFolder(IMAGE)}/signature-1`,
      number: 1,
      created: true,
      state: 'verified',
      fingerprint: FINGERPRINT,
      signingFingerprint: FINGERPRINT,
      manifestDigest: `sha256:${IMAGE.hex}`,
      dockerReference: 'registry.example/team/app:v1',
      signedAt: goodFor(IMAGE).signedAt,
      signatureSha256: sha256Hex(Buffer.from('one')),
      auditSeq: 7,
      warnings: [],
    });
    assert.equal(appended.length, 1);
    const [upload] = appended;
    assert.equal(upload?.uploader, 'ci');
    assert.equal(upload?.judgement.verdict, 'good');
    const {
      action,
      result,
      image,
      signatureSha256,
      fingerprint,
      private: hidden,
    } = upload?.event ?? assert.fail();
    assert.deepEqual(
      { action, result, image, signatureSha256, fingerprint, hidden },
      {
        action: 'upload',
        result: 'created',
        image: imageFolder(IMAGE),
        signatureSha256: sha256Hex(Buffer.from('one')),
        fingerprint: FINGERPRINT,
        hidden: { actor: 'ci', address: '192.0.2.7', requestId: 'r-1', reason: null },
      },
    );
    assert.deepEqual(events, [], 'the store writes the event of what it stored');
  });

  test('that verification refuses is not stored, and leaves an event with the code and the sentence', async () => {
    const { put, appended, events } = open({ judgements: { bad: refusedWith('SIGNATURE_BAD') } });
    await assert.rejects(put('bad'), code('SIGNATURE_BAD'));
    assert.deepEqual(appended, []);
    assert.deepEqual(
      events.map(({ action, result, image, signatureSha256, private: { reason, actor } }) => {
        return { action, result, image, signatureSha256, reason, actor };
      }),
      [
        {
          action: 'upload',
          result: 'SIGNATURE_BAD',
          image: imageFolder(IMAGE),
          signatureSha256: sha256Hex(Buffer.from('bad')),
          reason: 'refused with SIGNATURE_BAD',
          actor: 'ci',
        },
      ],
    );
  });

  test('over the size limit is refused before anything looks at it', async () => {
    const { put, appended } = open({ judgements: { ['x'.repeat(1001)]: refusedWith('SIGNATURE_BAD') } });
    await assert.rejects(put('x'.repeat(1001)), code('TOO_LARGE'));
    await put('x'.repeat(1000));
    assert.equal(appended.length, 1);
  });

  test('good beside an expired key is refused: clients would refuse it', async () => {
    const expired = goodFor(IMAGE, { refusal: { code: 'KEY_EXPIRED', message: 'expired' } });
    const { put, appended } = open({ judgements: { late: expired } });
    await assert.rejects(put('late'), code('KEY_EXPIRED'));
    assert.deepEqual(appended, []);
  });

  const elsewhere: readonly (readonly [what: string, judgement: Judgement, image: ImageId, code: string])[] =
    [
      ['another manifest', goodFor(imageOf('team/app', 'b')), IMAGE, 'DIGEST_MISMATCH'],
      ['another repository', goodFor(imageOf('team/other')), IMAGE, 'REPOSITORY_MISMATCH'],
      ['a longer repository', goodFor(imageOf('team/app/x')), IMAGE, 'REPOSITORY_MISMATCH'],
      ['a repository of the same beginning', goodFor(imageOf('team/app2')), IMAGE, 'REPOSITORY_MISMATCH'],
      [
        'another digest algorithm',
        goodFor(IMAGE),
        { ...IMAGE, algorithm: 'sha512', hex: 'a'.repeat(128) },
        'DIGEST_MISMATCH',
      ],
    ];
  for (const [what, judgement, image, wanted] of elsewhere) {
    test(`for ${what} is refused with ${wanted}`, async () => {
      const { put, appended, events } = open({ judgements: { one: judgement } });
      await assert.rejects(put('one', { image }), code(wanted));
      assert.deepEqual(appended, []);
      assert.deepEqual(
        events.map(({ result }) => result),
        [wanted],
      );
    });
  }

  test('of a name without registry and namespace belongs below library/', async () => {
    const image = imageOf('library/busybox');
    const claim = {
      algorithm: 'sha256',
      hex: image.hex,
      dockerReference: 'busybox:latest',
      creator: null,
    } as const;
    const { put } = open({ judgements: { one: goodFor(image, { claim }) } });
    assert.equal((await put('one', { image })).dockerReference, 'busybox:latest');
    await assert.rejects(put('one', { image: imageOf('busybox') }), code('REPOSITORY_MISMATCH'));
  });

  test('below the name of a mirror is stored with the remap that was asked for and is allowed, which its event tells', async () => {
    const image = imageOf('mirror/team/app');
    const { put, appended } = open({
      judgements: { one: goodFor(imageOf('team/app')) },
      remaps: ['mirror=registry.example'],
    });
    const signedFor = ['mirror=registry.example'];
    const receipt = await put('one', { image, signedFor });
    assert.equal(receipt.path, `/${imageFolder(image)}/signature-1`);
    assert.deepEqual(codesOf(receipt), ['REMAPPED']);
    assert.equal(appended[0]?.remap, 'mirror=registry.example');
    assert.match(
      appended[0]?.event.private.reason ?? '',
      /registry\.example\/team\/app:v1.* mirror=registry\.example/,
    );
  });

  test('below the name of a mirror is not stored where the operator does not allow it, or nobody asks', async () => {
    const image = imageOf('mirror/team/app');
    const { put, appended, events } = open({
      judgements: { one: goodFor(imageOf('team/app')) },
      remaps: ['mirror/team/other=registry.example/team/other'],
    });
    const signedFor = ['mirror=registry.example'];
    await assert.rejects(put('one', { image, signedFor }), code('REMAP_NOT_ALLOWED'));
    await assert.rejects(put('one', { image }), code('REPOSITORY_MISMATCH'));
    assert.deepEqual(appended, []);
    assert.deepEqual(
      events.map(({ result }) => result),
      ['REMAP_NOT_ALLOWED', 'REPOSITORY_MISMATCH'],
    );
  });

  test('in the release layout is held against the digest alone', async () => {
    const image: ImageId = { ...IMAGE, layout: 'release', path: 'openshift/release' };
    const { put } = open();
    assert.equal((await put('one', { image })).path, `/openshift/release/sha256=${IMAGE.hex}/signature-1`);
  });

  test('of more bytes than any client reads leaves no hash: the rest was not kept', async () => {
    const { put, events } = open();
    await assert.rejects(put('x'.repeat(MAX_SIGNATURE_BYTES + 1)), code('TOO_LARGE'));
    await assert.rejects(put('x'.repeat(MAX_SIGNATURE_BYTES)), code('TOO_LARGE'));
    assert.deepEqual(
      events.map(({ signatureSha256 }) => signatureSha256),
      [null, sha256Hex(Buffer.from('x'.repeat(MAX_SIGNATURE_BYTES)))],
    );
  });

  test('whose failure is ours leaves no event: the same upload may succeed later', async () => {
    for (const failure of ['BUSY', 'STORE_UNAVAILABLE', 'DISK_FULL'] as const) {
      const { put, events } = open({ failsWith: new LookasideError(failure, 'later') });
      await assert.rejects(put('one'), code(failure));
      assert.deepEqual(events, []);
    }
  });

  test('is refused with its own reason even when the event cannot be written', async () => {
    const { put, log } = open({
      judgements: { bad: refusedWith('KEY_UNKNOWN', 'no-key') },
      auditFails: true,
    });
    await assert.rejects(put('bad'), code('KEY_UNKNOWN'));
    assert.deepEqual(
      log.lines.map(({ level }) => level),
      ['error'],
    );
  });
});

describe('an equivalent signature', () => {
  const there = indexed(IMAGE, 1, goodFor(IMAGE, { traits: signed('1') }));

  test('is found, nothing is stored, and the one that is there is told with a warning', async () => {
    const { put, appended, judged } = open({ stored: [there] });
    const receipt = await put('one');
    assert.equal(receipt.created, false);
    assert.equal(receipt.signatureSha256, there.sha256);
    assert.deepEqual(codesOf(receipt), ['EQUIVALENT_EXISTS']);
    assert.deepEqual(appended, []);
    assert.deepEqual(judged, [imageKey(IMAGE)], 'what is there had to have its verdict first');
  });

  test('is not looked for when a number is asked for, or with force', async () => {
    const { put, appended } = open({ stored: [there] });
    await put('one', { number: 2 });
    await put('two', { force: true });
    assert.equal(appended.length, 2);
  });

  for (const [how, asked] of [
    ['', {}],
    [' with force', { force: true }],
    [' under the next number', { number: 2 }],
  ] as const) {
    test(`that is the same signature in other bytes takes no number, asked for${how}`, async () => {
      const { put, appended } = open({ stored: [indexed(IMAGE, 1, goodFor(IMAGE))] });
      const receipt = await put('one', asked);
      assert.deepEqual([receipt.created, receipt.number, codesOf(receipt)], [false, 1, ['SAME_SIGNATURE']]);
      assert.deepEqual(appended, []);
    });
  }

  test('that is the same signature behind a tag, which some readers do not know, is stored in binary too', async () => {
    const { put, appended } = open({ stored: [indexed(IMAGE, 1, goodFor(IMAGE, { form: 'tagged' }))] });
    assert.equal((await put('one')).created, true);
    assert.equal(appended.length, 1);
  });

  const others: readonly (readonly [what: string, existing: IndexedSignature])[] = [
    ['by another key', indexed(IMAGE, 1, goodFor(IMAGE, { fingerprint: SUBKEY }))],
    [
      'with another tag',
      indexed(IMAGE, 1, goodFor(IMAGE), { dockerReference: 'registry.example/team/app:v2' }),
    ],
    [
      'on another registry',
      indexed(IMAGE, 1, goodFor(IMAGE), { dockerReference: 'other.example/team/app:v1' }),
    ],
    ['that has expired', indexed(IMAGE, 1, goodFor(IMAGE, { expiresAt: new Date('2026-11-22T09:59:59Z') }))],
    ['that is bad', indexed(IMAGE, 1, goodFor(IMAGE), { verdict: 'bad' })],
    ['without a verdict', indexed(IMAGE, 1, goodFor(IMAGE), { verdict: 'unverified' })],
    [
      'that will expire',
      indexed(IMAGE, 1, goodFor(IMAGE, { traits: signed('1'), expiresAt: new Date('2027-01-01T00:00:00Z') })),
    ],
    [
      'by a subkey of the same key',
      indexed(IMAGE, 1, goodFor(IMAGE, { traits: signed('1'), signingFingerprint: SUBKEY })),
    ],
    ['in clear text', indexed(IMAGE, 1, goodFor(IMAGE, { traits: signed('1'), form: 'tagged-cleartext' }))],
    [
      'over a shorter digest',
      indexed(IMAGE, 1, goodFor(IMAGE, { traits: { ...signed('1'), digestBits: 256 } })),
    ],
  ];
  for (const [what, existing] of others) {
    test(`${what} is not equivalent`, async () => {
      const { put, appended } = open({ stored: [existing] });
      assert.equal((await put('one')).created, true);
      assert.equal(appended.length, 1);
    });
  }
});

describe('the numbers of an image', () => {
  const perClaim = Array.from({ length: MAX_SIGNATURES_PER_CLAIM }, (_, position) =>
    indexed(IMAGE, position + 1, goodFor(IMAGE, { traits: signed(`${position}`) })),
  );
  const expiresAt = new Date('2026-11-22T09:59:59Z');

  test('are not for one key and name alone, forced or not; others get theirs', async () => {
    const { put, appended, events } = open({ stored: perClaim });
    await assert.rejects(put('one', { force: true }), {
      code: 'TOO_MANY_SIGNATURES',
      message: /has 8 valid signatures .* \(signature-1, .*signature-8\)/,
      detail: { needless: [1, 2, 3, 4, 5, 6, 7, 8] },
    });
    assert.deepEqual(appended, []);
    assert.deepEqual(
      events.map(({ result }) => result),
      ['TOO_MANY_SIGNATURES'],
    );

    const { dockerReference: _, ...claim } = goodFor(IMAGE).claim ?? assert.fail();
    const other = { ...claim, dockerReference: 'registry.example/team/app:v2' };
    const elsewhere = open({ stored: perClaim, judgements: { two: goodFor(IMAGE, { claim: other }) } });
    assert.equal((await elsewhere.put('two')).created, true);
  });

  test('are free for a renewal when the ones before have expired', async () => {
    const stored = perClaim.map((one) => ({ ...one, expiresAt }));
    assert.equal((await open({ stored }).put('one')).created, true);
  });

  test('that no client needs are told to whoever finds no place', async () => {
    const stored = [
      indexed(IMAGE, 1, goodFor(IMAGE, { traits: signed('1'), expiresAt })),
      indexed(IMAGE, 2, refusedWith('SIGNATURE_BAD')),
      indexed(IMAGE, 3, refusedWith('KEY_UNKNOWN', 'no-key')),
      indexed(IMAGE, 4, goodFor(IMAGE, { traits: signed('4') })),
      indexed(IMAGE, 5, goodFor(IMAGE, { traits: signed('5') })),
      indexed(IMAGE, 6, goodFor(IMAGE, { traits: signed('6'), fingerprint: SUBKEY })),
      indexed(IMAGE, 7, refusedWith('FIRST_BYTE', 'unreadable')),
      indexed(IMAGE, 8, refusedWith('FORMAT_UNSUPPORTED', 'unsupported')),
    ];
    const { put, reviews } = open({ stored });
    await put('one', { force: true });
    assert.deepEqual(
      reviews.map(({ needless }) => needless),
      [[1, 2, 5, 7]],
    );
  });

  test('are reviewed by one answer about each key, however many it has signed', async () => {
    const bySubkey = indexed(IMAGE, 9, goodFor(IMAGE, { fingerprint: SUBKEY }));
    const { put, keysAsked } = open({ stored: [...perClaim, bySubkey] });
    await assert.rejects(put('one', { force: true }), code('TOO_MANY_SIGNATURES'));
    assert.deepEqual(keysAsked, [FINGERPRINT, SUBKEY]);
  });
});

describe('warnings', () => {
  const claimOf = (image: ImageId, dockerReference: string) => {
    return { algorithm: image.algorithm, hex: image.hex, dockerReference, creator: null };
  };
  const sha512: ImageId = { ...IMAGE, algorithm: 'sha512', hex: 'a'.repeat(128) };
  const nine = Array.from({ length: 9 }, (_, position) => {
    return indexed(IMAGE, position + 1, goodFor(IMAGE), { dockerReference: `other/team/app:v${position}` });
  });
  const cases: readonly (readonly [wanted: string, judgement: Judgement, scene: Scene, image: ImageId])[] = [
    ['SHA512_DIGEST', goodFor(sha512), {}, sha512],
    ['SIGNING_SUBKEY', goodFor(IMAGE, { signingFingerprint: SUBKEY }), {}, IMAGE],
    ['OVER_NINE', goodFor(IMAGE), { stored: nine }, IMAGE],
    [
      'REFERENCE_WITHOUT_TAG',
      goodFor(IMAGE, { claim: claimOf(IMAGE, 'registry.example/team/app') }),
      {},
      IMAGE,
    ],
  ];
  for (const [wanted, judgement, scene, image] of cases) {
    test(`${wanted} is told with a sentence, alone`, async () => {
      const { put } = open({ ...scene, judgements: { one: judgement } });
      const { warnings } = await put('one', { image });
      assert.deepEqual(
        warnings.map((warning) => warning.code),
        [wanted],
      );
      assert.ok((warnings[0]?.message.length ?? 0) > 20);
    });
  }
});

describe('a batch', () => {
  const parts = (...texts: readonly (readonly [text: string, fileName: string | null])[]) =>
    texts.map(([text, fileName]) => ({ bytes: Buffer.from(text), fileName }));

  test('places each part by its own claim, or by a file name that is a full lookaside path', async () => {
    const release = `openshift/release/sha256=${IMAGE.hex}/signature-4`;
    const { uploader, appended } = open({ judgements: { other: goodFor(imageOf('a/b', 'c')) } });
    const results = await uploader.uploadBatch(
      parts(
        ['one', null],
        ['other', 'signature-1'],
        ['three', release],
        ['four', `${imageFolder(IMAGE)}/signature-9`],
      ),
      { site: 'default', force: false },
      ACTOR,
    );
    assert.deepEqual(
      results.map((result) => (result.result === 'created' ? result.path : result)),
      [
        `/${imageFolder(IMAGE)}/signature-1`,
        `/${imageFolder(imageOf('a/b', 'c'))}/signature-1`,
        `/openshift/release/sha256=${IMAGE.hex}/signature-1`,
        `/${imageFolder(IMAGE)}/signature-2`,
      ],
    );
    assert.deepEqual(
      appended.map(({ number }) => number),
      [null, null, null, null],
    );
  });

  test('refuses a part whose file name, or whose claim, is an image’s and too long, and goes on', async () => {
    const long = 'n'.repeat(200);
    const { uploader, appended } = open({ judgements: { claims: goodFor(imageOf(long)) } });
    const results = await uploader.uploadBatch(
      parts(
        ['named', `${'c/'.repeat(1900)}sha256=${IMAGE.hex}/signature-1`],
        ['claims', null],
        ['good', null],
      ),
      { site: 'default', force: false },
      ACTOR,
    );
    assert.deepEqual(
      results.map((result) => (result.result === 'refused' ? result.code : result.result)),
      ['PATH_INVALID', 'PATH_INVALID', 'created'],
    );
    const [named, claims] = results.map((result) => (result.result === 'refused' ? result.message : ''));
    assert.match(named ?? '', /has 3799 bytes, and registries take 255/);
    assert.match(claims ?? '', /a name of 272 bytes, and file systems take 255/);
    assert.equal(appended.length, 1);
  });

  test('answers each part in its place, and a refused one stops none of the others', async () => {
    const judgements = { bad: refusedWith('SIGNATURE_BAD'), far: goodFor(imageOf('else/where')) };
    const { uploader, appended, events } = open({ judgements });
    const results = await uploader.uploadBatch(
      parts(
        ['bad', null],
        ['one', null],
        ['far', imageFolder(IMAGE)],
        ['x'.repeat(1001), null],
        ['two', null],
      ),
      { site: 'default', force: false },
      ACTOR,
    );
    assert.deepEqual(
      results.map((result) => [result.part, result.result === 'refused' ? result.code : result.result]),
      [
        [0, 'SIGNATURE_BAD'],
        [1, 'created'],
        [2, 'REPOSITORY_MISMATCH'],
        [3, 'TOO_LARGE'],
        [4, 'created'],
      ],
    );
    assert.deepEqual(
      appended.map(({ bytes }) => Buffer.from(bytes).toString()),
      ['one', 'two'],
      'the parts of one image are stored in their order',
    );
    assert.equal(events.length, 3);
  });

  test('tells of an equivalent signature that it exists', async () => {
    const { uploader } = open({ stored: [indexed(IMAGE, 1, goodFor(IMAGE, { traits: signed('1') }))] });
    const [unforced] = await uploader.uploadBatch(
      parts(['one', null]),
      { site: 'default', force: false },
      ACTOR,
    );
    assert.equal(unforced?.result, 'exists');
    const [forced] = await uploader.uploadBatch(
      parts(['one', null]),
      { site: 'default', force: true },
      ACTOR,
    );
    assert.equal(forced?.result, 'created');
  });

  test('says of a part that met a failure of ours that it may be sent again', async () => {
    const { uploader } = open({ failsWith: new LookasideError('BUSY', 'too much waits') });
    const [result] = await uploader.uploadBatch(
      parts(['one', null]),
      { site: 'default', force: false },
      ACTOR,
    );
    assert.deepEqual(result, { part: 0, result: 'refused', code: 'BUSY', message: 'too much waits' });
  });
});

describe('an upload that nothing here can verify', () => {
  const text = `v6 ${NAME}`;
  const judgements = { [text]: UNSUPPORTED, 'v6 registry.example/team/app:v9': UNSUPPORTED };
  const good = (changes: Partial<IndexedSignature> = {}) =>
    indexed(IMAGE, 1, goodFor(IMAGE), { sha256: '1'.repeat(64), ...changes });
  const other = (digit: string, number: number, changes: Partial<IndexedSignature> = {}) =>
    indexed(IMAGE, number, UNSUPPORTED, { sha256: digit.repeat(64), ...changes });
  const uploads = { ['1'.repeat(64)]: ACTOR.name };
  const accepting = { judgements, acceptUnsupported: 'v6', uploads } as const;

  test('is stored beside a verified one of the same name by the same uploader, and told as what it is', async () => {
    const { put, appended } = open({ ...accepting, stored: [good()] });
    const receipt = await put(text);
    const { state, created, fingerprint, dockerReference } = receipt;
    assert.deepEqual([state, created, fingerprint, dockerReference], ['unsupported', true, null, null]);
    assert.deepEqual(codesOf(receipt), ['UNVERIFIABLE']);
    assert.equal(appended[0]?.judgement.verdict, 'unsupported');
  });

  test('is refused unless the operator accepts it, which the refusal tells', async () => {
    const { put, appended } = open({ judgements, uploads, stored: [good()] });
    await assert.rejects(put(text), (error) => {
      assert.ok(code('ALGORITHM_UNSUPPORTED')(error));
      return error instanceof Error && /LOOKASIDE_ACCEPT_UNSUPPORTED=v6/.test(error.message);
    });
    assert.deepEqual(appended, []);
  });

  const UNACCOMPANIED: Readonly<Record<string, Scene>> = {
    'without any signature beside it': { ...accepting, stored: [] },
    'beside that of another uploader': {
      ...accepting,
      uploads: { ['1'.repeat(64)]: 'other' },
      stored: [good()],
    },
    'beside one that nobody uploaded': { ...accepting, uploads: {}, stored: [good()] },
    'beside one of another name': {
      ...accepting,
      stored: [good({ dockerReference: 'registry.example/team/app:v2' })],
    },
    'beside one whose key is gone': { ...accepting, stored: [good({ fingerprint: 'D'.repeat(40) })] },
    'beside one that is as unverifiable': {
      ...accepting,
      uploads: { ['6'.repeat(64)]: ACTOR.name },
      stored: [other('6', 1)],
    },
  };
  for (const [where, scene] of Object.entries(UNACCOMPANIED)) {
    test(`is refused ${where}, by force too`, async () => {
      const { put, appended } = open(scene);
      for (const force of [false, true])
        await assert.rejects(put(text, { force }), code('ALGORITHM_UNSUPPORTED'));
      assert.deepEqual(appended, []);
    });
  }

  test('of another manifest is refused, though nobody vouches for what it says', async () => {
    const { put } = open({ ...accepting, stored: [good()] });
    await assert.rejects(put(text, { image: imageOf('team/app', 'b') }), code('DIGEST_MISMATCH'));
  });

  test('that is made anew by the same key changes nothing, so that who signs twice always ends well', async () => {
    const own = { ...uploads, ['6'.repeat(64)]: ACTOR.name };
    const stored = [good(), other('6', 2)];
    const { put, appended } = open({ ...accepting, uploads: own, stored });
    const receipt = await put(text);
    assert.deepEqual([receipt.created, receipt.number], [false, 2]);
    assert.deepEqual(codesOf(receipt), ['UNVERIFIABLE', 'EQUIVALENT_EXISTS']);
    await put(text, { force: true });
    assert.equal(appended.length, 1);
  });

  test('is no other for having another name, another key or another uploader', async () => {
    for (const [uploader, signature] of [
      [ACTOR.name, other('7', 2)],
      [ACTOR.name, other('6', 2, { issuer: 'E'.repeat(64) })],
      ['other', other('6', 2)],
    ] as const) {
      const own = { ...uploads, [signature.sha256]: uploader };
      const { put } = open({ ...accepting, uploads: own, stored: [good(), signature] });
      assert.equal((await put(text)).created, true);
    }
  });

  test(`is the ${MAX_UNVERIFIABLE_PER_IMAGE}th of an image at most, whoever has brought the others`, async () => {
    const others = Array.from({ length: MAX_UNVERIFIABLE_PER_IMAGE }, (_, k) =>
      other(`${k}`, k + 2, { issuer: `${k}`.repeat(64) }),
    );
    const full = open({ ...accepting, stored: [good(), ...others] });
    for (const force of [false, true])
      await assert.rejects(full.put(text, { force }), code('TOO_MANY_SIGNATURES'));
    const roomy = open({ ...accepting, stored: [good(), ...others.slice(1)] });
    assert.equal((await roomy.put(text)).created, true);
  });

  test('comes after the verified one of its batch, in whatever order they are sent', async () => {
    const stored = [good({ traits: signed('9') })];
    const { uploader, appended } = open({ ...accepting, stored });
    const fileName = `${imageFolder(IMAGE)}/signature-1`;
    const parts = [text, 'one'].map((content) => ({ bytes: Buffer.from(content), fileName }));
    const results = await uploader.uploadBatch(parts, { site: IMAGE.site, force: true }, ACTOR);
    assert.deepEqual(
      results.map(({ result }) => result),
      ['created', 'created'],
    );
    assert.deepEqual(
      appended.map(({ judgement }) => judgement.verdict),
      ['good', 'unsupported'],
    );
    const [placeless] = await uploader.uploadBatch(
      [{ bytes: Buffer.from(text), fileName: null }],
      { site: IMAGE.site, force: false },
      ACTOR,
    );
    assert.equal(placeless?.result === 'refused' && placeless.code, 'ALGORITHM_UNSUPPORTED');
  });
});
