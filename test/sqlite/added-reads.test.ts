// Reads that share statements: however many there are, each is in its row once.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BatchPacker } from '../../src/sqlite/access-columns.ts';
import { DayRows } from '../../src/sqlite/access-rows.ts';
import { openForWriting } from '../../src/sqlite/open.ts';
import { openTempFolder } from '../clients/temp-folder.ts';
import { imageOf } from '../service/hand-driven.ts';

const AT_MS = Date.UTC(2026, 10, 22, 10);

/** Image `at` is read once, at its own time; an even one with its agent, and all others as those of a network that has too many rows. */
function batchOf(images: readonly number[]) {
  const packer = new BatchPacker();
  for (const at of images) {
    packer.addRead({
      image: imageOf(`team/app-${at}`),
      number: 1,
      status: 200,
      address: '192.0.2.1',
      agent: at % 2 === 0 ? 'skopeo' : null,
      token: null,
      signatureSha256: null,
      firstAt: new Date(AT_MS + at),
      lastAt: new Date(AT_MS + 2 * at),
      count: 1,
      bytes: at,
    });
  }
  return packer.batch();
}

test('each read of a batch is in its row once, however many rows there are and also if a row comes twice', async () => {
  await using temp = await openTempFolder();
  for (const many of [1, 7, 8, 9, 16, 17, 40]) {
    const db = openForWriting(`${temp.path}/${many}.db`, 'access');
    try {
      const images = Array.from({ length: many }, (_, at) => at);
      const rows = new DayRows(db);
      rows.write(batchOf(images));
      rows.write(batchOf([...images, ...[...images].reverse()]));
      const stored = db
        .prepare(`
          SELECT image.path AS path, read.count AS count, bytes, first_at_ms AS first, last_at_ms AS last, agent.text AS agent
          FROM read
          JOIN image ON image.id = read.image
          JOIN agent ON agent.id = read.agent
          ORDER BY image.id`)
        .all();
      assert.deepEqual(
        stored,
        images.map((at) => ({
          path: `team/app-${at}`,
          count: 3,
          bytes: 3 * at,
          first: AT_MS + at,
          last: AT_MS + 2 * at,
          agent: at % 2 === 0 ? 'skopeo' : 'other',
        })),
      );
    } finally {
      db.close();
    }
  }
});
