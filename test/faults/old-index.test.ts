// A server of this version on the data of the version before: what the index knew of an owned tree is not lost.
import assert from 'node:assert/strict';
import { unlink } from 'node:fs/promises';
import path from 'node:path';
import { parseImageFolder } from '../../src/domain/image.ts';
import { naturalKey } from '../../src/domain/natural-order.ts';
import { eventually } from '../clients/eventually.ts';
import { startServer } from '../clients/server.ts';
import { openTempFolder } from '../clients/temp-folder.ts';
import { requestRaw } from '../http/raw-request.ts';
import { makeVersion, signatureInserts } from '../sqlite/old-version.ts';
import { LONG_AGO, layImage, sha256Hex, signatureBytes } from '../store/lay.ts';
import { type Promised, promise } from './promise.ts';

const SITE_ROWS = (folder: string) => `
  INSERT INTO site (name, tree, images, signatures, complete) VALUES ('default', 'owned', 1, 2, 1);
  INSERT INTO folder_entry (site, folder, sort_key, name, images)
  VALUES ${[['', 'team'] as const, ['team', path.basename(folder)] as const]
    .map(([above, name]) => `('default', '${above}', '${naturalKey(name)}', '${name}', 1)`)
    .join()};`;

const lostBefore: Promised = {
  id: 'P5',
  what: 'a file that was lost before index.db was brought to this version is still served, and told as damage',
  wanted: '2 of 2 signatures served',
};

promise(lostBefore, async (see) => {
  await using temp = await openTempFolder();
  const contents = [signatureBytes('one'), signatureBytes('two')];
  const folder = await layImage(path.join(temp.path, 'sigstore'), 'team/app', ...contents);
  const image = parseImageFolder('default', folder);
  assert.ok(image !== null);
  const signatures = contents.map((bytes, position) => {
    return { number: position + 1, sha256: sha256Hex(bytes), sizeBytes: 300, storedAt: LONG_AGO, bytes };
  });
  const rows = signatureInserts([{ image, signatures }], 'unverified');
  makeVersion(1, path.join(temp.path, 'index.db'), 'index', rows + SITE_ROWS(folder));
  await unlink(path.join(temp.path, 'sigstore', folder, 'signature-1'));

  await using server = await startServer({ data: temp.path });
  await eventually(async () => {
    const { body } = await requestRaw(server.port, 'GET /readyz');
    assert.equal(JSON.parse(body.toString()).checks.damage.state, 'degraded');
  });
  for (const [position, bytes] of contents.entries()) {
    const answer = await requestRaw(server.port, `GET /${folder}/signature-${position + 1}`);
    assert.deepEqual([answer.status, answer.body], [200, bytes]);
  }
  see(`${contents.length} of 2 signatures served`);
});
