// A key whose certificate has a revocation: what it has signed is refused by then, and is withdrawn all the same.
import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { systemClock } from '../../src/compose/clock.ts';
import { createLog } from '../../src/compose/log.ts';
import { compose } from '../../src/compose/server.ts';
import { sitesOf } from '../../src/compose/site.ts';
import { loadConfig } from '../../src/config.ts';
import { createAdministration } from '../../src/service/administration.ts';
import { ADMINISTRATOR } from '../../src/service/audit.ts';
import { makeSigner, type Signer } from '../clients/signer.ts';
import { openTempFolder } from '../clients/temp-folder.ts';
import { SIGNED_AT } from '../openpgp/packet-writer.ts';
import { folderOf } from '../store/lay.ts';
import { imageIn } from '../store/open-store.ts';

const leaked = (by: Signer) => by.certifiedAs({ revoked: { at: SIGNED_AT, reason: 2 } });
const WANTED = { reason: 'leaked', withdraw: true, certificate: null };

test('a revocation withdraws also what is refused already for the revocation in the certificate, and nothing of others', async () => {
  await using temp = await openTempFolder();
  const { config } = loadConfig({
    flags: { data: temp.path },
    environment: {},
    workingFolder: '/',
    parseYaml: null,
  });
  const taker = { command: 'test', host: 'here' };
  const opened = { config, current: () => config, sites: sitesOf(config), log: createLog('error'), taker };
  await using composed = await compose(opened);
  const about = { ...composed, clock: systemClock, about: config };
  const administration = createAdministration(about, ADMINISTRATOR);
  const { keys } = administration;
  const [early, late, other] = [makeSigner('early'), makeSigner('late'), makeSigner('other')];
  await keys.add(Buffer.concat([early.certificate, late.certificate, other.certificate]));
  const kept = new Map<string, Buffer>();
  for (const [by, repository] of [
    [early, 'lost/early'],
    [late, 'lost/late'],
  ] as const) {
    const parts = ['v1', 'v2'].map((tag) => by.sign({ repository, tag }));
    kept.set(repository, other.sign({ repository, tag: 'v1' }));
    const all = [...parts, kept.get(repository) ?? Buffer.alloc(0)];
    await administration.importBatch(
      all.map((bytes) => ({ fileName: null, bytes })),
      { dryRun: false },
    );
  }
  const served = async (repository: string) => {
    const folder = path.join(temp.path, 'sigstore', folderOf(repository));
    const files = (await readdir(folder)).map((file) => readFile(path.join(folder, file)));
    return Promise.all(files);
  };

  await keys.add(Buffer.concat([leaked(early), leaked(other)]));
  const image = imageIn(folderOf('lost/early'));
  await composed.judge.judgeImage(image);
  const refused = (await composed.signatures.ofImage(image)).map(({ state }) => state);
  assert.deepEqual(refused, ['bad', 'bad', 'bad']);
  for await (const part of keys.revocation(early.fingerprint)) {
    if ('end' in part) break;
    assert.ok('refused' in part, 'it breaks no image');
    assert.deepEqual([part.signatures, part.refused, part.broken], [0, 2, 0]);
  }
  const done = await keys.revoke(early.fingerprint, WANTED);
  assert.equal(done.withdrawn, 2);
  const both = await keys.revoke(late.fingerprint, { ...WANTED, certificate: leaked(late) });
  assert.equal(both.withdrawn, 2);
  for (const [repository, bytes] of kept)
    assert.ok((await served(repository)).every((one) => one.equals(bytes)));
});
