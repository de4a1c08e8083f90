// Mirrors on their way from a data directory into a database of nodes, and back.
import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { it } from 'node:test';
import Database from 'better-sqlite3';
import { migrateDirectory } from '../../src/compose/moving.ts';
import { type ImageId, parseImageFolder } from '../../src/domain/image.ts';
import { DEFAULT_MIRROR } from '../../src/domain/mirror.ts';
import { MIRRORS } from '../../src/domain/moved-tables.ts';
import type { MoveProgress } from '../../src/domain/moving.ts';
import { folderOf, layFile, sha256Hex } from '../store/lay.ts';
import { openHostileSite, serving } from '../upstream/hostile-site.ts';
import { describeOutcome } from './command.ts';
import type { Postgres } from './postgres.ts';
import { configOf, openDirectory, quiet, taker } from './postgres-moved.ts';
import { moveInto } from './postgres-moving-back.ts';
import type { Node } from './postgres-node.ts';
import { runLookaside } from './server.ts';
import { makeSigner, type Signer } from './signer.ts';
import { openTempFolder } from './temp-folder.ts';

export interface MovedMirrorTests {
  postgres(): Postgres;
  openNode(url: string, logKey: string): Promise<Node>;
  readonly signer: Signer;
  /** Runs that are refused or ended in the middle too. */
  readonly isFull: boolean;
}

const actor = { name: 'administrator', address: null, requestId: null };
const logKeyOf = (data: string) => readFile(path.join(data, 'log.key'), 'utf8');
const nameOf = (repository: string) => folderOf(repository).replace('=', ':');

function imageOf(site: string, repository: string): ImageId {
  return parseImageFolder(site, folderOf(repository)) ?? assert.fail('it is the folder of an image');
}

/** Repositories of the upstream, and how many signatures each has there. */
const COUNTS = { 'ubi/app': 3, 'ubi/gone': 2, 'ubi/synced': 1 };

const leaked = makeSigner('leaked');

/** The upstream of all mirrors. */
function openUpstream(signer: Signer) {
  const files = new Map<string, Uint8Array>();
  for (const [repository, count] of Object.entries(COUNTS))
    for (let number = 1; number <= count; number += 1)
      files.set(
        `/s/${folderOf(repository)}/signature-${number}`,
        signer.sign({ repository, tag: `v${number}` }),
      );
  files.set(`/s/${folderOf('ubi/leaked')}/signature-1`, leaked.sign({ repository: 'ubi/leaked', tag: 'v1' }));
  return { files, open: () => openHostileSite(serving(files)) };
}

type Upstream = Awaited<ReturnType<ReturnType<typeof openUpstream>['open']>>;

/** Two mirrors that hold the same images in other ways, and what is left of one that was removed. */
async function fill(data: string, signer: Signer, upstream: Upstream, files: Map<string, Uint8Array>) {
  const { composed } = await openDirectory(data);
  const { mirrors, withdrawals, judge } = composed;
  await composed.keys.add(Buffer.concat([signer.certificate, leaked.certificate]), actor);
  const credentials = path.join(data, '..', 'credentials');
  await writeFile(credentials, 'user:password');
  for (const name of ['rh', 'twin', 'former']) {
    const views = [{ prefix: `/${name}`, strip: '', add: '' }];
    const settings = { ...DEFAULT_MIRROR, upstreams: [`${upstream.url}/s`], views };
    await mirrors.add(name, name === 'rh' ? { ...settings, credentials } : settings, actor);
  }
  for (const [name, repository] of [
    ...[['rh', 'ubi/app'] as const, ['rh', 'ubi/gone'] as const, ['twin', 'ubi/app'] as const],
    ['former', 'ubi/app'] as const,
  ]) {
    const { entries } = await composed.reader.readSet(imageOf(name, repository));
    assert.equal(entries.length, COUNTS[repository]);
    await judge.judgeImage(imageOf(name, repository));
  }
  files.delete(`/s/${folderOf('ubi/gone')}/signature-2`);
  const images = ['ubi/synced', 'ubi/gone', 'ubi/none'].map(nameOf);
  await mirrors.sync('rh', { images, maxAgeMs: null }, actor);
  for (const name of ['rh', 'former']) {
    const place = { image: imageOf(name, 'ubi/app'), number: 2 };
    await withdrawals.withdrawAt(place, { reason: 'wrong', until: null }, actor);
  }
  await mirrors.remove('former', actor);
  // ended before the order was carried out
  const ordered = imageOf('twin', 'ubi/leaked');
  await composed.reader.readSet(ordered);
  await judge.judgeImage(ordered);
  const order = { reason: 'leaked', withdraw: true, certificate: null };
  await composed.revocations.mark(leaked.fingerprint, order, actor);
  await composed[Symbol.asyncDispose]();
  const state = new Database(path.join(data, 'state.db'));
  state.exec(`
    INSERT INTO mirror_release (site, hex, version, arch) VALUES ('twin', '${'a'.repeat(64)}', '4.18.1', 'amd64');
    INSERT INTO mirror_release_channel (site, channel, hex)
    VALUES ('twin', 'stable-4.18', '${'a'.repeat(64)}'), ('twin', 'fast-4.18', '${'a'.repeat(64)}')`);
  state.close();
  return { credentials };
}

