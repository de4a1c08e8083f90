// What the revocation of a key breaks: against a plain count by stateOf() over the same signatures, in pieces of any length.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { RefusalCode } from '../../src/domain/errors.ts';
import { issuersOf, type RegisteredKey } from '../../src/domain/key.ts';
import type { RecordedImage } from '../../src/domain/ports.ts';
import { type BrokenImage, type ImagePlace, usableWithout } from '../../src/domain/revocation.ts';
import { stateOf } from '../../src/domain/state.ts';
import { QuestionSession } from '../../src/sqlite/question-session.ts';
import { imageAt, signature } from '../contract/signature-index.ts';
import { goodFor, refusedWith } from '../service/judgements.ts';
import { keyOf } from '../service/signature-memory.ts';
import { open, temporaryFolder } from './scratch.ts';

const NOW = new Date('2026-11-29T00:00:00Z');
const [PAST, FUTURE] = [new Date('2026-11-28T00:00:00Z'), new Date('2026-11-30T00:00:00Z')];
const [REVOKED, OTHER, EXPIRED, ENDED, UNKNOWN] = ['A', 'B', 'C', 'D', 'E'].map((one) => one.repeat(40)) as [
  string,
  string,
  string,
  string,
  string,
];
const [SUBKEY, OLD_SUBKEY] = ['1'.repeat(40), '2'.repeat(40)];

const subkey = (fingerprint: string, revokedAt: Date | null) => ({ ...keyOf(fingerprint), revokedAt });
const KEYS: readonly RegisteredKey[] = [
  keyOf(REVOKED),
  { ...keyOf(OTHER), subkeys: [subkey(SUBKEY, null), subkey(OLD_SUBKEY, PAST)] },
  { ...keyOf(EXPIRED), expiresAt: PAST },
  { ...keyOf(ENDED), revokedAt: PAST },
];

interface Made {
  readonly by: string;
  readonly signing: string;
  readonly expiresAt: Date | null;
}

interface Laid {
  readonly site: string;
  readonly path: string;
  readonly signatures: readonly Made[];
}

const someSignatures = fc.array(
  fc.record({
    by: fc.constantFrom(REVOKED, REVOKED, OTHER, EXPIRED, ENDED, UNKNOWN),
    signing: fc.constantFrom('primary', SUBKEY, OLD_SUBKEY, '9'.repeat(40)),
    expiresAt: fc.constantFrom(null, PAST, FUTURE),
  }),
  { maxLength: 4 },
);
const someImages = fc.uniqueArray(
  fc.record({
    site: fc.constantFrom('default', 'b-site'),
    path: fc.constantFrom('a', 'a/b', 'b', 'release/', ''),
    signatures: someSignatures,
  }),
  { maxLength: 8, selector: ({ site, path }) => `${site} ${path}` },
);

function judgementOf(path: string, site: string, { by, signing, expiresAt }: Made) {
  const signingFingerprint = signing === 'primary' ? by : signing;
  return { ...goodFor(imageAt(path, path, site)), fingerprint: by, signingFingerprint, expiresAt };
}

function recorded({ site, path, signatures }: Laid): RecordedImage {
  return {
    image: imageAt(path, path, site),
    signatures: signatures.map((made, at) => ({
      ...signature(at + 1, `${site} ${path} ${at}`),
      judgement: judgementOf(path, site, made),
    })),
  };
}

/** By reading everything. */
function counted(images: readonly Laid[]) {
  const counts = { signatures: 0, images: 0, broken: 0 };
  const broken: string[] = [];
  for (const { site, path, signatures } of images) {
    const own = signatures.filter(({ by }) => by === REVOKED);
    counts.signatures += own.length;
    if (own.length === 0) continue;
    counts.images += 1;
    const states = signatures
      .filter(({ by }) => by !== REVOKED)
      .map((made) => {
        const key = KEYS.find(({ fingerprint }) => fingerprint === made.by) ?? null;
        return stateOf(judgementOf(path, site, made), key, NOW);
      });
    if (!states.includes('verified')) broken.push(`${site} ${path}`);
  }
  return { counts: { ...counts, broken: broken.length }, broken: broken.sort() };
}

