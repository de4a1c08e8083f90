// A data directory as a source of rows, where parts of it are older than this version, or damaged.
import assert from 'node:assert/strict';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import Database from 'better-sqlite3';
import { newestVersion } from '../../src/sqlite/migrate.ts';
import { openMoveSource } from '../../src/sqlite/moving.ts';
import { makeDataDirectory } from '../clients/data-directory.ts';
import { openTempFolder } from '../clients/temp-folder.ts';

const OLDER = path.join('migrations', 'access', '0001_access.sql');

/** One read, as the first version of the record has kept it. */
async function makeOlderDay(file: string): Promise<void> {
  const db = new Database(file);
  db.exec(await readFile(OLDER, 'utf8'));
  db.exec(`
    INSERT INTO image (id, site, path, layout, algorithm, digest)
    VALUES (1, 'default', 'team/app', 'repository', 'sha256', zeroblob(32));
    INSERT INTO read (minute, image, number, status, address, agent, token, first_at_ms, last_at_ms, count, bytes)
    VALUES (1, 1, 1, 200, 0, 0, 0, 60000, 60000, 3, 30)`);
  db.pragma(`application_id = ${0x6c6b4143}`);
  db.pragma('user_version = 1');
  db.close();
}

test('days of the record of reads are moved from older versions, named when damaged, and refused when out of reach', async () => {
  await using temp = await openTempFolder();
  await makeDataDirectory(temp.path);
  const folder = path.join(temp.path, 'access');
  await mkdir(folder, { recursive: true });
  await makeOlderDay(path.join(folder, '1970-01-01.db'));
  await writeFile(path.join(folder, '1970-01-02.db'), 'no database at all, but long enough'.repeat(100));
  const open = (isDryRun: boolean) =>
    openMoveSource({ dataDir: temp.path, sites: ['default'], isDryRun, readFile: async () => null });

  for (const isDryRun of [true, false]) {
    const source = open(isDryRun);
    assert.equal(source.counts.access_read, 1);
    assert.deepEqual(
      source.daysLeftOut.map(({ day }) => day),
      ['1970-01-02'],
    );
    if (!isDryRun) {
      const rows = [];
      for await (const part of source.parts({ step: 'reads', cursor: null })) {
        for (const [, more] of part.rows) rows.push(...more);
      }
      assert.deepEqual(
        rows.map(({ day, count, sha256 }) => [day, count, sha256]),
        [['1970-01-01', 3, null]],
      );
    }
    source.close();
    const day = new Database(path.join(folder, '1970-01-01.db'), { readonly: true });
    assert.equal(day.pragma('user_version', { simple: true }), isDryRun ? 1 : newestVersion('access'));
    day.close();
  }
  const unreachable = path.join(folder, '1970-01-03.db');
  await mkdir(unreachable);
  assert.throws(() => open(true), { code: 'STORE_UNAVAILABLE', message: /1970-01-03\.db cannot be read/ });
  await rm(unreachable, { recursive: true });
});
