// What skopeo leaves in a staging folder.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { createStaging } from '../../src/files/staging.ts';
import { layFile, sha256Hex } from '../store/lay.ts';
import { needs } from './available.ts';
import { openTempFolder } from './temp-folder.ts';

test('what skopeo copies into a dir: image is found with its manifest', needs('skopeo'), async () => {
  await using temp = await openTempFolder();
  const root = path.join(temp.path, 'staging');
  await mkdir(root);
  const layout = path.join(temp.path, 'layout');
  await mkdir(layout);
  const config = Buffer.from(
    '{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}',
  );
  const manifest = JSON.stringify({
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    config: {
      mediaType: 'application/vnd.oci.image.config.v1+json',
      digest: `sha256:${sha256Hex(config)}`,
      size: config.length,
    },
    layers: [],
  });
  await layFile(layout, 'version', 'Directory Transport Version: 1.1\n');
  await layFile(layout, 'manifest.json', manifest);
  await layFile(layout, sha256Hex(config), config);
  await layFile(layout, 'signature-1', Buffer.from([0x89, 0x01]));
  const copy = path.join(root, 'app:v1');
  const args = ['copy', '--insecure-policy', `dir:${layout}`, `dir:${copy}`];
  const { status, stderr } = spawnSync('skopeo', args, { encoding: 'utf8' });
  assert.equal(status, 0, stderr);
  const staged = await createStaging().find([root], () => undefined);
  assert.deepEqual(
    staged.files.map(({ place }) => place),
    [{ kind: 'manifest', digest: { algorithm: 'sha256', hex: sha256Hex(Buffer.from(manifest)) }, number: 1 }],
  );
  assert.equal(staged.strangers.count, 0);
});
