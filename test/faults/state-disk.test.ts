// State that the disk does not take: told as what it is, with nothing half written.
import assert from 'node:assert/strict';
import { chmodSync, chownSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { needs } from '../clients/available.ts';
import { type Argv, succeed } from '../clients/command.ts';
import { open, temporaryFolder } from '../sqlite/scratch.ts';
import { inOwnMounts } from './own-mounts.ts';
import { asNobody, NOBODY, needsNobody } from './unprivileged.ts';

const PROGRAM = fileURLToPath(new URL('./state-disk-child.js', import.meta.url));
const TEMPORARY = fileURLToPath(new URL('./temporary-child.js', import.meta.url));
const SURROUNDINGS = { env: { PATH: process.env.PATH ?? '' } };

async function attempts(argv: Argv): Promise<Record<string, unknown>[]> {
  const lines = (await succeed(argv, SURROUNDINGS)).trim().split('\n');
  return lines.map((line) => JSON.parse(line));
}

describe('an upload', () => {
  it('that finds no room is DISK_FULL, and is taken once there is some', needs('private host'), async (t) => {
    const folder = temporaryFolder(t);
    const on = inOwnMounts('mount -t tmpfs -o size=4m tmpfs "$1"', folder);
    const [full, freed] = await attempts(on([process.execPath, PROGRAM, 'fill', folder]));
    assert.deepEqual([full?.code, full?.stored, full?.lastWriteSucceeded], ['DISK_FULL', 0, false]);
    for (const message of [full?.message, full?.index])
      assert.match(String(message), /the disk is full .*; free some space, then try again$/);
    assert.deepEqual(freed, { code: null, auditSeq: 1, index: null, stored: 1, lastWriteSucceeded: true });
  });

  it('to a file that may not be written is READ_ONLY', needsNobody(), async (t) => {
    const folder = temporaryFolder(t);
    const { databases } = await open(folder);
    await databases.close();
    if (process.getuid?.() === 0) {
      for (const name of ['', ...readdirSync(folder)]) chownSync(join(folder, name), NOBODY, NOBODY);
    }
    chmodSync(join(folder, 'state.db'), 0o400);
    const [refused] = await attempts(asNobody([process.execPath, PROGRAM, 'write', folder]));
    assert.deepEqual([refused?.code, refused?.stored, refused?.lastWriteSucceeded], ['READ_ONLY', 0, false]);
  });
});

// as in a container whose root is read-only
it('large transactions and sorts need no folder but the data directory', needs('private host'), async (t) => {
  const folder = temporaryFolder(t);
  const on = inOwnMounts(
    'for each in /tmp /var/tmp; do mount --rbind $each $each; mount -o remount,bind,ro $each; done; mount -t tmpfs tmpfs "$1"; cd /tmp',
    folder,
  );
  assert.deepEqual(await attempts(on([process.execPath, TEMPORARY, folder])), [
    { refused: [], sorted: 100_000 },
  ]);
});
