// What every VerdictIndex promises, beside the SignatureIndex that it is one with; run over each implementation.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { type ImageId, imageKey } from '../../src/domain/image.ts';
import type {
  IndexedSignature,
  RecordedImage,
  RecordedSignature,
  SignatureFilter,
  SignatureIndex,
  SignaturePage,
  VerdictIndex,
} from '../../src/domain/ports.ts';
import type { Judgement, Verdict } from '../../src/domain/verdict.ts';
import { ANY_SIGNATURE } from './any-signature.ts';
import { type IndexUnderTest, imageAt, recordedImage, sha256, signature } from './signature-index.ts';

type Index = SignatureIndex & VerdictIndex;

const SITE = 'default';
const NOW = new Date('2026-11-22T12:00:00.000Z');
const LATER = new Date('2026-11-22T13:00:00.000Z');

const PRIMARY = 'A1'.repeat(20);
const SUBKEY = 'B2'.repeat(20);
const OTHER = 'C3'.repeat(20);
const keyId = (fingerprint: string) => fingerprint.slice(-16);

const NOTHING: Judgement = {
  verdict: 'unverified',
  refusal: null,
  form: null,
  issuer: null,
  fingerprint: null,
  signingFingerprint: null,
  signedAt: null,
  expiresAt: null,
  claim: null,
  traits: null,
  judgeAgainAt: null,
};

export function goodBy(fingerprint: string, overrides: Partial<Judgement> = {}): Judgement {
  return {
    ...NOTHING,
    verdict: 'good',
    form: 'binary',
    issuer: fingerprint,
    fingerprint,
    signingFingerprint: fingerprint,
    signedAt: new Date('2026-11-20T08:00:00.000Z'),
    claim: {
      algorithm: 'sha256',
      hex: sha256('claimed'),
      dockerReference: 'registry.example/team/app:v1',
      creator: null,
    },
    ...overrides,
  };
}

function noKey(issuer: string): Judgement {
  const message = 'the key is not known';
  return { ...NOTHING, verdict: 'no-key', refusal: { code: 'KEY_UNKNOWN', message }, form: 'binary', issuer };
}

async function find(
  index: Index,
  filter: Partial<SignatureFilter>,
  site = SITE,
): Promise<readonly IndexedSignature[]> {
  return index.search(site, {
    filter: { ...ANY_SIGNATURE, ...filter },
    order: 'oldest',
    after: null,
    limit: 1000,
  });
}

/** The rows of one image after the other. */
async function rowsOf(index: Index, images: Iterable<ImageId>): Promise<readonly IndexedSignature[]> {
  const rows: IndexedSignature[] = [];
  for (const image of images) rows.push(...(await index.ofImage(image)));
  return rows;
}

/** Every page one after the other. */
async function walk(index: Index, page: Omit<SignaturePage, 'after'>): Promise<IndexedSignature[]> {
  const indexed: IndexedSignature[] = [];
  for (let after: number | null = null; ; ) {
    const rows: readonly IndexedSignature[] = await index.search(SITE, { ...page, after });
    assert.ok(rows.length <= page.limit);
    indexed.push(...rows);
    after = rows.at(-1)?.id ?? null;
    if (after === null) return indexed;
  }
}

const idsOf = (rows: readonly IndexedSignature[]) => rows.map(({ id }) => id);
const verdictsOf = async (index: Index, image: ImageId) =>
  (await index.ofImage(image)).map(({ verdict }) => verdict);

