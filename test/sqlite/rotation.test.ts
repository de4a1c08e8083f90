// Which images of one key another has signed: against a plain count over the same signatures, in pieces of any length.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { MAX_QUESTIONS_AT_ONCE } from '../../src/domain/limits.ts';
import type { RecordedImage } from '../../src/domain/ports.ts';
import type { RotationPlace, RotationWork } from '../../src/domain/rotation.ts';
import { QuestionSession } from '../../src/sqlite/question-session.ts';
import { SqliteQuestions } from '../../src/sqlite/questions.ts';
import { imageAt, signature } from '../contract/signature-index.ts';
import { goodFor, SUBKEY as NEXT, FINGERPRINT as OLD } from '../service/judgements.ts';
import { open, temporaryFolder, until } from './scratch.ts';

const OTHER = 'C'.repeat(40);

interface Laid {
  readonly site: string;
  readonly path: string;
  readonly signatures: readonly { readonly by: string; readonly tag: string }[];
}

const someSignatures = fc.array(
  fc.record({ by: fc.constantFrom(OLD, NEXT, OTHER), tag: fc.constantFrom('v1', 'v2') }),
  { maxLength: 5 },
);
const someImages = fc.uniqueArray(
  fc.record({
    site: fc.constantFrom('default', 'b-site'),
    path: fc.constantFrom('a', 'a/b', 'b', 'release/', ''),
    signatures: someSignatures,
  }),
  { maxLength: 8, selector: ({ site, path }) => `${site} ${path}` },
);

function recorded({ site, path, signatures }: Laid): RecordedImage {
  const image = imageAt(path, path, site);
  return {
    image,
    signatures: signatures.map(({ by, tag }, at) => {
      const good = goodFor(image);
      const { claim } = good;
      assert.ok(claim !== null);
      const judgement = {
        ...good,
        fingerprint: by,
        claim: { ...claim, dockerReference: `r/${path}:${tag}` },
      };
      return { ...signature(at + 1, `${site} ${path} ${at}`), judgement };
    }),
  };
}

/** By reading everything. */
function counted(images: readonly Laid[]) {
  const counts = { old: 0, both: 0, new: 0 };
  const work: string[] = [];
  for (const { site, path, signatures } of images) {
    const tagsBy = (key: string) => new Set(signatures.filter(({ by }) => by === key).map(({ tag }) => tag));
    const [old, next] = [tagsBy(OLD), tagsBy(NEXT)];
    if (old.size > 0 && next.size > 0) counts.both += 1;
    else if (old.size > 0) counts.old += 1;
    else if (next.size > 0) counts.new += 1;
    for (const tag of old) if (!next.has(tag)) work.push(`${site} r/${path}:${tag}`);
  }
  return { counts, work: work.sort() };
}

function inPieces(session: QuestionSession, limit: number): readonly RotationWork[] {
  const work: RotationWork[] = [];
  let place: RotationPlace = null;
  do {
    const piece: { work: readonly RotationWork[]; next: RotationPlace } = session.rotationWork(
      OLD,
      NEXT,
      place,
      limit,
    );
    work.push(...piece.work);
    place = piece.next;
  } while (place !== null);
  return work;
}

test('a rotation counts each image once and lists each reference once, as reading everything would', async (t) => {
  const dataDir = temporaryFolder(t);
  const { databases } = await open(dataDir);
  const session = new QuestionSession(dataDir, () => undefined);
  t.after(async () => {
    session.close();
    await databases.close();
  });
  const property = fc.asyncProperty(someImages, fc.integer({ min: 1, max: 3 }), async (images, limit) => {
    await databases.index.record(images.map(recorded));
    const { counts, work } = counted(images);
    const answer = session.rotation(OLD, NEXT, new Date());
    assert.deepEqual(answer.images, counts);
    const parts = inPieces(session, limit);
    assert.deepEqual(parts.map(({ site, reference }) => `${site} ${reference}`).sort(), work);
    assert.ok(parts.every(({ image, digest }) => image.endsWith(digest)));
    for (const site of ['default', 'b-site']) await databases.index.forgetFolder(site, '');
  });
  await fc.assert(property, { numRuns: 60 });
});

test('a rotation names what the index may lack', async (t) => {
  const dataDir = temporaryFolder(t);
  const { databases } = await open(dataDir);
  const session = new QuestionSession(dataDir, () => undefined);
  t.after(async () => {
    session.close();
    await databases.close();
  });
  const image = imageAt('a', 'a');
  await databases.index.record([{ image, signatures: [signature(1, 'unjudged')] }]);
  assert.deepEqual(session.rotation(OLD, NEXT, new Date()).gaps, [
    'the tree of the site default is not wholly indexed yet',
    '1 signature of the site default not verified yet',
  ]);
});

test('who never asks for the rest of a rotation keeps no thread', async (t) => {
  const dataDir = temporaryFolder(t);
  const { databases } = await open(dataDir);
  t.after(() => databases.close());
  const questions = new SqliteQuestions(dataDir, { questionMs: 2000 });
  const { signal } = new AbortController();
  for (let left = MAX_QUESTIONS_AT_ONCE; left > 0; left -= 1) {
    await (await questions.open(signal)).rotation(OLD, NEXT, new Date());
  }
  await until(async () => {
    const again = await questions.open(signal).catch(() => null);
    await again?.[Symbol.asyncDispose]();
    return again !== null;
  });
});
