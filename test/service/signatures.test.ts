import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { isLookasideError, LookasideError } from '../../src/domain/errors.ts';
import type { ImageId } from '../../src/domain/image.ts';
import type { SignatureFilter } from '../../src/domain/ports.ts';
import { STATES, type State } from '../../src/domain/state.ts';
import { createSignatureQueries, type SignatureQuery } from '../../src/service/signatures.ts';
import { ANY_SIGNATURE } from '../contract/any-signature.ts';
import { createGate } from '../gate.ts';
import { createClock, imageOf } from './hand-driven.ts';
import { createMemory, FINGERPRINT, hashOf, keyOf, SUBKEY } from './signature-memory.ts';

const APP = imageOf('team/app');
const FOLDER = `team/app@sha256=${APP.hex}`;

function open({ breathe = async () => undefined }: { breathe?: () => Promise<void> } = {}) {
  const memory = createMemory();
  const clock = createClock();
  const breaths = { count: 0 };
  const queries = createSignatureQueries({
    ...memory,
    sites: ['default'],
    clock,
    async breathe() {
      breaths.count += 1;
      await breathe();
    },
  });
  const search = (query: Partial<SignatureQuery> = {}) =>
    queries.search({
      site: null,
      filter: ANY_SIGNATURE,
      uploader: null,
      state: null,
      order: 'newest',
      limit: 100,
      cursor: null,
      ...query,
    });
  return { ...memory, clock, breaths, queries, search };
}

const refusedCursor = (error: unknown) =>
  isLookasideError(error, 'REQUEST_INVALID') &&
  error.detail?.reason === 'cursor' &&
  /begin again without a cursor$/.test(error.message);

