// Signatures that were laid into a shared tree by hand: all get their verdict in the background, and a new one when the
// key that made them is registered.
import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { State } from '../../src/domain/state.ts';
import { requestRaw } from '../http/raw-request.ts';
import { SIGNED_AT } from '../openpgp/packet-writer.ts';
import { folderOf, layFile } from '../store/lay.ts';
import { describeOutcome } from './command.ts';
import { eventually } from './eventually.ts';
import { createReaderToken, type LookasideServer, runLookaside, startServer } from './server.ts';
import { addKey, makeSigner, type Signer } from './signer.ts';
import { openTempFolder, type TempFolder } from './temp-folder.ts';

const IMAGES = 50;

const known = makeSigner('known');
const unknown = makeSigner('unknown');

/** The signatures of one image in the order of their numbers. */
const LAID: readonly (readonly [state: State, make: (repository: string) => Buffer])[] = [
  ['verified', (repository) => known.sign({ repository, tag: 'v1' })],
  ['bad', (repository) => known.sign({ repository, tag: 'v1', manifest: 'another' })],
  ['unknown-key', (repository) => unknown.sign({ repository, tag: 'v1' })],
  ['bad', (repository) => changed(known.sign({ repository, tag: 'v2' }))],
  [
    'unreadable',
    (repository) => Buffer.concat([known.sign({ repository, tag: 'v3' }), Buffer.of(0x89, 0, 0)]),
  ],
  ['unsupported', () => Buffer.from('\0sigstore-json\n{}')],
];

/** The same with one bit of the signature's last number flipped. */
function changed(bytes: Buffer): Buffer {
  const last = bytes.length - 1;
  return Buffer.concat([bytes.subarray(0, last), Buffer.of((bytes[last] ?? 0) ^ 1)]);
}

describe(`${IMAGES * LAID.length} signatures laid into a shared tree`, () => {
  let temp: TempFolder;
  let data: string;
  let server: LookasideServer;
  let token: string;

  before(async () => {
    temp = await openTempFolder();
    data = path.join(temp.path, 'data');
    const root = path.join(temp.path, 'tree');
    await mkdir(data);
    for (let image = 0; image < IMAGES; image += 1) {
      const repository = `laid/app-${image}`;
      for (const [position, [, make]] of LAID.entries()) {
        await layFile(root, `${folderOf(repository)}/signature-${position + 1}`, make(repository));
      }
    }
    await addKey(data, known);
    token = await createReaderToken(data, 'reader');
    server = await startServer({ root, data });
  });

  after(async () => {
    await server?.[Symbol.asyncDispose]();
    await temp?.[Symbol.asyncDispose]();
  });

  async function askApi(target: string): Promise<{ signatures: readonly { state: State }[] }> {
    const { status, body } = await requestRaw(server.port, `GET ${target}`, [
      `Authorization: Bearer ${token}`,
    ]);
    assert.equal(status, 200, body.toString());
    return JSON.parse(body.toString());
  }

  /** How many of each state there are. */
  async function states(): Promise<Readonly<Partial<Record<State, number>>>> {
    const { signatures } = await askApi('/api/v1/signatures?limit=1000');
    const counts: Partial<Record<State, number>> = {};
    for (const { state } of signatures) counts[state] = (counts[state] ?? 0) + 1;
    return counts;
  }

  async function statesOfOne(): Promise<readonly State[]> {
    const { signatures } = await askApi(`/api/v1/images/${folderOf('laid/app-7').replace('=', ':')}`);
    return signatures.map(({ state }) => state);
  }

  test('are all looked at, and each is found to be what it is', async () => {
    await eventually(async () => {
      assert.deepEqual(await states(), {
        verified: IMAGES,
        bad: 2 * IMAGES,
        'unknown-key': IMAGES,
        unreadable: IMAGES,
        unsupported: IMAGES,
      });
    });
    assert.deepEqual(
      await statesOfOne(),
      LAID.map(([state]) => state),
    );
    const { signatures } = await askApi('/api/v1/signatures?state=unknown-key&limit=1000');
    assert.equal(signatures.length, IMAGES);
  });

  test('are all served, whatever their state', async () => {
    for (let image = 0; image < IMAGES; image += 1) {
      const repository = `laid/app-${image}`;
      for (const [position, [, make]] of LAID.entries()) {
        const name = `/${folderOf(repository)}/signature-${position + 1}`;
        const { status, body } = await requestRaw(server.port, `GET ${name}`);
        assert.equal(status, 200, name);
        assert.ok(body.equals(make(repository)), name);
      }
    }
  });

  test('are looked at again when the key of some is registered while the server runs', async () => {
    await addKey(data, unknown);
    await eventually(async () => {
      const { verified, 'unknown-key': left } = await states();
      assert.deepEqual([verified, left], [2 * IMAGES, undefined]);
    });
    assert.deepEqual(
      await statesOfOne(),
      LAID.map(([state]) => (state === 'unknown-key' ? 'verified' : state)),
    );
  });
});