export function verdictIndexContract(name: string, open: () => Promise<IndexUnderTest>): void {
  const test = (title: string, act: (index: Index) => Promise<void>): void => {
    it(title, async () => {
      const { index, close } = await open();
      try {
        await act(index);
      } finally {
        await close();
      }
    });
  };

  describe(`${name}: verdicts`, () => {
    test('what was recorded is unverified, in served order, and nothing is known of it', async (index) => {
      const image = imageAt('team/app', 'a');
      await index.record([{ image, signatures: [signature(4, 'four'), signature(1, 'one')] }]);
      const rows = await index.ofImage(image);
      const nothing = {
        verdict: 'unverified',
        reason: null,
        form: null,
        issuer: null,
        fingerprint: null,
        signingFingerprint: null,
        signedAt: null,
        expiresAt: null,
        manifestDigest: null,
        dockerReference: null,
        creator: null,
        traits: null,
      };
      const wanted = [signature(1, 'one'), signature(4, 'four')].map(({ bytes: _, ...kept }, position) => {
        return { ...kept, ...nothing, image, servedNumber: position + 1 };
      });
      assert.deepEqual(
        rows.map(({ id: _, ...rest }) => rest),
        wanted,
      );
      assert.deepEqual(
        await find(index, {}),
        rows.toSorted((a, b) => a.id - b.id),
      );
      assert.deepEqual(await index.ofImage(imageAt('team/app', 'b')), []);
    });

    test('a judgement is kept whole, given with the signature or afterwards', async (index) => {
      const image = imageAt('team/app', 'a');
      const judgement: Judgement = {
        verdict: 'good',
        refusal: { code: 'SIGNATURE_EXPIRED', message: 'it has expired' },
        form: 'tagged-cleartext',
        issuer: keyId(SUBKEY),
        fingerprint: PRIMARY,
        signingFingerprint: SUBKEY,
        signedAt: new Date('2026-11-20T08:00:00.000Z'),
        expiresAt: new Date('2026-11-21T08:00:00.000Z'),
        claim: {
          algorithm: 'sha512',
          hex: 'ab'.repeat(64),
          dockerReference: 'Ä "quoted" \u0000 ‮',
          creator: '\u2028',
        },
        traits: { signedSha256: sha256('signed'), digestBits: 384, obstacles: ['version-3', 'payload'] },
        judgeAgainAt: null,
      };
      const { refusal: _, claim: __, judgeAgainAt: ___, ...kept } = judgement;
      const wanted = {
        ...kept,
        reason: 'SIGNATURE_EXPIRED',
        manifestDigest: `sha512:${'ab'.repeat(64)}`,
        dockerReference: 'Ä "quoted" \u0000 ‮',
        creator: '\u2028',
      };
      await index.record([
        { image, signatures: [{ ...signature(1, 'one'), judgement }, signature(2, 'two')] },
      ]);
      assert.deepEqual(await verdictsOf(index, image), ['good', 'unverified']);
      await index.judge([{ image, sha256: sha256('two'), judgement }]);
      for (const row of await index.ofImage(image)) {
        const { id, image: its, number, servedNumber, sha256: hash, sizeBytes, storedAt, ...judged } = row;
        assert.deepEqual(judged, wanted);
      }
      await index.judge([{ image, sha256: sha256('two'), judgement: NOTHING }]);
      assert.deepEqual(await verdictsOf(index, image), ['good', 'unverified']);
      assert.equal((await index.ofImage(image))[1]?.dockerReference, null);
    });

    test('a judgement is of the bytes wherever the image has them, and of no other image', async (index) => {
      const images = [imageAt('team/app', 'a'), imageAt('team/app', 'b'), imageAt('team/app/', 'a')];
      const signatures = [signature(1, 'one'), signature(2, 'two'), signature(3, 'one')];
      await index.record(images.map((image) => ({ image, signatures })));
      const [first, ...others] = images;
      assert.ok(first !== undefined);
      const judgement = goodBy(PRIMARY);
      await index.judge([
        { image: first, sha256: sha256('one'), judgement },
        { image: first, sha256: sha256('not there'), judgement },
      ]);
      assert.deepEqual(await verdictsOf(index, first), ['good', 'unverified', 'good']);
      for (const { verdict } of await rowsOf(index, others)) assert.equal(verdict, 'unverified');
    });

    test('what verified by a key is counted, wherever it stands, on its site alone', async (index) => {
      const images = [imageAt('team/app', 'a'), imageAt('team/app', 'b'), imageAt('team/app', 'a', 'mirror')];
      const by = (number: number, judgement: Judgement) => ({
        ...signature(number, `${number}`),
        judgement,
      });
      const signatures = [
        by(1, goodBy(PRIMARY)),
        by(2, { ...goodBy(PRIMARY), verdict: 'bad' }),
        by(3, goodBy(OTHER)),
        by(4, NOTHING),
      ];
      await index.record(images.map((image) => ({ image, signatures })));
      const counted = (site: string) =>
        Promise.all([PRIMARY, OTHER, SUBKEY].map((fingerprint) => index.countByKey(site, fingerprint)));
      assert.deepEqual(await counted(SITE), [4, 2, 0]);
      assert.deepEqual(await counted('mirror'), [2, 1, 0]);
    });

    test('a signature that stays keeps its id and verdict, and one that comes has the largest id', async (index) => {
      const image = imageAt('team/app', 'a');
      await index.record([recordedImage(image, 'one', 'two')]);
      await index.judge([{ image, sha256: sha256('two'), judgement: goodBy(PRIMARY) }]);
      const [one, two] = await index.ofImage(image);
      await index.record([recordedImage(image, 'one', 'two', 'three')]);
      const [oneAgain, twoAgain, three] = await index.ofImage(image);
      assert.deepEqual([oneAgain, twoAgain], [one, two]);
      assert.ok(three !== undefined && two !== undefined && three.id > two.id);
      assert.equal(three.verdict, 'unverified');
    });

    test('signatures that exchange their numbers keep their ids and verdicts', async (index) => {
      const image = imageAt('team/app', 'a');
      await index.record([recordedImage(image, 'one', 'two', 'three')]);
      await index.judge([{ image, sha256: sha256('one'), judgement: goodBy(PRIMARY) }]);
      const before = new Map(
        (await index.ofImage(image)).map(({ sha256: hash, id, verdict }) => [hash, { id, verdict }]),
      );
      await index.record([recordedImage(image, 'three', 'one', 'two')]);
      const after = await index.ofImage(image);
      assert.deepEqual(
        after.map((row) => [row.number, row.sha256]),
        ['three', 'one', 'two'].map((content, position) => [position + 1, sha256(content)]),
      );
      for (const { sha256: hash, id, verdict } of after) assert.deepEqual({ id, verdict }, before.get(hash));
      assert.equal((await index.recorded(image)).length, 3);
    });

    test('a file that was touched or has grown too large to be kept stays the signature that it was', async (index) => {
      const image = imageAt('team/app', 'a');
      await index.record([recordedImage(image, 'one')]);
      await index.judge([{ image, sha256: sha256('one'), judgement: goodBy(PRIMARY) }]);
      const [before] = await index.ofImage(image);
      await index.record([{ image, signatures: [{ ...signature(1, 'one'), storedAt: LATER, bytes: null }] }]);
      assert.deepEqual(await index.ofImage(image), [{ ...before, storedAt: LATER }]);
      assert.equal((await index.recorded(image))[0]?.bytes, null);
      await index.record([recordedImage(image, 'one')]);
      assert.deepEqual(await index.ofImage(image), [before]);
      assert.deepEqual(Buffer.from((await index.recorded(image))[0]?.bytes ?? ''), Buffer.from('one'));
    });

    test('other bytes under the same number are another signature', async (index) => {
      const image = imageAt('team/app', 'a');
      await index.record([recordedImage(image, 'one')]);
      await index.judge([{ image, sha256: sha256('one'), judgement: goodBy(PRIMARY) }]);
      const [before] = await index.ofImage(image);
      await index.record([recordedImage(image, 'other')]);
      const [after] = await index.ofImage(image);
      assert.ok(before !== undefined && after !== undefined && after.id > before.id);
      assert.deepEqual([after.verdict, after.fingerprint], ['unverified', null]);
    });

    test('one more copy of judged bytes is judged', async (index) => {
      const image = imageAt('team/app', 'a');
      await index.record([recordedImage(image, 'one')]);
      await index.judge([{ image, sha256: sha256('one'), judgement: goodBy(PRIMARY) }]);
      await index.record([recordedImage(image, 'one', 'two', 'one')]);
      assert.deepEqual(await verdictsOf(index, image), ['good', 'unverified', 'good']);
      assert.equal(new Set(idsOf(await index.ofImage(image))).size, 3);
    });

    test('ids are not used again, also when nothing is left', async (index) => {
      const image = imageAt('team/app', 'a');
      let last = 0;
      const forget: (() => Promise<void>)[] = [
        () => index.record([{ image, signatures: [] }]),
        () => index.forgetFolder(SITE, 'team'),
        () => index.forgetFolder(SITE, ''),
        () => index.bind(SITE, 'another tree'),
      ];
      for (const act of forget) {
        await index.record([recordedImage(image, 'one', 'two')]);
        const ids = idsOf(await index.ofImage(image));
        assert.ok(ids.every((id) => id > last));
        assert.deepEqual(await verdictsOf(index, image), ['unverified', 'unverified']);
        await index.judge([{ image, sha256: sha256('one'), judgement: goodBy(PRIMARY) }]);
        last = Math.max(...ids);
        await act();
        assert.deepEqual(await find(index, {}), []);
      }
    });

    test('an index made anew is of another generation, and the same one stays', async (index) => {
      const generation = await index.generation();
      assert.match(generation, /^[0-9a-f]{32}$/);
      await index.record([recordedImage(imageAt('team/app', 'a'), 'one')]);
      assert.equal(await index.generation(), generation);
      await index.reset();
      assert.notEqual(await index.generation(), generation);
    });
  });

  describe(`${name}: what has no verdict`, () => {
    const unjudged = (index: Index, at = NOW) => index.unjudged(SITE, at, 0, 1000);

    test('is told by id, in pages, of its site alone, until it is judged', async (index) => {
      const images = ['a', 'b', 'c'].map((manifest) => imageAt('team/app', manifest));
      for (const image of images) await index.record([recordedImage(image, 'one', 'two')]);
      await index.record([recordedImage(imageAt('team/app', 'a', 'mirror'), 'one')]);
      const all = await unjudged(index);
      assert.deepEqual(all, await rowsOf(index, images));
      const pages = [];
      for (let after = 0; ; ) {
        const page = await index.unjudged(SITE, NOW, after, 4);
        pages.push(...page);
        const last = page.at(-1);
        if (last === undefined) break;
        after = last.id;
      }
      assert.deepEqual(pages, all);
      const [first, ...others] = all;
      assert.ok(first !== undefined);
      await index.judge([{ image: first.image, sha256: first.sha256, judgement: goodBy(PRIMARY) }]);
      assert.deepEqual(await unjudged(index), others);
    });

    test('and was signed in the future is told from then on', async (index) => {
      const image = imageAt('team/app', 'a');
      await index.record([recordedImage(image, 'one', 'two')]);
      const judgement: Judgement = {
        ...NOTHING,
        refusal: { code: 'SIGNED_IN_FUTURE', message: 'signed tomorrow' },
        judgeAgainAt: LATER,
      };
      await index.judge([{ image, sha256: sha256('one'), judgement }]);
      const numbers = async (at: Date) => (await unjudged(index, at)).map(({ number }) => number);
      assert.deepEqual(await numbers(NOW), [2]);
      assert.deepEqual(await numbers(new Date(LATER.getTime() - 1)), [2]);
      assert.deepEqual(await numbers(LATER), [1, 2]);
      assert.equal((await index.ofImage(image))[0]?.reason, 'SIGNED_IN_FUTURE');
      await index.judge([{ image, sha256: sha256('one'), judgement: goodBy(PRIMARY) }]);
      assert.deepEqual(await numbers(LATER), [2]);
    });
  });

  describe(`${name}: judging again`, () => {
    const judged: readonly (readonly [string, Judgement])[] = [
      ['no key, named by fingerprint', noKey(PRIMARY)],
      ['no key, named by key ID', noKey(keyId(PRIMARY))],
      ['no key, another', noKey(OTHER)],
      ['no key, another key ID', noKey(keyId(OTHER))],
      ['no key, of version 6', noKey(`${PRIMARY}${'D4'.repeat(12)}`)],
      ['good', goodBy(PRIMARY)],
      ['good by its subkey', goodBy(PRIMARY, { issuer: null, signingFingerprint: SUBKEY })],
      ['good by another', goodBy(OTHER)],
      ['bad, no issuer', { ...NOTHING, verdict: 'bad', form: 'binary' }],
    ];
    const ofPrimary = [
      'no key, named by fingerprint',
      'no key, named by key ID',
      'good',
      'good by its subkey',
    ];
    const cases: readonly (readonly [string, readonly string[], readonly string[]])[] = [
      ['a fingerprint', [PRIMARY], ofPrimary],
      ['its key ID', [keyId(PRIMARY)], ofPrimary],
      ['fingerprint and key ID', [PRIMARY, keyId(PRIMARY)], ofPrimary],
      ['a subkey', [SUBKEY], ['good by its subkey']],
      ["a subkey's key ID", [keyId(SUBKEY)], ['good by its subkey']],
      [
        'two keys',
        [SUBKEY, OTHER],
        ['no key, another', 'no key, another key ID', 'good by its subkey', 'good by another'],
      ],
      ['a key of which there is nothing', ['E5'.repeat(20)], []],
      ['a fingerprint that ends alike', [`${'F6'.repeat(12)}${keyId(PRIMARY)}`], ['no key, named by key ID']],
      ['no key at all', [], []],
    ];
    for (const [what, issuers, meant] of cases) {
      test(`what names ${what} changes no verdict, and concerns nothing else`, async (index) => {
        const image = imageAt('team/app', 'a');
        const mirrored = imageAt('team/app', 'a', 'mirror');
        for (const of of [image, mirrored]) {
          const signatures = judged.map(([content, judgement], position) => {
            return { ...signature(position + 1, content), judgement };
          });
          await index.record([{ image: of, signatures }]);
        }
        const before = await index.ofImage(image);
        assert.deepEqual(await index.unjudgedOf(image), []);
        await index.judgeAgain(SITE, issuers);
        assert.deepEqual(await index.ofImage(image), before);
        const hashes = new Set(meant.map((content) => sha256(content)));
        const wanted = before.filter((row) => hashes.has(row.sha256));
        assert.deepEqual(await index.unjudgedOf(image), wanted);
        assert.deepEqual(
          await index.unjudged(SITE, NOW, 0, 100),
          wanted.toSorted((a, b) => a.id - b.id),
        );
        assert.deepEqual(await index.unjudgedOf(mirrored), []);
        assert.deepEqual(await index.unjudged('mirror', NOW, 0, 100), []);
        for (const row of wanted) {
          await index.judge([{ image, sha256: row.sha256, judgement: goodBy(OTHER) }]);
        }
        assert.deepEqual(await index.unjudgedOf(image), []);
        assert.deepEqual(await index.unjudged(SITE, NOW, 0, 100), []);
      });
    }

    test('is asked for again by what comes beside it, and goes with a copy', async (index) => {
      const image = imageAt('team/app', 'a');
      await index.record([{ image, signatures: [{ ...signature(1, 'one'), judgement: goodBy(PRIMARY) }] }]);
      await index.judgeAgain(SITE, [PRIMARY]);
      await index.record([recordedImage(image, 'one', 'two', 'one')]);
      assert.deepEqual(await verdictsOf(index, image), ['good', 'unverified', 'good']);
      assert.equal((await index.unjudgedOf(image)).length, 3);
      await index.judge([{ image, sha256: sha256('one'), judgement: goodBy(PRIMARY) }]);
      assert.deepEqual(
        (await index.unjudgedOf(image)).map(({ number }) => number),
        [2],
      );
    });

    test('leaves what was signed in the future for then', async (index) => {
      const image = imageAt('team/app', 'a');
      const judgement = { ...goodBy(PRIMARY), verdict: 'unverified' as const, judgeAgainAt: LATER };
      await index.record([{ image, signatures: [{ ...signature(1, 'one'), judgement }] }]);
      await index.judgeAgain(SITE, [PRIMARY]);
      assert.deepEqual(await index.unjudged(SITE, NOW, 0, 100), []);
      assert.equal((await index.unjudgedOf(image)).length, 1);
    });

    test('reaches every one of 12,000 signatures', async (index) => {
      const image = (n: number) => imageAt(`team/app${n % 100}`, String(n));
      for (let start = 0; start < 12_000; start += 4000) {
        const images = Array.from({ length: 4000 }, (_, n) => {
          const judgement = noKey((start + n) % 5 === 0 ? OTHER : PRIMARY);
          return { image: image(start + n), signatures: [{ ...signature(1, 'one'), judgement }] };
        });
        await index.record(images);
      }
      await index.judgeAgain(SITE, [keyId(PRIMARY)]);
      let meant = 0;
      for (let after = 0; ; ) {
        const page = await index.unjudged(SITE, NOW, after, 1000);
        meant += page.length;
        const last = page.at(-1);
        if (last === undefined) break;
        after = last.id;
      }
      assert.equal(meant, 9600);
      assert.deepEqual(
        [await verdictsOf(index, image(0)), await verdictsOf(index, image(11_999))],
        [['no-key'], ['no-key']],
      );
    });
  });

  searchContract(name, test);
  modelContract(name, open);
}