/** `former` was removed: its sets and signatures stay behind. */
const KEPT = "site <> 'former'";

function rowsOf(folder: string, file: string, sql: string): readonly unknown[] {
  const db = new Database(path.join(folder, file), { readonly: true });
  try {
    return db.prepare(sql).all();
  } finally {
    db.close();
  }
}

const byText = (rows: readonly object[]) => rows.map((row) => JSON.stringify(Object.values(row))).sort();

/** What is known of mirrors is the same in the database. */
async function assertSameRows(postgres: Postgres, url: string, data: string): Promise<void> {
  for (const { name, columns, site } of MIRRORS) {
    const sql = `SELECT ${columns.join(', ')} FROM ${name}`;
    const rows = rowsOf(data, 'state.db', `${sql} WHERE ${site} <> 'former'`) as readonly object[];
    assert.ok(rows.length > 0, name);
    const moved = (await postgres.query(url, sql)).map((row) =>
      Object.fromEntries(
        Object.entries(row).map(([key, value]) => [
          key,
          key.endsWith('_ms') || key === 'size_bytes' ? (value === null ? null : Number(value)) : value,
        ]),
      ),
    );
    assert.deepEqual(byText(moved), byText(rows), name);
  }
  const folders = 'SELECT site, folder, name, images FROM folder_entry';
  const counted = (await postgres.query(url, folders)).map((row) => ({ ...row, images: Number(row.images) }));
  const known = rowsOf(data, 'index.db', `${folders} WHERE ${KEPT}`) as readonly object[];
  assert.deepEqual(byText(counted), byText(known));
  // what was withdrawn does not come back when the removed mirror is added anew
  const sites = await postgres.query(url, 'SELECT site FROM tombstone ORDER BY site');
  assert.deepEqual(
    sites.map(({ site }) => site),
    ['former', 'rh', 'twin'],
  );
}

/** Hashes in the order of their numbers. */
async function setAt(node: Pick<Node, 'uploads'>, name: string, repository: string) {
  const hashes: string[] = [];
  for (let number = 1; ; number += 1) {
    const { status, body } = await node
      .uploads('')
      .get(`${name}/${folderOf(repository)}/signature-${number}`);
    if (status === 404) return hashes;
    assert.equal(status, 200);
    hashes.push(sha256Hex(body));
  }
}

