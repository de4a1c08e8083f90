import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { isLookasideError, LookasideError } from '../../src/domain/errors.ts';
import { imageFolder } from '../../src/domain/image.ts';
import { DIRECTORY_PAGE_ENTRIES } from '../../src/domain/limits.ts';
import type { FolderPage, SetEntry, SignatureSet, SignatureStore } from '../../src/domain/ports.ts';
import type { StoredSignature } from '../../src/domain/stored-signature.ts';
import { createBrowser } from '../../src/service/browse.ts';
import { createReader } from '../../src/service/read.ts';
import { createClock, imageOf } from './hand-driven.ts';

const APP = imageOf('team/app');

const entry = (sha256: string, sizeBytes: number): SetEntry => {
  return { sha256, sizeBytes, storedAt: new Date(sizeBytes), bytes: new Uint8Array(sizeBytes) };
};

interface Given {
  readonly page?: FolderPage;
  readonly set?: SignatureSet;
  readonly failure?: Error;
  readonly known?: readonly StoredSignature[] | Error;
}

const KNOWN: StoredSignature = {
  site: 'default',
  image: `team/app@sha256:${APP.hex}`,
  path: `/${imageFolder(APP)}/signature-1`,
  number: 1,
  state: 'key-expired',
  reason: 'none',
  form: 'tagged-cleartext',
  fingerprint: 'A1'.repeat(20),
  signingFingerprint: 'B2'.repeat(20),
  issuer: null,
  manifestDigest: `sha256:${APP.hex}`,
  dockerReference: 'registry.example/team/app:v1',
  creator: 'someone',
  signedAt: new Date(1000),
  expiresAt: null,
  storedAt: new Date(2000),
  sizeBytes: 500,
  signatureSha256: 'aa',
  uploader: 'ci-of-somebody',
  auditSeq: 17,
  remap: null,
  warnings: [],
  readers: [],
};
const UNKNOWN = {
  state: null,
  reason: null,
  form: null,
  fingerprint: null,
  dockerReference: null,
  signedAt: null,
  warnings: [],
};

function open(given: Given) {
  const asked: unknown[] = [];
  const store: SignatureStore = {
    async readSet() {
      if (given.failure !== undefined) throw given.failure;
      return given.set ?? { generation: 0, entries: [] };
    },
    readBlob: async () => null,
    async listFolder(...question) {
      asked.push(question);
      if (given.failure !== undefined) throw given.failure;
      return given.page ?? { names: [], next: null };
    },
  };
  const reader = createReader({ store, clock: createClock(), cacheBytes: 100_000 });
  const signatures = {
    async ofImage() {
      if (given.known instanceof Error) throw given.known;
      return given.known ?? [];
    },
  };
  return { browser: createBrowser({ store, reader, signatures }), asked };
}

const SITE = { name: 'default', prefix: '' };

describe('pages of folders', () => {
  test('a page lists the children as the store has them, and where to go on', async () => {
    const { browser, asked } = open({
      page: { names: ['v2', 'v10', 'app@sha256=00'], next: 'app@sha256=00' },
    });
    assert.deepEqual(await browser.folderPage(SITE, 'team', 'v1'), {
      path: '/team/',
      entries: ['v2/', 'v10/', 'app@sha256=00/'].map((name) => ({ name, type: 'directory' })),
      next: 'app@sha256=00',
    });
    assert.deepEqual(asked, [['default', 'team', 'v1', DIRECTORY_PAGE_ENTRIES]]);
  });

  test('a folder without a signature below it is not there, but the top always is', async () => {
    const { browser } = open({});
    assert.equal(await browser.folderPage(SITE, 'team', null), null);
    assert.deepEqual(await browser.folderPage(SITE, '', null), { path: '/', entries: [], next: null });
  });

  test('past the last name a folder is empty, not gone', async () => {
    const { browser } = open({});
    assert.deepEqual((await browser.folderPage(SITE, 'team', 'zzz'))?.entries, []);
  });

  test("the server's own names are left out at the top, where they lead elsewhere, and nowhere else", async () => {
    const { browser } = open({ page: { names: ['api', 'app', 'v2', 'v2@sha256=00'], next: null } });
    const names = async (folder: string) =>
      (await browser.folderPage(SITE, folder, null))?.entries.map(({ name }) => name);
    assert.deepEqual(await names(''), ['app/', 'v2@sha256=00/']);
    assert.deepEqual(await names('team'), ['api/', 'app/', 'v2/', 'v2@sha256=00/']);
    const atPrefix = await browser.folderPage({ name: 'rh', prefix: '/rh' }, '', null);
    assert.equal(atPrefix?.entries.length, 4);
  });
});

describe('pages of images', () => {
  const SET: SignatureSet = { generation: 1, entries: [entry('bb', 500), entry('aa', 600)] };
  const FILES = [
    { name: 'signature-1', type: 'file', sizeBytes: 500, modifiedAt: new Date(500), sha256: 'bb' },
    { name: 'signature-2', type: 'file', sizeBytes: 600, modifiedAt: new Date(600), sha256: 'aa' },
  ];

  test('a set is listed under the numbers by which it is served, with what is known of each', async () => {
    const { browser } = open({ set: SET, known: [KNOWN] });
    const { state, reason, form, fingerprint, dockerReference, signedAt, warnings } = KNOWN;
    assert.deepEqual(await browser.imagePage(APP), {
      path: `/${imageFolder(APP)}/`,
      entries: [
        { ...FILES[0], ...UNKNOWN },
        { ...FILES[1], state, reason, form, fingerprint, dockerReference, signedAt, warnings },
      ],
      next: null,
    });
  });

  test('who uploaded a signature is no business of a page that anyone may see', async () => {
    const page = await open({ set: SET, known: [KNOWN] }).browser.imagePage(APP);
    assert.doesNotMatch(JSON.stringify(page), /ci-of-somebody|auditSeq/);
  });

  test('while the index is made anew the files are listed without their states', async () => {
    const known = new LookasideError('INDEX_UNUSABLE', 'made anew');
    assert.deepEqual(
      (await open({ set: SET, known }).browser.imagePage(APP))?.entries,
      FILES.map((file) => ({ ...file, ...UNKNOWN })),
    );
  });

  test('an image without a signature has no page', async () => {
    assert.equal(await open({}).browser.imagePage(APP), null);
  });

  test('a store that fails is a failure, never an empty page', async () => {
    const { browser } = open({ failure: new LookasideError('STORE_UNAVAILABLE', 'EIO') });
    const failed = (error: unknown) => isLookasideError(error, 'STORE_UNAVAILABLE');
    await assert.rejects(browser.imagePage(APP), failed);
    await assert.rejects(browser.folderPage(SITE, '', null), failed);
  });
});
