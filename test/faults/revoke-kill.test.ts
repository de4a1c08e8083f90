// The server is killed while it withdraws all that a key has signed: the next start ends it, under the same audit event. A backup
// has what is withdrawn, and a server from it refuses the same bytes.
import assert from 'node:assert/strict';
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { administered } from '../clients/administered.ts';
import { eventually } from '../clients/eventually.ts';
import { runLookaside, startServer } from '../clients/server.ts';
import { makeSigner } from '../clients/signer.ts';
import { openTempFolder } from '../clients/temp-folder.ts';
import { events } from '../sqlite/scratch.ts';
import { folderOf } from '../store/lay.ts';

/** Two signatures each: a form has at most 100 parts. */
const IMAGES = 45;

test('a withdrawal of all of a key survives kill -9 in its middle, and a backup has it', async () => {
  await using temp = await openTempFolder();
  const data = path.join(temp.path, 'data');
  await mkdir(data);
  const [lost, kept] = [makeSigner('lost'), makeSigner('kept')];
  const repositories = Array.from({ length: IMAGES }, (_, at) => `team/app-${at}`);
  const signed = repositories.map((repository) => lost.sign({ repository, tag: 'v1' }));
  const fileOf = (repository: string, number: number) => `${folderOf(repository)}/signature-${number}`;
  await using first = await startServer({ data });
  await administered(data, async ({ keys, importBatch }) => {
    await keys.add(Buffer.concat([lost.certificate, kept.certificate]));
    const parts = repositories.flatMap((repository, at) => [
      { fileName: fileOf(repository, 1), bytes: signed[at] ?? assert.fail() },
      { fileName: fileOf(repository, 2), bytes: kept.sign({ repository, tag: 'v1' }) },
    ]);
    for (const { result } of await importBatch(parts, { dryRun: false })) assert.equal(result, 'created');
  });
  const bytesAt = async (url: string, repository: string, number = 1) =>
    Buffer.from(await (await fetch(`${url}/${fileOf(repository, number)}`)).arrayBuffer());
  const leftOf = async (url: string) => {
    const served = await Promise.all(repositories.map((repository) => bytesAt(url, repository)));
    return served.filter((bytes, at) => bytes.equals(signed[at] ?? assert.fail())).length;
  };
  const wanted = { reason: 'stolen', withdraw: true, certificate: null };
  const revoking = administered(data, ({ keys }) => keys.revoke(lost.fingerprint, wanted)).catch(() => null);
  await eventually(async () => assert.ok((await leftOf(first.url)) < IMAGES));
  process.kill(first.pid, 'SIGKILL');
  await Promise.all([first.ended, revoking]);

  await using second = await startServer({ data });
  await eventually(async () => assert.equal(await leftOf(second.url), 0));
  for (const repository of repositories) {
    assert.deepEqual(await bytesAt(second.url, repository), await bytesAt(second.url, repository, 2));
  }
  const recorded = events(data).map(({ leaf }) => JSON.parse(leaf));
  assert.deepEqual(
    recorded.flatMap(({ action, result }) => (/revoke|withdraw/.test(action) ? [[action, result]] : [])),
    [['key-revoke', 'withdrawn']],
  );
  const again = await administered(data, ({ keys }) => keys.revoke(lost.fingerprint, wanted));
  assert.deepEqual([again.changed, again.withdrawn], [false, 0]);

  const [backup, restored] = [path.join(temp.path, 'backup'), path.join(temp.path, 'restored')];
  assert.equal((await runLookaside(['backup', backup, '--data', data])).status, 0);
  assert.equal((await runLookaside(['restore', backup, '--data', restored])).status, 0);
  await using third = await startServer({ data: restored });
  assert.equal(await leftOf(third.url), 0);
  await administered(restored, async ({ keys, importBatch, fsck }) => {
    assert.equal((await keys.show(lost.fingerprint)).revocation?.withdraws, true);
    const part = { fileName: fileOf('team/app-0', 1), bytes: signed[0] ?? assert.fail() };
    const [refused] = await importBatch([part], { dryRun: false });
    assert.equal(refused?.result === 'refused' && refused.code, 'WITHDRAWN');
    assert.deepEqual((await fsck({ repair: false })).findings, []);
  });
});
