import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BatchPacker } from '../../src/sqlite/access-columns.ts';
import { DayRows } from '../../src/sqlite/access-rows.ts';
import { openForWriting } from '../../src/sqlite/open.ts';
import { openTempFolder } from '../clients/temp-folder.ts';
import { imageOf } from '../service/hand-driven.ts';

const AT = new Date('2026-11-22T10:00:00Z');

function batchOf(...repositories: readonly string[]) {
  const packer = new BatchPacker();
  for (const repository of repositories) {
    packer.addRead({
      ...{ image: imageOf(repository), number: 1, status: 200, address: '192.0.2.1', agent: 'skopeo' },
      ...{
        token: null,
        signatureSha256: repository.padEnd(64, '0'),
        firstAt: AT,
        lastAt: AT,
        count: 1,
        bytes: 5,
      },
    });
  }
  return packer.batch();
}

test('images and signatures of a batch that was rolled back are not taken for others of the next', async () => {
  await using temp = await openTempFolder();
  const db = openForWriting(`${temp.path}/2026-11-22.db`, 'access');
  try {
    const rows = new DayRows(db);
    rows.write(batchOf('aa'));
    const broken = batchOf('bb', 'cc');
    // the second row names a text that the batch does not have: the first is rolled back
    const { reads } = broken;
    reads[reads.length / 2 + 3] = 99;
    assert.throws(() => rows.write(broken), /does not hold/);
    rows.write(batchOf('cc', 'bb', 'aa'));

    const stored = db
      .prepare(`
        SELECT image.path AS path, hex(signature.sha256) AS sha256, read.count AS count
        FROM read
        JOIN image ON image.id = read.image
        JOIN signature ON signature.id = read.signature
        ORDER BY path`)
      .all();
    assert.deepEqual(
      stored,
      ['aa', 'bb', 'cc'].map((path) => ({
        path,
        sha256: path.padEnd(64, '0').toUpperCase(),
        count: path === 'aa' ? 2 : 1,
      })),
    );
  } finally {
    db.close();
  }
});

test('images that differ in a part of their name alone have rows of their own, in each batch', async () => {
  await using temp = await openTempFolder();
  const db = openForWriting(`${temp.path}/2026-11-22.db`, 'access');
  try {
    const rows = new DayRows(db);
    const hex = 'ab'.repeat(32);
    const one = {
      site: 'default',
      layout: 'repository',
      path: 'team/app',
      algorithm: 'sha256',
      hex,
    } as const;
    const images = [
      one,
      { ...one, site: 'other' },
      { ...one, path: 'team/other' },
      { ...one, layout: 'release' as const },
      { ...one, hex: `ab${hex.slice(2).replace('b', 'c')}` },
      { ...one, algorithm: 'sha512' as const, hex: hex + hex },
      { ...one, algorithm: 'sha384' as const, hex: hex + hex.slice(32) },
    ];
    const common = { number: 1, status: 200, address: '192.0.2.1', agent: 'skopeo', token: null };
    for (const order of [images, [...images].reverse(), images.slice(2)]) {
      const packer = new BatchPacker();
      for (const image of order)
        packer.addRead({
          ...common,
          image,
          signatureSha256: hex,
          firstAt: AT,
          lastAt: AT,
          count: 1,
          bytes: 5,
        });
      rows.write(packer.batch());
    }
    const stored = db
      .prepare<[], { name: string; count: number }>(`
        SELECT concat_ws(' ', site, layout, path, algorithm, lower(hex(digest))) AS name, count
        FROM read
        JOIN image ON image.id = read.image
        ORDER BY image.id`)
      .all();
    assert.deepEqual(
      stored,
      images.map(({ site, layout, path, algorithm, hex: digest }, position) => ({
        name: [site, layout, path, algorithm, digest].join(' '),
        count: position < 2 ? 2 : 3,
      })),
    );
    assert.equal(db.prepare('SELECT count(*) FROM signature WHERE id > 0').pluck().get(), 1);
  } finally {
    db.close();
  }
});