function searchContract(
  name: string,
  test: (title: string, act: (index: Index) => Promise<void>) => void,
): void {
  const PATHS = ['team/app', 'team/app2', 'team', 'team/', ''];
  const MANIFESTS = ['a', 'b', 'c'];
  const KEYS = [PRIMARY, OTHER, null];
  const HOURS = [8, 9, 10];
  const at = (hour: number) => new Date(Date.UTC(2026, 10, 22, hour));

  /** A judgement of a tag for each hour. The last one is bad: nobody vouches for what it claims. */
  function judgedBy(key: string, hour: number): Judgement {
    const dockerReference = `localhost:5000/team/app:v${hour}`;
    const { claim, ...good } = goodBy(key);
    const judgement = { ...good, claim: claim === null ? null : { ...claim, dockerReference } };
    return hour === 10 ? { ...judgement, verdict: 'bad' } : judgement;
  }

  /** Every combination, in an order of no meaning. */
  async function fill(index: Index): Promise<IndexedSignature[]> {
    const images: RecordedImage[] = PATHS.flatMap((path) =>
      MANIFESTS.map((manifest) => ({
        image: imageAt(path, manifest),
        signatures: KEYS.flatMap((key, k) =>
          HOURS.map((hour, h): RecordedSignature => {
            const base = {
              ...signature(3 * k + h + 1, `${path} ${manifest} ${key} ${hour}`),
              storedAt: at(hour),
            };
            return key === null ? base : { ...base, judgement: judgedBy(key, hour) };
          }),
        ),
      })),
    );
    await index.record(
      images.toSorted((a, b) => (a.image.hex + a.image.path < b.image.hex + b.image.path ? -1 : 1)),
    );
    await index.record([recordedImage(imageAt('team/app', 'a', 'mirror'), 'one')]);
    const rows = await rowsOf(
      index,
      images.map(({ image }) => image),
    );
    return rows.toSorted((a, b) => a.id - b.id);
  }

  function matches(row: IndexedSignature, filter: SignatureFilter): boolean {
    const { image, fingerprint, storedAt, verdict, dockerReference } = row;
    return (
      (filter.tag === null || (verdict === 'good' && dockerReference?.endsWith(`:${filter.tag}`) === true)) &&
      (filter.verdict === null || verdict === filter.verdict) &&
      (filter.path === null || image.path === filter.path) &&
      (filter.digest === null ||
        (image.hex === filter.digest.hex && image.algorithm === filter.digest.algorithm)) &&
      (filter.fingerprint === null || fingerprint === filter.fingerprint) &&
      (filter.since === null || storedAt >= filter.since) &&
      (filter.until === null || storedAt < filter.until)
    );
  }

  const orNull = <T>(...values: readonly T[]) => fc.constantFrom<T | null>(null, ...values);
  const filters: fc.Arbitrary<SignatureFilter> = fc.record({
    path: orNull(...PATHS, 'never/there'),
    digest: orNull(
      ...MANIFESTS.map((manifest) => ({ algorithm: 'sha256' as const, hex: sha256(manifest) })),
      { algorithm: 'sha256' as const, hex: `${sha256('a').slice(0, 32)}${'0'.repeat(32)}` },
      { algorithm: 'sha384' as const, hex: sha256('a') },
    ),
    fingerprint: orNull(PRIMARY, OTHER, SUBKEY),
    tag: orNull('v8', 'v10', 'latest', '5000/team/app'),
    verdict: orNull<Verdict>('good', 'bad', 'unverified', 'no-key'),
    since: orNull(...HOURS.map(at), at(23)),
    until: orNull(...HOURS.map(at), at(23)),
  });

  describe(`${name}: searches`, () => {
    test('give every match once, by id from either end, in pages of any size', async (index) => {
      const all = await fill(index);
      assert.equal(all.length, 135);
      await fc.assert(
        fc.asyncProperty(
          filters,
          fc.constantFrom('oldest', 'newest'),
          fc.constantFrom(1, 3, 7, 50, 1000),
          async (filter, order, limit) => {
            const wanted = all.filter((row) => matches(row, filter));
            if (order === 'newest') wanted.reverse();
            assert.deepEqual(await walk(index, { filter, order, limit }), wanted);
          },
        ),
        { numRuns: 500 },
      );
    });

    test('go on where they stood, also when the row that they stood at is gone', async (index) => {
      const image = imageAt('team/app', 'a');
      await index.record([recordedImage(image, 'one', 'two', 'three')]);
      const [one, two, three] = idsOf(await index.ofImage(image));
      assert.ok(two !== undefined);
      await index.record([{ image, signatures: [signature(1, 'one'), signature(3, 'three')] }]);
      const from = async (order: SignaturePage['order']) =>
        idsOf(await index.search(SITE, { filter: ANY_SIGNATURE, order, after: two, limit: 5 }));
      assert.deepEqual([await from('oldest'), await from('newest')], [[three], [one]]);
    });

    test('tell the number under which a signature is served', async (index) => {
      const image = imageAt('team/app', 'a');
      const signatures = [signature(2, 'two'), signature(3, 'three'), signature(7, 'seven')];
      await index.record([{ image, signatures }, recordedImage(imageAt('team/app', 'b'), 'one')]);
      const rows = await find(index, { path: 'team/app', digest: { algorithm: 'sha256', hex: image.hex } });
      assert.deepEqual(
        rows.map(({ number, servedNumber }) => [number, servedNumber]),
        [
          [2, 1],
          [3, 2],
          [7, 3],
        ],
      );
    });

    test('from the oldest on miss nothing that is recorded and judged meanwhile', async (index) => {
      const images = Array.from({ length: 150 }, (_, n) => imageAt(`team/app${n % 7}`, String(n)));
      let isDone = false;
      const write = async () => {
        for (const [n, image] of images.entries()) {
          await index.record([recordedImage(image, `one of ${n}`, `two of ${n}`)]);
          if (n % 3 === 0)
            await index.judge([{ image, sha256: sha256(`one of ${n}`), judgement: goodBy(PRIMARY) }]);
        }
        isDone = true;
      };
      const seen: number[] = [];
      const follow = async () => {
        for (let after: number | null = null; ; ) {
          const wasDone = isDone;
          const page = await index.search(SITE, { filter: ANY_SIGNATURE, order: 'oldest', after, limit: 13 });
          seen.push(...idsOf(page));
          after = page.at(-1)?.id ?? after;
          if (wasDone && page.length === 0) return;
          await new Promise((resolve) => setImmediate(resolve));
        }
      };
      await Promise.all([write(), follow()]);
      const all = idsOf(await rowsOf(index, images)).toSorted((a, b) => a - b);
      assert.equal(all.length, 300);
      assert.deepEqual(seen, all);
    });
  });
}