describe('the signatures of one image', () => {
  test('a verified one is shown with its key, its claim and who uploaded it', async () => {
    const { queries, learn, serve, register, upload } = open();
    const { sha256 } = learn({ signingFingerprint: SUBKEY });
    register();
    serve(APP, [sha256]);
    upload(APP, sha256, 'ci', 17);
    assert.deepEqual(await queries.ofImage(APP), [
      {
        site: 'default',
        image: `team/app@sha256:${APP.hex}`,
        path: `/${FOLDER}/signature-1`,
        number: 1,
        state: 'verified',
        reason: null,
        form: 'binary',
        fingerprint: FINGERPRINT,
        signingFingerprint: SUBKEY,
        issuer: null,
        manifestDigest: `sha256:${APP.hex}`,
        dockerReference: 'registry.example/team/app:v1',
        creator: 'atomic 5.34.2',
        signedAt: new Date('2026-11-01T00:00:00Z'),
        expiresAt: null,
        storedAt: new Date(1000),
        sizeBytes: 500,
        signatureSha256: sha256,
        uploader: 'ci',
        auditSeq: 17,
        remap: null,
        warnings: [],
        readers: [
          {
            reader: 'go-before-2026-07',
            accepts: false,
            because: 'the key is or holds ed25519, which they do not know',
          },
          {
            reader: 'before-2025-08',
            accepts: false,
            because: 'a subkey has made it, and they accept the primary key alone',
          },
        ],
      },
    ]);
  });

  test('one that is below another name than the signed one is shown with its remap, and which clients accept it', async () => {
    const { queries, learn, serve, register, upload } = open();
    const { sha256 } = learn();
    register();
    serve(APP, [sha256]);
    upload(APP, sha256, 'ci', 17, 'team=registry.example/x');
    const [stored] = await queries.ofImage(APP);
    assert.equal(stored?.remap, 'team=registry.example/x');
    assert.deepEqual(
      stored?.warnings.map((warning) => warning.code),
      ['REMAPPED'],
    );
  });

  test('what one says of itself is not shown while nobody vouches for it', async () => {
    const { queries, learn, serve } = open();
    for (const verdict of ['bad', 'no-key', 'unsupported', 'unreadable', 'unverified'] as const) {
      const { sha256 } = learn({ verdict, reason: 'KEY_UNKNOWN', issuer: '0123456789ABCDEF' });
      serve(APP, [sha256]);
      const [stored] = await queries.ofImage(APP);
      assert.equal(stored?.state, verdict === 'no-key' ? 'unknown-key' : verdict);
      assert.equal(stored.reason, 'KEY_UNKNOWN');
      assert.equal(stored.issuer, '0123456789ABCDEF');
      const { fingerprint, signingFingerprint, manifestDigest, dockerReference, creator } = stored;
      const { signedAt, expiresAt } = stored;
      assert.deepEqual(
        [fingerprint, signingFingerprint, manifestDigest, dockerReference, creator, signedAt, expiresAt],
        [null, null, null, null, null, null, null],
      );
    }
  });

  test('the state is that of the key now', async () => {
    const { queries, learn, serve, register, clock } = open();
    const past = new Date(clock.now().getTime() - 1);
    const { sha256 } = learn({ signingFingerprint: SUBKEY });
    serve(APP, [sha256]);
    const state = async () => (await queries.ofImage(APP))[0]?.state;
    assert.equal(await state(), 'unknown-key');
    register();
    assert.equal(await state(), 'verified');
    register({ expiresAt: past });
    assert.equal(await state(), 'key-expired');
    register({ revokedAt: past });
    assert.equal(await state(), 'key-revoked');
    register({ subkeys: [{ ...keyOf(SUBKEY), revokedAt: past }] });
    assert.equal(await state(), 'key-revoked');
    register({ expiresAt: new Date(clock.now().getTime() + 1000) });
    assert.equal(await state(), 'verified');
    clock.pass(1000);
    assert.equal(await state(), 'key-expired');
  });

  test('they are those that clients get, under the numbers and times of the set', async () => {
    const { queries, learn, serve } = open();
    const [first, gone, second] = [learn({ servedNumber: 5 }), learn(), learn({ servedNumber: 9 })];
    serve(APP, [second.sha256, first.sha256]);
    const listed = await queries.ofImage(APP);
    assert.deepEqual(
      listed.map(({ number, path, signatureSha256, storedAt }) => [
        number,
        path,
        signatureSha256,
        storedAt.getTime(),
      ]),
      [
        [1, `/${FOLDER}/signature-1`, second.sha256, 1000],
        [2, `/${FOLDER}/signature-2`, first.sha256, 2000],
      ],
    );
    assert.ok(listed.every(({ signatureSha256 }) => signatureSha256 !== gone.sha256));
  });

  test('one that is served before the index knows of it is unverified', async () => {
    const { queries, serve, upload } = open();
    serve(APP, [hashOf(7)]);
    upload(APP, hashOf(7), 'ci');
    const [stored] = await queries.ofImage(APP);
    assert.equal(stored?.state, 'unverified');
    assert.equal(stored.signatureSha256, hashOf(7));
    assert.equal(stored.sizeBytes, 500);
    assert.equal(stored.uploader, 'ci');
    assert.equal(stored.form, null);
  });

  test('bytes that were uploaded for another image have no uploader here', async () => {
    const { queries, learn, serve, upload } = open();
    const { sha256 } = learn();
    serve(APP, [sha256]);
    upload(imageOf('team/other'), sha256, 'ci');
    assert.equal((await queries.ofImage(APP))[0]?.uploader, null);
  });

  test('an image of the release layout has its own form of path and name', async () => {
    const { queries, serve } = open();
    const image: ImageId = { ...APP, layout: 'release', path: 'openshift/release' };
    serve(image, [hashOf(1)]);
    const [stored] = await queries.ofImage(image);
    assert.equal(stored?.image, `openshift/release/sha256:${APP.hex}`);
    assert.equal(stored.path, `/openshift/release/sha256=${APP.hex}/signature-1`);
  });

  test('an image without signatures has none, whatever the index still knows', async () => {
    const { queries, learn } = open();
    learn();
    assert.deepEqual(await queries.ofImage(APP), []);
  });
});

