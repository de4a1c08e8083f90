// Signatures that were laid into a shared tree by hand: all get their verdict in the background, and a new one when the
// key that made them is registered.
import assert from 'node:assert/strict';
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { State } from '../../src/domain/state.ts';
import { requestRaw } from '../http/raw-request.ts';
import { folderOf, layFile } from '../store/lay.ts';
import { eventually } from './eventually.ts';
import { createReaderToken, type LookasideServer, startServer } from './server.ts';
import { addKey, makeSigner } from './signer.ts';
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
