// Releases whose signatures lie in repositories of this server, asked for as OpenShift and oc-mirror do: without a repository.
import assert from 'node:assert/strict';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { toServices } from '../../src/cli/serve.ts';
import type { Composed } from '../../src/compose/composed.ts';
import { compose } from '../../src/compose/server.ts';
import { type Config, loadConfig } from '../../src/config.ts';
import { createHandler } from '../../src/http/app.ts';
import { type Listener, listen } from '../../src/http/listener.ts';
import { ADMINISTRATOR } from '../../src/service/audit.ts';
import { createToken } from '../clients/server.ts';
import { addKey, makeSigner } from '../clients/signer.ts';
import { openTempFolder, type TempFolder } from '../clients/temp-folder.ts';
import { takenAs, uploadsTo } from '../clients/uploads.ts';
import { verifyRelease } from '../http/library-go.ts';
import { createLog } from '../service/hand-driven.ts';
import { folderOf, sha256Hex } from '../store/lay.ts';

const REPOSITORY = 'openshift/release';
const RELEASE = { site: 'default', layout: 'release', path: '', algorithm: 'sha256' } as const;

describe('a release view over repositories', () => {
  const [mine, vendor] = [makeSigner('mine'), makeSigner('vendor')];
  const sign = (by: typeof mine, manifest: string, tag = 'v1') =>
    by.sign({ repository: REPOSITORY, manifest, tag });
  let temp: TempFolder;
  let config: Config;
  let composed: Composed;
  let server: Listener & { readonly port: number };
  let uploads: ReturnType<typeof uploadsTo>;

  before(async () => {
    temp = await openTempFolder();
    const data = path.join(temp.path, 'data');
    for (const signer of [mine, vendor]) await addKey(data, signer);
    const token = await createToken(data, 'admin', 'admin');
    const environment = {
      LOOKASIDE_RELEASE_REPOSITORIES: `okd/none, ${REPOSITORY}`,
      LOOKASIDE_RELEASE_KEY: vendor.fingerprint.slice(-16),
    };
    config = loadConfig({ flags: { data }, environment, workingFolder: '/', parseYaml: null }).config;
    const sites = [{ name: 'default', prefix: '', root: config.root, tree: 'owned' }] as const;
    const log = createLog();
    const taker = { command: 'test', host: 'here' };
    composed = await compose({ config, current: () => config, sites, log, taker });
    const services = toServices({ composed, config: () => config, isDraining: () => false, log });
    const handler = createHandler({ services, isLocal: false });
    server = await listen({ handler, host: '127.0.0.1', port: 0, tls: null });
    uploads = uploadsTo(server.port, token);
    composed.upkeep.start();
    composed.judge.start();
  });
  after(async () => {
    server?.abort();
    await server?.drain();
    await composed?.[Symbol.asyncDispose]();
    await temp?.[Symbol.asyncDispose]();
  });

  async function lay(manifest: string, blobs: readonly Buffer[], path = `${REPOSITORY}@`): Promise<string> {
    const [, hex = ''] = folderOf(REPOSITORY, manifest).split('=');
    for (const [position, bytes] of blobs.entries())
      takenAs(await uploads.put(`${path}sha256=${hex}/signature-${position + 1}`, bytes), 201);
    return hex;
  }

  async function served(hex: string): Promise<readonly Buffer[]> {
    const blobs: Buffer[] = [];
    for (let number = 1; ; number += 1) {
      const { status, body } = await uploads.get(`sha256=${hex}/signature-${number}`);
      if (status === 404) return blobs;
      assert.equal(status, 200);
      blobs.push(body);
    }
  }

  test('OpenShift finds it without a repository, and oc-mirror, which reads the first alone, the preferred key', async () => {
    const [a, b, c] = [sign(mine, 'both'), sign(mine, 'both', 'v2'), sign(vendor, 'both')];
    const hex = await lay('both', [a, b, c]);
    assert.deepEqual(await served(hex), [c, a, b, c]);
    const keyrings = new Map([
      ['redhat', vendor.certificate],
      ['mine', mine.certificate],
    ]);
    const both = await verifyRelease(server.url, `sha256:${hex}`, keyrings);
    assert.deepEqual([both.remaining, both.signedWith], [[], [c, a]]);
    keyrings.delete('mine');
    const one = await verifyRelease(`${server.url}/`, `sha256:${hex}`, keyrings);
    assert.deepEqual([one.remaining, one.asked.length, one.errors], [[], 1, []]);
    const stranger = new Map([['stranger', makeSigner('stranger').certificate]]);
    const none = await verifyRelease(server.url, `sha256:${hex}`, stranger);
    assert.deepEqual([none.remaining, none.asked.length, none.errors.length], [['stranger'], 5, 4]);
  });

  test('its ConfigMap has them in the same order, and show names the repository that they are stored in', async () => {
    const [a, b] = [sign(mine, 'map'), sign(vendor, 'map')];
    const hex = await lay('map', [a, b]);
    const { body } = await uploads.get(`api/v1/releases/sha256:${hex}/configmap?format=json`);
    assert.deepEqual(JSON.parse(body.toString()).binaryData, {
      [`sha256-${hex}-1`]: b.toString('base64'),
      [`sha256-${hex}-2`]: a.toString('base64'),
    });
    const known = await composed.signatures.ofImage({ ...RELEASE, hex });
    // the number is that of the repository, for it is what `withdraw` takes
    assert.deepEqual(
      known.map(({ signatureSha256, path, state }) => [signatureSha256, path, state]),
      [a, b].map((bytes, at) => [
        sha256Hex(bytes),
        `/${REPOSITORY}@sha256=${hex}/signature-${at + 1}`,
        'verified',
      ]),
    );
  });

  test('the next read of it sees what was uploaded to a repository, and not what was withdrawn there', async () => {
    const [a, b] = [sign(mine, 'next'), sign(mine, 'next', 'v2')];
    const hex = await lay('next', [a]);
    assert.deepEqual(await served(hex), [a, a]);
    const image = `${REPOSITORY}@sha256=${hex}`;
    takenAs(await uploads.put(`${image}/signature-2`, b), 201);
    assert.deepEqual(await served(hex), [a, a, b]);
    const wanted = { path: `/${image}/signature-1`, reason: 'a mistake', until: null };
    await composed.withdrawals.withdraw(wanted, ADMINISTRATOR);
    assert.deepEqual(await served(hex), [b, b, b]);
  });

  test('what stands at the release itself goes ahead of the repositories, and a release that nobody signed is 404', async () => {
    const [own, twice, theirs] = [sign(mine, 'own', 'v9'), sign(mine, 'own', 'v8'), sign(vendor, 'own')];
    const hex = await lay('own', [twice, theirs]);
    await lay('own', [own, twice], '');
    assert.deepEqual(await served(hex), [theirs, own, twice, twice, theirs]);
    const known = await composed.signatures.ofImage({ ...RELEASE, hex });
    assert.deepEqual(
      known.map(({ path }) => path),
      [
        `/sha256=${hex}/signature-1`,
        `/sha256=${hex}/signature-2`,
        `/${REPOSITORY}@sha256=${hex}/signature-2`,
      ],
    );
    assert.deepEqual(await served('0'.repeat(64)), []);
    // another repository's are not shown: nobody has configured it
    const [, other = ''] = folderOf(REPOSITORY, 'other').split('=');
    const bytes = mine.sign({ repository: 'team/app', manifest: 'other', tag: 'v1' });
    takenAs(await uploads.put(`team/app@sha256=${other}/signature-1`, bytes), 201);
    assert.deepEqual(await served(other), []);
  });
});
