// Two sites in one process, each with its own tree: what is in one is never seen in the other.
import assert from 'node:assert/strict';
import { readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import Database from 'better-sqlite3';
import { toServices } from '../../src/cli/serve.ts';
import { systemClock as clock } from '../../src/compose/clock.ts';
import type { Composed } from '../../src/compose/composed.ts';
import { backUp, fsckReadOnly, restore } from '../../src/compose/offline.ts';
import { compose } from '../../src/compose/server.ts';
import { type Config, loadConfig } from '../../src/config.ts';
import type { Site } from '../../src/domain/site.ts';
import { createHandler } from '../../src/http/app.ts';
import { type Listener, listen } from '../../src/http/listener.ts';
import { createAdministration } from '../../src/service/administration.ts';
import { ADMINISTRATOR } from '../../src/service/audit.ts';
import { createToken } from '../clients/server.ts';
import { addKey, makeSigner } from '../clients/signer.ts';
import { openTempFolder, type TempFolder } from '../clients/temp-folder.ts';
import { summaryOf, takenAs, uploadsTo } from '../clients/uploads.ts';
import { createLog } from '../service/hand-driven.ts';
import { folderOf } from '../store/lay.ts';

const APP = folderOf('team/app');
const [IN_DEFAULT, IN_RH] = [
  { repository: 'team/app', tag: 'default' },
  { repository: 'team/app', tag: 'rh' },
];

describe('two sites', () => {
  const alice = makeSigner('alice');
  const log = createLog();
  const [first, second] = [alice.sign(IN_DEFAULT), alice.sign(IN_RH)];
  let temp: TempFolder;
  let config: Config;
  let sites: readonly Site[];
  let token: string;
  let composed: Composed;
  let server: Listener & { readonly port: number };
  let uploads: ReturnType<typeof uploadsTo>;

  before(async () => {
    temp = await openTempFolder();
    const data = path.join(temp.path, 'data');
    await addKey(data, alice);
    token = await createToken(data, 'admin', 'admin');
    config = loadConfig({ flags: { data }, environment: {}, workingFolder: '/', parseYaml: null }).config;
    sites = [
      { name: 'default', prefix: '', root: config.root, tree: 'owned' },
      { name: 'rh', prefix: '/rh', root: path.join(data, 'mirrors', 'rh'), tree: 'owned' },
    ];
    await open();
  });
  after(async () => {
    await close();
    await temp?.[Symbol.asyncDispose]();
  });

  async function open(): Promise<void> {
    const taker = { command: 'test', host: 'here' };
    composed = await compose({ config, current: () => config, sites, log, taker });
    const services = toServices({ composed, config: () => config, isDraining: () => false, log });
    server = await listen({
      handler: createHandler({ services, isLocal: false }),
      host: '127.0.0.1',
      port: 0,
      tls: null,
    });
    uploads = uploadsTo(server.port, token);
    composed.upkeep.start();
    composed.judge.start();
  }

  async function close(): Promise<void> {
    server?.abort();
    await server?.drain();
    await composed?.[Symbol.asyncDispose]();
  }

  async function bytesAt(target: string): Promise<Buffer | number> {
    const { status, body } = await uploads.get(target);
    return status === 200 ? body : status;
  }

  async function json(target: string) {
    const lines = [`Authorization: Bearer ${token}`, 'Accept: application/json'];
    const response = await fetch(`${server.url}/${target}`, {
      headers: Object.fromEntries(lines.map((line) => line.split(': ') as [string, string])),
    });
    return { status: response.status, body: JSON.parse(await response.text()) };
  }

  function rowsOf<Row>(file: string, query: string): readonly Row[] {
    const db = new Database(path.join(config.data, file), { readonly: true });
    try {
      return db.prepare<[], Row>(query).all();
    } finally {
      db.close();
    }
  }

  test('an upload goes into the tree of the longest prefix, and into no other', async () => {
    assert.equal(await bytesAt(`${APP}/signature-1`), 404);
    const put = await uploads.put(`rh/${APP}/signature-1`, second);
    const { number, state } = takenAs(put, 201);
    assert.deepEqual([number, state], [1, 'verified']);
    assert.deepEqual(await bytesAt(`rh/${APP}/signature-1`), second);
    assert.equal(await bytesAt(`${APP}/signature-1`), 404);
    assert.deepEqual(await readFile(path.join(config.data, 'mirrors', 'rh', APP, 'signature-1')), second);
    assert.ok(!(await readdir(config.root)).includes('team'));
  });

  test('each counts its own numbers, and what memory holds of one never answers for the other', async () => {
    assert.equal(takenAs(await uploads.post(APP, first), 201).number, 1);
    assert.equal(takenAs(await uploads.post(APP, alice.sign({ ...IN_DEFAULT, tag: 'v2' })), 201).number, 2);
    for (let round = 0; round < 2; round += 1) {
      assert.deepEqual(await bytesAt(`${APP}/signature-1`), first);
      assert.deepEqual(await bytesAt(`rh/${APP}/signature-1`), second);
      assert.notEqual(await bytesAt(`${APP}/signature-2`), 404);
      assert.equal(await bytesAt(`rh/${APP}/signature-2`), 404);
    }
    assert.equal(composed.reader.cache.sets, 2);
  });

  test('the same bytes are stored in both, as an upload and an event of each', async () => {
    assert.equal(takenAs(await uploads.post(APP, second), 201).number, 3);
    const again = await uploads.post(`rh/${APP}`, second);
    assert.equal(takenAs(again, 200).number, 1);
    const events = rowsOf<{ site: string; count: number }>(
      'state.db',
      `SELECT leaf ->> '$.site' AS site, count(*) AS count FROM audit_event
       WHERE leaf ->> '$.action' = 'upload' GROUP BY site ORDER BY site`,
    );
    assert.deepEqual(events, [
      { site: 'default', count: 3 },
      { site: 'rh', count: 1 },
    ]);
  });

  test('an upload that would lie where another site begins is refused, as nobody could read it', async () => {
    const hidden = alice.sign({ repository: 'rh/app', tag: 'v1' });
    const { results } = await uploads.batch([{ bytes: hidden }]);
    assert.deepEqual(results.map(summaryOf), ['PATH_INVALID']);
    assert.ok(!(await readdir(config.root)).includes('rh'));
  });

  test('a refused upload is told as one of the site that it was sent to', async () => {
    const { status } = await uploads.post(`rh/${folderOf('team/other')}`, second);
    assert.equal(status, 422);
    const [event] = rowsOf<{ site: string; result: string }>(
      'state.db',
      `SELECT leaf ->> '$.site' AS site, leaf ->> '$.result' AS result FROM audit_event ORDER BY seq DESC LIMIT 1`,
    );
    assert.deepEqual(event, { site: 'rh', result: 'DIGEST_MISMATCH' });
  });

  test('the server’s own routes stand below the server’s prefix alone', async () => {
    assert.equal((await json('api/v1/signatures')).status, 200);
    assert.equal(await bytesAt('rh/api/v1/signatures'), 404);
    assert.equal(await bytesAt('rh/livez'), 404);
    const keys = folderOf('keys/app');
    takenAs(await uploads.post(`rh/${keys}`, alice.sign({ repository: 'keys/app', tag: 'v1' })), 201);
    assert.equal((await json(`rh/${keys}/`)).status, 200);
    assert.equal((await json('rh/keys/')).body.path, '/keys/');
  });

  test('pages show the folders of their own site, and lead to no other', async () => {
    const names = async (target: string) =>
      (await json(target)).body.entries.map(({ name }: { readonly name: string }) => name);
    takenAs(await uploads.post(folderOf('ours/app'), alice.sign({ repository: 'ours/app', tag: 'v1' })), 201);
    assert.deepEqual(await names(''), ['ours/', 'team/']);
    assert.deepEqual(await names('rh/'), ['keys/', 'team/']);
    assert.deepEqual(await names(`rh/${APP}/`), ['signature-1']);
    const html = (await uploads.get(`rh/${APP}/`)).body.toString();
    const links = [...html.matchAll(/href="([^"#]*)"/g)].map(
      ([, link = '']) => new URL(link, `${server.url}/rh/${APP}/`).pathname,
    );
    assert.ok(links.includes('/rh/') && links.includes('/rh/team/'), links.join());
    // the pages for people are of the whole server
    for (const link of links) assert.match(link, /^\/(?:rh|ui)\//);
  });

  test('the list names the site of each signature, in the order of their coming, page by page', async () => {
    const paths: string[] = [];
    let cursor = '';
    for (;;) {
      const { body } = await json(`api/v1/signatures?order=oldest&limit=2${cursor}`);
      for (const { site, path: at } of body.signatures) paths.push(`${site}${at.slice(0, 5)}`);
      if (body.next === null) break;
      cursor = `&cursor=${encodeURIComponent(body.next)}`;
    }
    assert.deepEqual(paths, [
      'rh/team',
      'default/team',
      'default/team',
      'default/team',
      'rh/keys',
      'default/ours',
    ]);
    const sitesIn = async (query: string) => {
      const { body } = await json(`api/v1/signatures?${query}`);
      return body.signatures.map(({ site }: { readonly site: string }) => site);
    };
    assert.deepEqual(await sitesIn('site=rh'), ['rh', 'rh']);
    assert.deepEqual(await sitesIn('limit=3'), ['default', 'rh', 'default']);
    const { status, body } = await json('api/v1/signatures?site=nowhere');
    assert.equal(status, 404);
    assert.match(body.errors[0].message, /no site "nowhere", expected one of: default, rh/);
  });

  test('an image is shown as it is in the site that is named', async () => {
    const name = APP.replace('=', ':');
    const signaturesOf = async (query: string) => {
      const { body } = await json(`api/v1/images/${name}${query}`);
      return body.signatures.map(({ site, number }: { site: string; number: number }) => [site, number]);
    };
    assert.deepEqual(
      await signaturesOf(''),
      [1, 2, 3].map((number) => ['default', number]),
    );
    assert.deepEqual(await signaturesOf('?site=rh'), [['rh', 1]]);
    assert.equal((await json(`api/v1/images/${name}?site=nowhere`)).status, 404);
  });

  test('who fetched what is written down by site', async () => {
    await composed.recorder.flush();
    const [file = ''] = (await readdir(path.join(config.data, 'access'))).filter((each) =>
      each.endsWith('.db'),
    );
    const rows = rowsOf<{ site: string; number: number }>(
      path.join('access', file),
      `SELECT DISTINCT site, number FROM read JOIN image ON image.id = read.image
       WHERE status = 200 AND path = 'team/app' ORDER BY site, number`,
    );
    assert.deepEqual(rows, [
      { site: 'default', number: 1 },
      { site: 'default', number: 2 },
      { site: 'rh', number: 1 },
    ]);
  });

  test('metrics count each by itself', async () => {
    const text = (await uploads.get('metrics')).body.toString();
    for (const [name, signatures] of [
      ['default', 4],
      ['rh', 2],
    ] as const) {
      assert.ok(text.includes(`\nlookaside_images{site="${name}"} 2\n`), text);
      assert.ok(text.includes(`\nlookaside_signatures{site="${name}"} ${signatures}\n`), text);
      assert.match(
        text,
        new RegExp(`^lookaside_signature_reads_total\\{site="${name}",result="hit"\\} `, 'm'),
      );
    }
  });

  test('fsck finds what one tree has lost and says whose it is, and mends that', async () => {
    const administration = createAdministration({ ...composed, clock, about: config }, ADMINISTRATOR);
    const file = path.join(config.data, 'mirrors', 'rh', APP, 'signature-1');
    await rm(file);
    const offline = await fsckReadOnly({ data: config.data, sites, log, onProgress: () => undefined });
    const online = await administration.fsck({ repair: true });
    for (const { findings, images, signatures, problems, isCompared } of [offline, online]) {
      assert.deepEqual([images, signatures, problems, isCompared], [4, 6, 1, true]);
      assert.deepEqual(
        findings.map(({ site, kind, path: at }) => [site, kind, at]),
        [['rh', 'missing', `${APP}/signature-1`]],
      );
    }
    assert.deepEqual(await readFile(file), second);
    assert.equal(online.repaired, 1);
  });

  test('the index that is made anew has both', async () => {
    const administration = createAdministration({ ...composed, clock, about: config }, ADMINISTRATOR);
    assert.deepEqual(await administration.reindex({ acceptDamage: false }), {
      images: 4,
      signatures: 6,
      problems: 0,
    });
    await assertSets();
  });

  test('a tree that is gone is told by name, and the other site is read as before', async () => {
    const { root } = sites[1] ?? assert.fail();
    await rename(root, `${root}.away`);
    try {
      const { status, body } = await json('readyz');
      assert.deepEqual([status, body.reads, body.checks.tree.state], [503, 'failed', 'failed']);
      assert.match(body.checks.tree.message, /^rh: the tree cannot be read/);
      assert.deepEqual(await bytesAt(`${APP}/signature-1`), first);
    } finally {
      await rename(`${root}.away`, root);
    }
    assert.equal((await json('readyz')).status, 200);
  });

  test('a backup has both trees, and a data directory without the second site takes none of it', async () => {
    const [backup, restored] = [path.join(temp.path, 'backup'), path.join(temp.path, 'restored')];
    const request = { folder: backup, taker: { command: 'test', host: 'here' }, onProgress: () => undefined };
    const { manifest, damaged } = await backUp({ ...request, data: config.data, sites, version: '0' });
    assert.deepEqual(
      [manifest.tree, manifest.sites, damaged],
      ['owned', [{ name: 'rh', tree: 'owned' }], []],
    );
    assert.deepEqual([manifest.signatures.images, manifest.signatures.count], [4, 6]);
    const moved = sites.map((site) => ({ ...site, root: site.root.replace(config.data, restored) }));
    const alone = restore({ ...request, data: restored, sites: moved.slice(0, 1) });
    await assert.rejects(alone, /the backup has the site rh, which the data directory would not have/);
    const kept = path.join(backup, 'sites', 'rh', APP, 'signature-1');
    await writeFile(kept, first);
    const whole = () => restore({ ...request, data: restored, sites: moved });
    await assert.rejects(whole(), /sites\/rh\/team\/app@sha256=[0-9a-f]+\/signature-1 has other bytes/);
    assert.deepEqual(
      (await readdir(restored)).filter((name) => !name.startsWith('lock')),
      [],
    );
    await writeFile(kept, second);
    await whole();
    for (const { root } of sites) {
      const there = (await filesBelow(root)).filter((name) => !name.startsWith('.lookaside'));
      const back = root.replace(config.data, restored);
      assert.deepEqual(await filesBelow(back), there);
      for (const name of there)
        assert.deepEqual(await readFile(path.join(back, name)), await readFile(path.join(root, name)));
    }
    assert.ok(!(await readdir(restored)).some((name) => name.endsWith('.restoring')));
    const again = await backUp({ ...request, data: restored, sites: moved, version: '0' });
    assert.deepEqual([again.copied, again.manifest.signatures.count], [0, 6]);
  });

  test('both are as they were after a restart', async () => {
    await close();
    await open();
    await assertSets();
  });

  async function filesBelow(root: string): Promise<readonly string[]> {
    const entries = await readdir(root, { recursive: true, withFileTypes: true });
    const files = entries.filter((entry) => entry.isFile());
    return files.map(({ parentPath, name }) => path.relative(root, path.join(parentPath, name))).sort();
  }

  async function assertSets(): Promise<void> {
    assert.deepEqual(await bytesAt(`${APP}/signature-1`), first);
    assert.deepEqual(await bytesAt(`${APP}/signature-3`), second);
    assert.equal(await bytesAt(`${APP}/signature-4`), 404);
    assert.deepEqual(await bytesAt(`rh/${APP}/signature-1`), second);
    assert.equal(await bytesAt(`rh/${APP}/signature-2`), 404);
  }
});
