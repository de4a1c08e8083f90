// A disk whose power was cut comes back, whatever else this machine does.
import assert from 'node:assert/strict';
import { mkdir, readdir } from 'node:fs/promises';
import { test } from 'node:test';
import { needs } from '../clients/available.ts';
import { startBackground } from '../clients/command.ts';
import { inOwnMounts } from './own-mounts.ts';
import { needsPowerDisk, openPowerDisk } from './power-disk.ts';

const skip = needsPowerDisk('ext4').skip || needs('private host').skip;

test('a disk comes back while another mount namespace, as other tests make them, still has it', {
  skip,
}, async () => {
  await using disk = await openPowerDisk('ext4');
  const holder = inOwnMounts(':')(['sh', '-c', 'echo ready; read -r _']);
  await using _ = await startBackground(holder, { env: { PATH: process.env.PATH ?? '' } }, /ready/);
  await disk.cut();
  await disk.restore();
  await mkdir(disk.data);
  assert.deepEqual(await readdir(disk.data), []);
});