const UPDATED_IMAGES = 10;
const TAGS = 12;
const DAY_MS = 24 * 3600 * 1000;
const SINCE_SIGNING = new Date(SIGNED_AT.getTime() + DAY_MS);
const FAR_FUTURE = new Date('2090-01-01T00:00:00Z');

describe(`${UPDATED_IMAGES * TAGS} signatures of a key that is updated`, () => {
  let temp: TempFolder;
  let data: string;
  let server: LookasideServer;
  let token: string;
  const owner = makeSigner('owner');
  /** Their keys come with the updates. Their signatures are the last, so that most of the others are judged before. */
  const last = [makeSigner('last'), makeSigner('very-last')] as const;

  before(async () => {
    temp = await openTempFolder();
    data = path.join(temp.path, 'data');
    const root = path.join(temp.path, 'tree');
    await mkdir(data);
    for (let image = 0; image < UPDATED_IMAGES; image += 1) {
      const repository = `updated/app-${image}`;
      for (let tag = 1; tag <= TAGS; tag += 1) {
        const bytes = owner.sign({ repository, tag: `v${tag}` });
        await layFile(root, `${folderOf(repository)}/signature-${tag}`, bytes);
      }
    }
    for (const signer of last) {
      const bytes = signer.sign({ repository: `z/${signer.name}`, tag: 'v1' });
      await layFile(root, `${folderOf(`z/${signer.name}`)}/signature-1`, bytes);
    }
    await addKey(data, owner);
    token = await createReaderToken(data, 'reader');
    server = await startServer({ root, data });
    await eventually(async () => assert.deepEqual(await countsBelow('updated/'), { verified: ALL }));
  });

  after(async () => {
    await server?.[Symbol.asyncDispose]();
    await temp?.[Symbol.asyncDispose]();
  });

  const ALL = UPDATED_IMAGES * TAGS;

  /** How many signatures below a folder are in each state. */
  async function countsBelow(folder: string): Promise<Readonly<Partial<Record<State, number>>>> {
    const target = 'GET /api/v1/signatures?limit=1000';
    const { body } = await requestRaw(server.port, target, [`Authorization: Bearer ${token}`]);
    const all: { signatures: readonly { path: string; state: State }[] } = JSON.parse(body.toString());
    const counts: Partial<Record<State, number>> = {};
    for (const { path: where, state } of all.signatures) {
      if (where.startsWith(`/${folder}`)) counts[state] = (counts[state] ?? 0) + 1;
    }
    return counts;
  }

  /**
   * Updates the owner's key, and looks at its signatures again and again while they are judged anew: what was seen at any
   * time, and what from the answer on.
   */
  async function update(certificate: Uint8Array, marker: Signer) {
    const file = path.join(temp.path, `with-${marker.name}.gpg`);
    await writeFile(file, Buffer.concat([certificate, marker.certificate]));
    const seen = new Set<string>();
    const seenSince = new Set<string>();
    let isAnswered = false;
    const adding = runLookaside(['key', 'add', file, '--data', data]).then((outcome) => {
      isAnswered = true;
      return outcome;
    });
    for (let isJudged = false; !isJudged; ) {
      const wasAnswered = isAnswered;
      isJudged = wasAnswered && (await countsBelow(`z/${marker.name}@`)).verified === 1;
      const counts = await countsBelow('updated/');
      assert.equal(
        Object.values(counts).reduce((sum, count) => sum + count, 0),
        ALL,
        'none is missing',
      );
      for (const state of Object.keys(counts)) {
        seen.add(state);
        if (wasAnswered) seenSince.add(state);
      }
    }
    const outcome = await adding;
    assert.equal(outcome.status, 0, describeOutcome(outcome));
    return { seen: [...seen].sort(), seenSince: [...seenSince].sort() };
  }

  test('are verified all the while that they are judged again', async () => {
    const { seen } = await update(owner.certifiedAs({ at: SINCE_SIGNING, expiresAt: FAR_FUTURE }), last[0]);
    assert.deepEqual(seen, ['verified']);
    assert.deepEqual(await countsBelow('updated/'), { verified: ALL });
  });

  test('are by a revoked key as soon as its revocation is added, and bad once they are judged again', async () => {
    const revoked = owner.certifiedAs({ revoked: { at: SINCE_SIGNING, reason: 2 } });
    const { seen, seenSince } = await update(revoked, last[1]);
    assert.ok(!seen.includes('unverified'), seen.join());
    assert.ok(!seenSince.includes('verified'), seenSince.join());
    await eventually(async () => assert.deepEqual(await countsBelow('updated/'), { bad: ALL }));
  });
});