test('a revocation breaks the images that no other signature is verified of, as reading everything would tell', async (t) => {
  const dataDir = temporaryFolder(t);
  const { databases } = await open(dataDir);
  const session = new QuestionSession(dataDir, () => undefined);
  t.after(async () => {
    session.close();
    await databases.close();
  });
  const others = usableWithout(REVOKED, KEYS, NOW);
  const property = fc.asyncProperty(someImages, fc.integer({ min: 1, max: 3 }), async (images, limit) => {
    await databases.index.record(images.map(recorded));
    const { counts, broken } = counted(images);
    const { gaps, refused: _, ...sums } = session.revocation(REVOKED, [], others, NOW);
    assert.deepEqual(sums, counts);
    const listed: BrokenImage[] = [];
    let place: ImagePlace = null;
    do {
      const piece: { images: readonly BrokenImage[]; next: ImagePlace } = session.revocationBroken(
        REVOKED,
        others,
        NOW,
        place,
        limit,
      );
      listed.push(...piece.images);
      place = piece.next;
    } while (place !== null);
    const pathOf = new Map(
      images.map(({ site, path }) => {
        const { path: at, layout } = imageAt(path, path, site);
        return [`${site} ${layout} ${at}`, `${site} ${path}`] as const;
      }),
    );
    assert.equal(new Set(pathOf.values()).size, images.length);
    assert.equal(listed.length, broken.length);
    const names = new Set(listed.map(({ site, image }) => `${site} ${image}`));
    assert.equal(names.size, listed.length, 'each is named once');
    const keyed: string[] = [];
    for (const site of ['b-site', 'default']) {
      const images = await databases.index.imagesByKey(site, REVOKED, null, 2);
      const next = images.at(-1) ?? null;
      const rest = next === null ? [] : await databases.index.imagesByKey(site, REVOKED, next, 100);
      keyed.push(...[...images, ...rest].map(({ path, hex }) => `${site} ${path} ${hex}`));
    }
    assert.equal(new Set(keyed).size, counts.images);
    assert.equal(keyed.length, counts.images);
    for (const site of ['default', 'b-site']) await databases.index.forgetFolder(site, '');
  });
  await fc.assert(property, { numRuns: 60 });
});

test('what is refused already for the key is counted beside, and nothing that is refused for another key or cause', async (t) => {
  const dataDir = temporaryFolder(t);
  const { databases } = await open(dataDir);
  const session = new QuestionSession(dataDir, () => undefined);
  t.after(async () => {
    session.close();
    await databases.close();
  });
  const refused = (code: RefusalCode, issuer: string) => ({
    ...refusedWith(code),
    issuer,
  });
  const judgements = [
    refused('KEY_REVOKED', REVOKED),
    refused('KEY_EXPIRED', SUBKEY.slice(-16)),
    refused('KEY_REVOKED', OTHER),
    refused('SIGNATURE_BAD', REVOKED),
    { ...refused('KEY_REVOKED', REVOKED), verdict: 'unreadable' as const },
  ];
  await databases.index.record([
    {
      image: imageAt('a', 'a', 'default'),
      signatures: judgements.map((judgement, at) => ({ ...signature(at + 1, `refused ${at}`), judgement })),
    },
  ]);
  const issuers = issuersOf({ fingerprint: REVOKED, subkeys: [subkey(SUBKEY, null)] });
  const others = usableWithout(REVOKED, KEYS, NOW);
  assert.equal(session.revocation(REVOKED, issuers, others, NOW).refused, 2);
  assert.equal(session.revocation(OTHER, [OTHER], others, NOW).refused, 1);
});