describe('searching signatures', () => {
  const numbers = (page: { readonly signatures: readonly { readonly number: number }[] }) =>
    page.signatures.map(({ number }) => number);

  test('the newest come first, and next leads to the end', async () => {
    const { search, learn } = open();
    for (let n = 0; n < 5; n += 1) learn();
    const first = await search({ limit: 2 });
    assert.deepEqual(numbers(first), [5, 4]);
    const second = await search({ limit: 2, cursor: first.next });
    assert.deepEqual(numbers(second), [3, 2]);
    const third = await search({ limit: 2, cursor: second.next });
    assert.deepEqual(numbers(third), [1]);
    assert.equal(third.next, null);
    assert.deepEqual([first.cursor, second.cursor, third.cursor], [null, null, null]);
  });

  test('a page that is just full is the last one when nothing follows', async () => {
    const { search, learn } = open();
    for (let n = 0; n < 4; n += 1) learn();
    assert.equal((await search({ limit: 4 })).next, null);
    assert.notEqual((await search({ limit: 3 })).next, null);
    assert.deepEqual(await open().search(), { signatures: [], next: null, cursor: null });
  });

  test('the index is asked with the filter, and for little more than the page', async () => {
    const { search, learn, asked } = open();
    for (let n = 0; n < 400; n += 1) learn();
    const filter: SignatureFilter = {
      path: 'team/app',
      digest: { algorithm: 'sha256', hex: APP.hex },
      fingerprint: FINGERPRINT,
      tag: 'v1',
      verdict: null,
      since: new Date(0),
      until: new Date(10_000),
    };
    assert.deepEqual(numbers(await search({ filter, order: 'oldest' })), [1, 2, 3, 4, 5, 6, 7, 8, 9]);
    await search({ limit: 100 });
    assert.deepEqual(asked.pages, [
      { filter, order: 'oldest', after: null, limit: 101 },
      { filter: ANY_SIGNATURE, order: 'newest', after: null, limit: 101 },
    ]);
  });

  test('a key ID is that of a registered key, and refused when it is of several or of none', async () => {
    const { search, learn, register } = open();
    learn();
    const by = (fingerprint: string) => search({ filter: { ...ANY_SIGNATURE, fingerprint } });
    const id = FINGERPRINT.slice(-16);
    await assert.rejects(by(id), (error) => isLookasideError(error, 'NOT_FOUND'));
    register();
    assert.deepEqual(numbers(await by(id)), [1]);
    register({ fingerprint: `${'0'.repeat(24)}${id}` });
    await assert.rejects(by(id), (error) => {
      return isLookasideError(error, 'REQUEST_INVALID') && error.message.includes('several keys have the ID');
    });
    assert.deepEqual(numbers(await by(FINGERPRINT)), [1]);
  });

  test('the index is asked for the one verdict that a state has, and for any where it has several', async () => {
    const { search, asked } = open();
    const verdictFor = async (state: State) => {
      await search({ state });
      return asked.pages.at(-1)?.filter.verdict;
    };
    assert.equal(await verdictFor('bad'), 'bad');
    assert.equal(await verdictFor('expired'), 'good');
    assert.equal(await verdictFor('unknown-key'), null);
  });

  test('uploader and state are those of the row as it is shown', async () => {
    const { search, learn, register, upload } = open();
    register();
    const rows = [learn(), learn({ verdict: 'bad' }), learn(), learn({ fingerprint: 'FF'.repeat(20) })];
    for (const [position, { sha256 }] of rows.entries())
      upload(APP, sha256, position < 2 ? 'ci' : 'release', position);
    assert.deepEqual(numbers(await search({ uploader: 'ci' })), [2, 1]);
    assert.deepEqual(numbers(await search({ state: 'verified' })), [3, 1]);
    assert.deepEqual(numbers(await search({ state: 'unknown-key' })), [4]);
    assert.deepEqual(numbers(await search({ state: 'verified', uploader: 'release' })), [3]);
    assert.deepEqual(numbers(await search({ uploader: 'nobody' })), []);
  });

  test('whatever is stored and asked, the pages together are the answer in order, each row once', async () => {
    const row = fc.record({
      verdict: fc.constantFrom('good', 'bad', 'unverified', 'no-key' as const),
      uploader: fc.constantFrom('ci', 'release', null),
      path: fc.constantFrom('team/app', 'team/other'),
    });
    const question = fc.record({
      order: fc.constantFrom('newest', 'oldest' as const),
      state: fc.constantFrom<(State | null)[]>('verified', 'bad', null),
      uploader: fc.constantFrom('ci', null),
      path: fc.constantFrom('team/app', null),
      limit: fc.integer({ min: 1, max: 7 }),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(row, { maxLength: 30 }), question, async (rows, asked) => {
        const { search, learn, register, upload } = open();
        register();
        const expected: number[] = [];
        for (const { verdict, uploader, path } of rows) {
          const image = imageOf(path);
          const { id, sha256 } = learn({ verdict, image });
          if (uploader !== null) upload(image, sha256, uploader);
          const isState = asked.state === null || asked.state === (verdict === 'good' ? 'verified' : verdict);
          const isUploader = asked.uploader === null || asked.uploader === uploader;
          if (isState && isUploader && (asked.path === null || asked.path === path)) expected.push(id);
        }
        if (asked.order === 'newest') expected.reverse();

        const { order, state, uploader, limit } = asked;
        const seen: number[] = [];
        let cursor: string | null = null;
        do {
          const page = await search({
            filter: { ...ANY_SIGNATURE, path: asked.path },
            order,
            state,
            uploader,
            limit,
            cursor,
          });
          assert.ok(page.signatures.length <= limit);
          assert.equal(page.cursor !== null, order === 'oldest');
          if (page.next !== null && order === 'oldest') assert.equal(page.next, page.cursor);
          seen.push(...page.signatures.map(({ signatureSha256 }) => Number.parseInt(signatureSha256, 16)));
          cursor = page.next;
        } while (cursor !== null);
        assert.deepEqual(seen, expected);
      }),
    );
  });

  test('a request walks 10,000 rows at most, gives turns, and its next goes on from there', async () => {
    const { search, learn, asked, breaths, upload } = open();
    for (let n = 0; n < 25_000; n += 1) learn();
    upload(APP, hashOf(1), 'ci');
    const query = { uploader: 'ci', limit: 1 };
    const first = await search(query);
    assert.deepEqual(first.signatures, []);
    assert.ok(asked.pages.every(({ limit }) => limit <= 101));
    assert.equal(asked.pages.length, 100);
    assert.equal(breaths.count, 100);
    const second = await search({ ...query, cursor: first.next });
    assert.deepEqual(second.signatures, []);
    const third = await search({ ...query, cursor: second.next });
    assert.deepEqual(numbers(third), [1]);
    assert.equal(third.next, null);
    assert.equal(asked.pages.length, 250);
  });

  test('other requests run while one walks', async () => {
    const gate = createGate();
    const { search, learn, asked } = open({ breathe: () => gate.promise });
    for (let n = 0; n < 1000; n += 1) learn();
    const walk = search({ state: 'bad' });
    assert.deepEqual(numbers(await search({ limit: 1 })), [1000]);
    assert.equal(asked.pages.length, 2);
    gate.open();
    assert.deepEqual((await walk).signatures, []);
  });

  describe('asks for uploads', () => {
    function openAsking() {
      const memory = createMemory();
      const asked: ImageId[] = [];
      const queries = createSignatureQueries({
        ...memory,
        uploads: {
          async ofImage(image) {
            asked.push(image);
            return [];
          },
        },
        sites: ['default'],
        clock: createClock(),
        breathe: async () => undefined,
      });
      const search = async (query: Partial<SignatureQuery>) => {
        const filter = ANY_SIGNATURE;
        const any = { site: null, filter, uploader: null, state: null, order: 'newest' } as const;
        await queries.search({ ...any, limit: 10, cursor: null, ...query });
        return asked.map(({ path }) => path);
      };
      return { ...memory, search };
    }

    test('once an image', async () => {
      const { learn, search } = openAsking();
      for (let n = 0; n < 10; n += 1) learn({ image: imageOf(n < 5 ? 'team/app' : 'team/other') });
      assert.deepEqual(await search({ uploader: 'ci' }), ['team/other', 'team/app']);
    });

    test('only of images with a signature of the state that is wanted', async () => {
      const { learn, register, search } = openAsking();
      register();
      learn({ image: imageOf('team/old'), expiresAt: new Date(0) });
      for (let n = 0; n < 10; n += 1) learn({ image: imageOf(`team/app${n}`) });
      assert.deepEqual(await search({ state: 'expired' }), ['team/old']);
    });
  });
});

