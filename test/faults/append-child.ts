// Started by append-faults.test.ts under strace, with the folder, and `scanned` when the tree counts as scanned, so that the folder of a
// new image is made with its file in it: ends what an earlier run left, then appends, and prints what came of
// it, a line of JSON for each. Its index and its uploads are files' stand-ins, so that every system call that changes
// the disk is one of the tree's, made by the one thread of the pool.
import path from 'node:path';
import { createInterface } from 'node:readline';
import { isLookasideError } from '../../src/domain/errors.ts';
import { imageKey } from '../../src/domain/image.ts';
import type { RecordedSignature, SignatureIndex } from '../../src/domain/ports.ts';
import { openTree } from '../../src/files/tree.ts';
import { openTreeWriter } from '../../src/files/tree-writer.ts';
import { isWholeSignature } from '../../src/openpgp/packets.ts';
import { createAppender } from '../../src/store/append.ts';
import { createImageChanges } from '../../src/store/image-changes.ts';
import { createLog } from '../service/hand-driven.ts';
import { folderOf, sha256Hex, signatureBytes } from '../store/lay.ts';
import { imageIn, SITE, uploadOf } from '../store/open-store.ts';
import { createUploads } from '../store/uploads.ts';

const [, , folder = '', scanned] = process.argv;
const root = path.join(folder, 'root');
const nowMs = Date.now;
const rows = new Map<string, readonly RecordedSignature[]>();
const refuse = () => Promise.reject(new Error('not asked for here'));
const index: SignatureIndex = {
  recorded: async (image) => rows.get(imageKey(image)) ?? [],
  listFolder: async () => ({ names: [], next: null }),
  hasChild: async () => false,
  images: async () => [],
  counts: async () => ({ images: 0, signatures: 0 }),
  treeOf: async () => '',
  isComplete: async () => true,
  async record(images) {
    for (const { image, signatures } of images) rows.set(imageKey(image), signatures);
  },
  forgetFolder: refuse,
  markComplete: refuse,
  bind: refuse,
  reset: refuse,
  peekWrites: () => 0,
};
const changes = createImageChanges();
if (scanned !== undefined) changes.scanned();
const uploads = createUploads(path.join(folder, 'uploads'));
const appender = createAppender({
  tree: openTree({ root, nowMs, beingWrittenMs: 100, isWhole: isWholeSignature }),
  kind: 'owned',
  index,
  uploads,
  audit: uploads,
  changes,
  report: () => undefined,
  wait: () => Promise.resolve(),
  writer: openTreeWriter({ root, nowMs }),
  verdicts: { ofImage: async () => [] },
  site: SITE,
  tombstones: {
    ofImage: async () => [],
    hasAny: async () => false,
    page: async () => [],
    unsettled: async () => [],
    ended: async () => [],
    bytesOf: async () => null,
    put: refuse,
    putAll: refuse,
    settle: refuse,
    lift: refuse,
  },
  makeLiftEvent: () => {
    throw new Error('nothing is withdrawn');
  },
  makeRestoreEvent: () => {
    throw new Error('nothing is put back in an owned tree');
  },
  sha256: sha256Hex,
  dataFreeBytes: async () => 0,
  minFreeBytes: 0,
  monotonicMs: () => performance.now(),
  onChanged: () => undefined,
  onRecorded: () => undefined,
  log: createLog(),
});

await appender.recover();
for await (const line of createInterface({ input: process.stdin })) {
  const [repository = '', text = ''] = line.split(' ');
  const upload = uploadOf(imageIn(folderOf(repository)), signatureBytes(text));
  const answer = await appender.append(upload).then(
    ({ outcome, number }) => ({ outcome, number }),
    (error: unknown) => {
      if (!isLookasideError(error)) throw error;
      return { outcome: error.code, number: 0 };
    },
  );
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