export function movedMirrorTests({ postgres, openNode, signer, isFull }: MovedMirrorTests): void {
  it('bring mirrors along with what is known of their upstreams, there and back', async () => {
    await using temp = await openTempFolder();
    const [data, back] = [path.join(temp.path, 'data'), path.join(temp.path, 'back')];
    const { files, open } = openUpstream(signer);
    await using upstream = await open();
    const { credentials } = await fill(data, signer, upstream, files);
    const asked = upstream.asked.length;
    const url = await postgres().newDatabase();
    const move = (
      onProgress: (progress: MoveProgress) => void,
      { isDryRun = false, withoutMirrors = false } = {},
    ) =>
      migrateDirectory({
        ...{ config: configOf(data), url, isDryRun, withoutMirrors, taker, log: quiet },
        ...{ onScan: () => undefined, onProgress },
      });
    async function refusesDamageAndGoesOn(): Promise<void> {
      // a damaged file of a mirror is named with it
      const damaged = path.join('mirrors', 'twin', folderOf('ubi/app'), 'signature-1');
      const bytes = files.get(`/s/${folderOf('ubi/app')}/signature-1`) ?? assert.fail('it is there');
      await layFile(data, damaged, signer.sign({ repository: 'ubi/app', tag: 'other' }));
      await assert.rejects(
        move(() => undefined),
        { code: 'DAMAGE_FOUND', message: /signature-1 of the mirror twin/ },
      );
      await layFile(data, damaged, bytes);

      const halted = move(({ step, done }) => {
        if (step === 'mirrors' && done > 0) throw new Error('halted');
      });
      await assert.rejects(halted, { message: 'halted' });
      // ended behind the first table of mirrors
      const place = 'SELECT step, cursor FROM moved_directory';
      assert.deepEqual(await postgres().query(url, place), [{ step: 'mirrors', cursor: '0 2' }]);
    }

    const wanted = [
      { name: 'rh', images: 3, signatures: 5, sets: 4, files: [credentials] },
      { name: 'twin', images: 2, signatures: 4, sets: 2, files: [] },
    ];
    const tried = await move(() => undefined, { isDryRun: true });
    assert.deepEqual([tried.mirrors, tried.mirrorsLeft, tried.withdrawn], [wanted, [], 1]);
    const without = await move(() => undefined, { isDryRun: true, withoutMirrors: true });
    assert.deepEqual([without.mirrors, without.mirrorsLeft], [[], ['rh', 'twin']]);
    const { signature, mirror_set, tombstone } = without.counts;
    assert.deepEqual([signature, mirror_set, tombstone], [0, 0, 2]);
    if (isFull) await refusesDamageAndGoesOn();
    const done = await runLookaside(['migrate', '--data', data, '--to', url]);
    assert.equal(done.status, 0, describeOutcome(done));
    for (const line of [
      /^moved: 8 signatures of 4 images, /,
      /^of these from the mirror rh: 5 signatures of 3 images, and what its upstreams had of 4 images$/m,
      new RegExp(`^every node needs the files that it names: ${credentials}$`, 'm'),
      /^of these from the mirror twin: 3 signatures of 1 image, and what its upstreams had of 2 images$/m,
    ])
      assert.match(done.stdout, line);
    await assertSameRows(postgres(), url, data);

    await movesBack(url, data, back);
    await postgres().query(url, 'DELETE FROM moved_back');
    assert.equal(upstream.asked.length, asked);
    await servesMirrors({ url, data, back, upstream, files });
  });

  /** Every row and file. */
  async function movesBack(url: string, data: string, back: string): Promise<void> {
    const { mirrors } = await moveInto(url, back, { logKey: await logKeyOf(data) });
    assert.deepEqual(
      mirrors.map(({ name, images, signatures, sets }) => [name, images, signatures, sets]),
      [
        ['rh', 3, 5, 4],
        ['twin', 1, 3, 2],
      ],
    );
    const same = (file: string, sql: string) =>
      assert.deepEqual(rowsOf(back, file, sql), rowsOf(data, file, sql), sql);
    for (const { name, key, site } of MIRRORS)
      same('state.db', `SELECT * FROM ${name} WHERE ${site} <> 'former' ORDER BY ${key}`);
    same('index.db', `SELECT * FROM signature WHERE ${KEPT} ORDER BY id`);
    same(
      'index.db',
      `SELECT site, folder, sort_key, name, images FROM folder_entry WHERE ${KEPT} ORDER BY site, folder, sort_key`,
    );
    same('index.db', `SELECT * FROM site WHERE name <> 'former' ORDER BY name`);
    const tombstones = `SELECT * FROM tombstone WHERE ${KEPT} ORDER BY site`;
    same('state.db', tombstones);
  }

  interface Served {
    readonly url: string;
    readonly data: string;
    readonly back: string;
    readonly upstream: Upstream;
    readonly files: Map<string, Uint8Array>;
  }

  async function servesMirrors({ url, data, back, upstream, files }: Served): Promise<void> {
    const serve = upstream.answer;
    upstream.answer = (req) => req.socket.destroy();
    const server = await openDirectory(back);
    const node = await openNode(url, await logKeyOf(data));
    try {
      for (const [name, repository] of [
        ['rh', 'ubi/app'],
        ['rh', 'ubi/gone'],
        ['rh', 'ubi/synced'],
        ['twin', 'ubi/app'],
      ] as const) {
        const set = await setAt(node, name, repository);
        assert.equal(set.length, COUNTS[repository], 'a withdrawn one has a copy of another in its place');
        const { entries } = await server.composed.reader.readSet(imageOf(name, repository));
        assert.deepEqual(
          entries.map(({ sha256 }) => sha256),
          set,
        );
        const [judged] = await node.composed.signatures.ofImage(imageOf(name, repository));
        assert.equal(judged?.state, repository === 'ubi/synced' ? judged?.state : 'verified');
      }
      const [fromNode, fromServer] = [
        await node.composed.mirrors.show('rh'),
        await server.composed.mirrors.show('rh'),
      ];
      assert.equal(fromNode.goneUpstream, 1);
      assert.deepEqual(
        [fromNode.lastSync, fromNode.addedAt, fromNode.images, fromNode.signatures, fromNode.noted],
        [fromServer.lastSync, fromServer.addedAt, fromServer.images, fromServer.signatures, fromServer.noted],
      );
      assert.deepEqual(await node.composed.mirrors.releases('stable-4.18'), [
        { digest: `sha256:${'a'.repeat(64)}`, version: '4.18.1', arch: 'amd64' },
      ]);

      // what is withdrawn stays so, and what is new comes behind the rest
      upstream.answer = serve;
      const before = await setAt(node, 'rh', 'ubi/app');
      const next = signer.sign({ repository: 'ubi/app', tag: 'v4' });
      files.set(`/s/${folderOf('ubi/app')}/signature-4`, next);
      const request = { images: [nameOf('ubi/app')], maxAgeMs: null };
      for (const { composed } of [node, server]) await composed.mirrors.sync('rh', request, actor);
      assert.deepEqual(await setAt(node, 'rh', 'ubi/app'), [...before, sha256Hex(next)]);
      const { entries } = await server.composed.reader.readSet(imageOf('rh', 'ubi/app'));
      assert.equal(entries.at(-1)?.sha256, sha256Hex(next));
      assert.equal(entries.length, before.length + 1);
    } finally {
      await node.close();
      await server.composed[Symbol.asyncDispose]();
    }
  }
}
