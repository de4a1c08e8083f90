import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { MirrorSetRow, SetEntry, SignatureSet } from '../../src/domain/ports.ts';
import { createBringer } from '../../src/service/mirror-bring.ts';
import { createGate } from '../gate.ts';
import { folderOf, sha256Hex, signatureBytes } from '../store/lay.ts';
import { GOOD } from '../store/open-store.ts';
import { createClock, createLog, imageOf } from './hand-driven.ts';

const IMAGE = imageOf('team/app');
const NO_SET: SignatureSet = { generation: 0, entries: [] };

function collectGarbage(): void {
  setFlagsFromString('--expose-gc');
  const gc: () => void = runInNewContext('gc');
  gc();
}

test('an image of a sync that waits for its note holds no bytes of its signatures', async () => {
  const noting = createGate();
  const noted = createGate<readonly MirrorSetRow[]>();
  let brought: WeakRef<Uint8Array> | null = null;
  const clock = createClock();
  const bringer = createBringer({
    upstreams: ['https://upstream.example/'],
    walker: {
      async walk() {
        const bytes = signatureBytes(folderOf('team/app'), 4096);
        brought = new WeakRef(bytes);
        return { kind: 'set', upstream: 0, blobs: [bytes] };
      },
    },
    store: { readSet: async () => NO_SET },
    publisher: {
      publish: async () => Promise.reject(new Error('a sync gathers')),
      async gather(_, blobs) {
        const entries = blobs.map(({ bytes }): SetEntry => {
          return { sha256: sha256Hex(bytes), sizeBytes: bytes.length, storedAt: clock.now(), bytes };
        });
        return { done: Promise.resolve({ before: 0, added: 1, entries }) };
      },
    },
    mirrors: {
      setOf: async () => null,
      async checked(rows) {
        noted.open(rows);
        await noting.promise;
      },
    },
    tombstones: { ofImage: async () => [] },
    verifier: { examine: async () => GOOD },
    keyringChanges: () => 0,
    sha256: sha256Hex,
    clock,
    wait: async () => undefined,
    onGrown: () => undefined,
    onHeld: () => undefined,
    log: createLog(),
  });
  const bringing = bringer.bring(IMAGE, 'sync', (walk) => walk());
  assert.equal((await noted.promise).length, 1);
  await setImmediate();
  collectGarbage();
  assert.equal((brought as WeakRef<Uint8Array> | null)?.deref(), undefined);
  noting.open();
  const found = await bringing;
  assert.ok(found?.kind === 'set');
  assert.deepEqual(
    found.set.entries.map(({ bytes }) => bytes),
    [null],
  );
});