describe('a kept cursor', () => {
  test('shows what was learned of since, and nothing twice, whenever it is asked', async () => {
    const step = fc.oneof(
      fc.record({ learn: fc.integer({ min: 1, max: 5 }) }),
      fc.record({ poll: fc.integer({ min: 1, max: 4 }) }),
      fc.record({ forget: fc.nat(10) }),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
        const { search, learn, rows } = open();
        const seen: string[] = [];
        const forgotten = new Set<string>();
        let learned: string[] = [];
        let cursor: string | null = null;
        const poll = async (limit: number) => {
          const page = await search({ order: 'oldest', limit, cursor });
          assert.ok(page.cursor !== null);
          cursor = page.cursor;
          seen.push(...page.signatures.map(({ signatureSha256 }) => signatureSha256));
          return page.next;
        };
        for (const each of steps) {
          if ('learn' in each) for (let n = 0; n < each.learn; n += 1) learned.push(learn().sha256);
          else if ('poll' in each) await poll(each.poll);
          else for (const { sha256 } of rows.splice(each.forget, 1)) forgotten.add(sha256);
        }
        while ((await poll(3)) !== null);
        // what was forgotten may have been seen before
        learned = learned.filter((sha256) => !forgotten.has(sha256) || seen.includes(sha256));
        assert.deepEqual(seen, learned);
      }),
    );
  });

  test('is there before the first signature is', async () => {
    const { search, learn } = open();
    const empty = await search({ order: 'oldest' });
    assert.equal(empty.next, null);
    learn();
    assert.equal((await search({ order: 'oldest', cursor: empty.cursor })).signatures.length, 1);
  });

  test('stays the same while nothing comes', async () => {
    const { search, learn } = open();
    learn();
    const { cursor } = await search({ order: 'oldest' });
    assert.deepEqual(await search({ order: 'oldest', cursor }), { signatures: [], next: null, cursor });
  });

  test('of an index that was made anew is refused, so that nobody misses what has other ids now', async () => {
    const { search, learn, makeAnew } = open();
    learn();
    const { cursor } = await search({ order: 'oldest' });
    makeAnew();
    learn();
    await assert.rejects(search({ order: 'oldest', cursor }), refusedCursor);
  });

  test('is refused with the other order', async () => {
    const { search, learn } = open();
    learn();
    const { cursor } = await search({ order: 'oldest' });
    await assert.rejects(search({ order: 'newest', cursor }), refusedCursor);
  });

  test('is made of letters that need no escape in a URL', async () => {
    const { search, learn } = open();
    learn();
    assert.match((await search({ order: 'oldest' })).cursor ?? '', /^[A-Za-z0-9_-]{1,200}$/);
  });

  const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const FOREIGN: readonly (readonly [title: string, cursor: string])[] = [
    ['empty', ''],
    ['a number', '17'],
    ['no base64', '!!!'],
    ['no JSON', Buffer.from('hello').toString('base64url')],
    ['another shape', encode({ generation: 'one', order: 'oldest', id: 1 })],
    ['too short', encode(['one', 'oldest'])],
    ['too long', encode(['one', 'oldest', 1, 2])],
    ['an unknown order', encode(['one', 'sideways', 1])],
    ['an id that is text', encode(['one', 'oldest', '1'])],
    ['an id that is negative', encode(['one', 'oldest', -1])],
    ['an id that is no whole number', encode(['one', 'oldest', 0.5])],
    ['an id beyond whole numbers', encode(['one', 'oldest', 2 ** 53])],
    ['padded', `${encode(['one', 'oldest', 12])}=`],
    ['with a byte behind', `${encode(['one', 'oldest', 1])}A`],
    ['huge', 'A'.repeat(100_000)],
  ];
  for (const [title, cursor] of FOREIGN) {
    test(`that we did not give is refused: ${title}`, async () => {
      await assert.rejects(open().search({ order: 'oldest', cursor }), refusedCursor);
    });
  }

  test('any text is a cursor or REQUEST_INVALID', async () => {
    const { search } = open();
    await fc.assert(
      fc.asyncProperty(fc.oneof(fc.string(), fc.base64String()), async (cursor) => {
        await assert.rejects(search({ order: 'oldest', cursor }), refusedCursor);
      }),
    );
  });
});