type Step =
  | {
      readonly kind: 'record';
      readonly image: number;
      readonly contents: readonly (readonly [number, string])[];
    }
  | { readonly kind: 'judge'; readonly image: number; readonly content: string; readonly by: string }
  | { readonly kind: 'judge-again'; readonly issuer: string }
  | { readonly kind: 'forget-folder'; readonly folder: string };

/** What is there of one image, and what was found of its bytes: a verdict lasts as long as bytes of it do. */
interface Model {
  readonly numbers: ReadonlyMap<number, string>;
  readonly signers: ReadonlyMap<string, string | null>;
  /** Those of the bytes that are to be judged. */
  readonly unjudged: ReadonlySet<string>;
}

const EMPTY: Model = { numbers: new Map(), signers: new Map(), unjudged: new Set() };

function modelContract(name: string, open: () => Promise<IndexUnderTest>): void {
  const IMAGES = [imageAt('a/app', '1'), imageAt('a/app', '2'), imageAt('b/', '1')];
  const contents = fc.constantFrom('one', 'two', 'three', 'four');
  const issuers = fc.constantFrom(PRIMARY, OTHER);
  const images = fc.nat(IMAGES.length - 1);
  const step: fc.Arbitrary<Step> = fc.oneof(
    {
      weight: 5,
      arbitrary: fc.record({
        kind: fc.constant('record' as const),
        image: images,
        contents: fc.uniqueArray(fc.tuple(fc.integer({ min: 1, max: 5 }), contents), {
          selector: ([number]) => number,
          maxLength: 5,
        }),
      }),
    },
    {
      weight: 4,
      arbitrary: fc.record({
        kind: fc.constant('judge' as const),
        image: images,
        content: contents,
        by: issuers,
      }),
    },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('judge-again' as const), issuer: issuers }) },
    {
      weight: 1,
      arbitrary: fc.record({
        kind: fc.constant('forget-folder' as const),
        folder: fc.constantFrom('a', 'b', ''),
      }),
    },
  );

  function carryOut(index: Index, done: Step): Promise<void> {
    switch (done.kind) {
      case 'record': {
        const signatures = done.contents.map(([number, content]) => signature(number, content));
        return index.record([{ image: imageOf(done.image), signatures }]);
      }
      case 'judge':
        return index.judge([
          { image: imageOf(done.image), sha256: sha256(done.content), judgement: goodBy(done.by) },
        ]);
      case 'judge-again':
        return index.judgeAgain(SITE, [keyId(done.issuer)]);
      case 'forget-folder':
        return index.forgetFolder(SITE, done.folder);
    }
  }

  function imageOf(position: number): ImageId {
    const image = IMAGES[position];
    assert.ok(image !== undefined);
    return image;
  }

  function expected(before: Model, image: ImageId, done: Step): Model {
    const { numbers, signers, unjudged } = before;
    switch (done.kind) {
      case 'record': {
        if (imageOf(done.image) !== image) return before;
        const hashes = done.contents.map(([number, content]) => [number, sha256(content)] as const);
        return {
          numbers: new Map(hashes.toSorted(([a], [b]) => a - b)),
          signers: new Map(hashes.map(([, hash]) => [hash, signers.get(hash) ?? null])),
          unjudged: new Set(
            hashes.map(([, hash]) => hash).filter((hash) => unjudged.has(hash) || !signers.has(hash)),
          ),
        };
      }
      case 'judge': {
        const hash = sha256(done.content);
        if (imageOf(done.image) !== image || !signers.has(hash)) return before;
        return {
          numbers,
          signers: new Map([...signers, [hash, done.by]]),
          unjudged: new Set([...unjudged].filter((other) => other !== hash)),
        };
      }
      case 'judge-again': {
        const meant = [...signers].filter(([, by]) => by === done.issuer).map(([hash]) => hash);
        return { numbers, signers, unjudged: new Set([...unjudged, ...meant]) };
      }
      case 'forget-folder':
        return done.folder === '' || image.path.replace(/\/.*$/, '') === done.folder ? EMPTY : before;
    }
  }

  /** As many as were there of each bytes keep their ids, those that kept their number first; others have new ones. */
  function assertIds(
    before: readonly IndexedSignature[],
    after: readonly IndexedSignature[],
    lastId: number,
  ): void {
    for (const hash of new Set(after.map((row) => row.sha256))) {
      const old = before.filter((row) => row.sha256 === hash);
      const now = after.filter((row) => row.sha256 === hash);
      const kept = now.filter(({ id }) => old.some((row) => row.id === id));
      assert.equal(kept.length, Math.min(old.length, now.length));
      assert.ok(now.every((row) => kept.includes(row) || row.id > lastId));
      for (const { number, id } of old) {
        const there = now.find((row) => row.number === number);
        if (there !== undefined) assert.equal(there.id, id);
      }
    }
  }

  describe(`${name}: any sequence of recording, judging and forgetting`, () => {
    it('leaves what a plain model of it has, keeps ids and verdicts, and gives no id twice', async () => {
      const { index, close } = await open();
      let lastId = 0;
      try {
        await fc.assert(
          fc.asyncProperty(fc.array(step, { maxLength: 15, size: 'max' }), async (steps) => {
            await index.forgetFolder(SITE, '');
            const models = new Map(IMAGES.map((image) => [imageKey(image), EMPTY]));
            for (const done of steps) {
              const before = new Map<string, readonly IndexedSignature[]>();
              for (const image of IMAGES) before.set(imageKey(image), await index.ofImage(image));
              await carryOut(index, done);
              for (const image of IMAGES) {
                const key = imageKey(image);
                const model = expected(models.get(key) ?? EMPTY, image, done);
                models.set(key, model);
                const rows = await index.ofImage(image);
                assert.deepEqual(
                  rows.map((row) => [row.number, row.servedNumber, row.sha256, row.fingerprint]),
                  [...model.numbers].map(([number, hash], position) => {
                    return [number, position + 1, hash, model.signers.get(hash)];
                  }),
                );
                assertIds(before.get(key) ?? [], rows, lastId);
              }
              const all = await rowsOf(index, IMAGES);
              assert.deepEqual(await index.counts(SITE), {
                images: new Set(all.map(({ image }) => imageKey(image))).size,
                signatures: all.length,
              });
              assert.deepEqual(
                idsOf(await index.unjudged(SITE, NOW, 0, 100)),
                idsOf(
                  all.filter(({ image, sha256: hash }) => models.get(imageKey(image))?.unjudged.has(hash)),
                ).toSorted((a, b) => a - b),
              );
              lastId = Math.max(lastId, ...idsOf(all));
            }
          }),
          { numRuns: 30 },
        );
      } finally {
        await close();
      }
    });
  });
}
