// Sets of a mirror that the disk does not take: what readers got of them keeps its numbers, however many there are.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ImageId } from '../../src/domain/image.ts';
import type { SignatureSet } from '../../src/domain/ports.ts';
import { createHeldSets } from '../../src/service/mirror-held.ts';
import { folderOf, sha256Hex, signatureBytes } from '../store/lay.ts';
import { imageIn } from '../store/open-store.ts';

const blobOf = (name: string) => {
  const bytes = signatureBytes(name);
  return { bytes, sha256: sha256Hex(bytes) };
};
const [ONE, TWO, THREE] = [blobOf('one'), blobOf('two'), blobOf('three')];
const APP = imageIn(folderOf('team/app'));
const OTHER = imageIn(folderOf('team/other'));

function open(maxBytes?: number, stored: SignatureSet = { generation: 0, entries: [] }) {
  const told: ImageId[] = [];
  const held = createHeldSets({
    store: { readSet: async () => stored },
    tombstones: { ofImage: async () => [] },
    clock: { now: () => new Date(0), monotonicMs: () => 0 },
    onHeld: (image) => void told.push(image),
    ...(maxBytes === undefined ? {} : { maxBytes }),
  });
  return { held, told };
}

const hashesOf = (set: SignatureSet | undefined) => set?.entries.map(({ sha256 }) => sha256);

test('a set that was served from memory keeps its numbers when the upstream has another order by now', async () => {
  const { held, told } = open();
  await held.hold(APP, [ONE, TWO], true);
  const { set, added } = await held.hold(APP, [THREE, TWO, ONE], true);
  assert.deepEqual(hashesOf(set), [ONE.sha256, TWO.sha256, THREE.sha256]);
  assert.equal(added, 1);
  assert.deepEqual(hashesOf(await held.read(APP)), hashesOf(set));
  assert.deepEqual(held.blobs(APP), [ONE.bytes, TWO.bytes, THREE.bytes]);
  assert.equal(told.length, 2);
  held.release(APP);
  assert.equal(await held.read(APP), undefined);
});

test('no set that was served goes to make room for another, which is refused', async () => {
  const { held } = open(2000);
  await held.hold(APP, [ONE], true);
  await assert.rejects(held.hold(OTHER, [ONE, TWO, THREE], true), { code: 'STORE_UNAVAILABLE' });
  assert.deepEqual(hashesOf(await held.read(APP)), [ONE.sha256]);
  assert.equal(await held.read(OTHER), undefined);
  // what is stored meanwhile makes room
  held.release(APP);
  await held.hold(OTHER, [TWO], true);
  assert.deepEqual(hashesOf(await held.read(OTHER)), [TWO.sha256]);
});

test('what a sync cannot store leaves half of the room to readers', async () => {
  const { held, told } = open(3 * (1000 + ONE.bytes.length));
  await held.hold(APP, [ONE], false);
  assert.deepEqual(hashesOf(await held.read(APP)), [ONE.sha256]);
  assert.equal((await held.hold(OTHER, [TWO], false)).added, 1);
  assert.equal(await held.read(OTHER), undefined);
  assert.equal(told.length, 1);
  await held.hold(OTHER, [TWO], true);
  assert.deepEqual(hashesOf(await held.read(OTHER)), [TWO.sha256]);
});