describe('an index that is made anew', () => {
  for (const nth of [1, 2]) {
    for (const when of ['before', 'after'] as const) {
      test(`during a search ends it, ${when} page ${nth} was found: ids of two indexes must not mix`, async () => {
        const memory = createMemory();
        let pages = 0;
        const queries = createSignatureQueries({
          ...memory,
          index: {
            ...memory.index,
            async search(...asked) {
              pages += 1;
              if (pages === nth && when === 'before') memory.makeAnew();
              const rows = await memory.index.search(...asked);
              if (pages === nth && when === 'after') memory.makeAnew();
              return rows;
            },
          },
          sites: ['default'],
          clock: createClock(),
          breathe: async () => undefined,
        });
        for (let n = 0; n < 600; n += 1) memory.learn();
        const query = {
          site: null,
          filter: ANY_SIGNATURE,
          state: null,
          order: 'newest',
          limit: 10,
          cursor: null,
        } as const;
        await assert.rejects(queries.search({ ...query, uploader: 'nobody' }), (error) =>
          isLookasideError(error, 'INDEX_UNUSABLE'),
        );
        assert.equal(pages, nth);
      });
    }
  }
});

describe('what is missing', () => {
  const OTHER = imageOf('team/other');

  test('is told by position, whatever number a signature has', async () => {
    const { queries, serve } = open();
    serve(APP, [hashOf(1), hashOf(2)]);
    serve(OTHER, [hashOf(3)]);
    const asked = [
      { image: APP, sha256: hashOf(2) },
      { image: APP, sha256: hashOf(3) },
      { image: OTHER, sha256: hashOf(3) },
      { image: imageOf('team/none'), sha256: hashOf(1) },
      { image: APP, sha256: hashOf(3) },
      { image: APP, sha256: hashOf(1) },
    ];
    assert.deepEqual(await queries.missing(asked), [1, 3, 4]);
  });

  test('is nothing when nothing is asked', async () => {
    assert.deepEqual(await open().queries.missing([]), []);
  });

  test('is found by one look at each image, and never at the index', async () => {
    const { queries, serve, asked } = open();
    serve(APP, [hashOf(1)]);
    // the same image, but not the same object
    const list = Array.from({ length: 50 }, (_, n) => ({
      image: imageOf(n % 2 === 0 ? 'team/app' : 'team/other'),
      sha256: hashOf(n % 3),
    }));
    await queries.missing(list);
    assert.equal(asked.sets.length, 2);
    assert.equal(asked.images.length, 0);
  });

  test('is as the set says, for any list', async () => {
    const image = fc.constantFrom('a', 'b', 'c').map((path) => imageOf(path));
    const one = fc.record({ image, sha256: fc.nat(5).map(hashOf) });
    await fc.assert(
      fc.asyncProperty(fc.array(one), fc.array(one), async (stored, asked) => {
        const { queries, serve } = open();
        const has = (path: string, sha256: string) =>
          stored.some((each) => each.image.path === path && each.sha256 === sha256);
        for (const path of ['a', 'b', 'c'])
          serve(
            imageOf(path),
            [0, 1, 2, 3, 4, 5].map(hashOf).filter((hash) => has(path, hash)),
          );
        const expected = asked.flatMap((each, position) =>
          has(each.image.path, each.sha256) ? [] : [position],
        );
        assert.deepEqual(await queries.missing(asked), expected);
      }),
    );
  });

  test('gives turns, and looks at eight images at most at once', async () => {
    const memory = createMemory();
    let running = 0;
    let most = 0;
    let breaths = 0;
    const queries = createSignatureQueries({
      ...memory,
      sites: ['default'],
      clock: createClock(),
      reader: {
        async readSet() {
          running += 1;
          most = Math.max(most, running);
          await new Promise((resolve) => setImmediate(resolve));
          running -= 1;
          return { generation: 1, entries: [] };
        },
      },
      async breathe() {
        breaths += 1;
      },
    });
    const asked = Array.from({ length: 1000 }, (_, n) => ({ image: imageOf(`app${n}`), sha256: hashOf(1) }));
    assert.equal((await queries.missing(asked)).length, 1000);
    assert.equal(most, 8);
    assert.equal(breaths, 10);
  });

  test('is never told when the store failed', async () => {
    const failure = new LookasideError('STORE_UNAVAILABLE', 'EIO');
    const queries = createSignatureQueries({
      ...createMemory(),
      reader: { readSet: () => Promise.reject(failure) },
      sites: ['default'],
      clock: createClock(),
      breathe: async () => undefined,
    });
    await assert.rejects(queries.missing([{ image: APP, sha256: hashOf(1) }]), failure);
    await assert.rejects(queries.ofImage(APP), failure);
  });
});

test('every state can be searched for', async () => {
  const { search } = open();
  for (const state of STATES) assert.deepEqual((await search({ state })).signatures, []);
});
