// Mirrors of two nodes over one PostgreSQL, and one upstream.
import assert from 'node:assert/strict';
import { rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { it } from 'node:test';
import { type ImageId, parseImageFolder } from '../../src/domain/image.ts';
import { DEFAULT_MIRROR } from '../../src/domain/mirror.ts';
import { folderOf, sha256Hex } from '../store/lay.ts';
import { openHostileSite, serving } from '../upstream/hostile-site.ts';
import { describeOutcome } from './command.ts';
import { eventually } from './eventually.ts';
import type { Postgres } from './postgres.ts';
import { moveInto } from './postgres-moving-back.ts';
import type { Node } from './postgres-node.ts';
import { runLookaside } from './server.ts';
import type { Signer } from './signer.ts';
import { openTempFolder } from './temp-folder.ts';

export interface MirrorTests {
  postgres(): Postgres;
  openNode(url: string): Promise<Node>;
  readonly signer: Signer;
}

const actor = { name: 'administrator', address: null, requestId: null };

/** The files of an upstream, by their paths: `counts` says how many signatures each repository has. */
function filesOf(signer: Signer, counts: Readonly<Record<string, number>>): Map<string, Uint8Array> {
  return new Map(
    Object.entries(counts).flatMap(([repository, count]) =>
      Array.from({ length: count }, (_, n) => {
        const bytes = signer.sign({ repository, tag: `v${n + 1}` });
        return [`/s/${folderOf(repository)}/signature-${n + 1}`, bytes] as const;
      }),
    ),
  );
}

function imageOf(repository: string): ImageId {
  const image = parseImageFolder('rh', folderOf(repository));
  assert.ok(image !== null);
  return image;
}

/** All that a reader gets below the prefix, to the first that is not there. */
async function setAt(node: Node, prefix: string, repository: string): Promise<readonly string[]> {
  const hashes: string[] = [];
  for (let number = 1; ; number += 1) {
    const target = `${prefix.slice(1)}/${folderOf(repository)}/signature-${number}`;
    const { status, body } = await node.uploads('').get(target);
    if (status === 404) return hashes;
    assert.equal(status, 200);
    hashes.push(sha256Hex(body));
  }
}

async function statusAt(node: Node, prefix: string, repository: string): Promise<number> {
  return (await node.uploads('').get(`${prefix.slice(1)}/${folderOf(repository)}/signature-1`)).status;
}

export function mirrorTests({ postgres, openNode, signer }: MirrorTests): void {
  it('serve the sets of a mirror that one of them was given, and change it together', async () => {
    const repositories = { 'ubi/app': 2, 'ubi/both': 3, 'ubi/synced': 1, 'ubi/beside': 1, 'ubi/after': 1 };
    const files = filesOf(signer, repositories);
    const wanted = (repository: string) =>
      [...files]
        .filter(([name]) => name.startsWith(`/s/${repository}@`))
        .map(([, bytes]) => sha256Hex(bytes));
    await using upstream = await openHostileSite(serving(files));
    const url = await postgres().migratedDatabase();
    const [one, two] = [await openNode(url), await openNode(url)];
    try {
      await one.composed.keys.add(signer.certificate, actor);
      const views = [{ prefix: '/rh', strip: '', add: '' }];
      const settings = { ...DEFAULT_MIRROR, upstreams: [`${upstream.url}/s`], views };
      await one.composed.mirrors.add('rh', settings, actor);
      assert.deepEqual(await setAt(one, '/rh', 'ubi/app'), wanted('ubi/app'));
      const asked = upstream.asked.length;
      await eventually(async () => assert.deepEqual(await setAt(two, '/rh', 'ubi/app'), wanted('ubi/app')));
      assert.equal(upstream.asked.length, asked, 'what one has stored another does not ask for');

      // both walk for the same image at once
      const both = await Promise.all([one, two, one, two].map((node) => setAt(node, '/rh', 'ubi/both')));
      for (const set of both) assert.deepEqual(set, wanted('ubi/both'));
      const [{ count } = {}] = await postgres().query(
        url,
        "SELECT count(*) AS count FROM signature JOIN image ON image.id = image_id WHERE site = 'rh'",
      );
      assert.equal(Number(count), 5);

      // commands at one node, and what another one says of it
      const { text: token } = await one.composed.tokens.create(
        { name: 'admin', role: 'admin', lifeMs: null },
        actor,
      );
      const mirror = async (node: Node, ...args: readonly string[]) => {
        const argv = ['mirror', ...args, '--server', `http://127.0.0.1:${node.port}`, '--json'];
        const done = await runLookaside(argv, { LOOKASIDE_TOKEN: token });
        assert.equal(done.status, 0, describeOutcome(done));
        return JSON.parse(done.stdout);
      };
      await eventually(async () => void (await mirror(two, 'list')));
      await using temp = await openTempFolder();
      const list = path.join(temp.path, 'images');
      await writeFile(
        list,
        ['ubi/synced', 'ubi/none'].map((name) => `${folderOf(name).replace('=', ':')}\n`).join(''),
      );
      const { counts } = await mirror(two, 'sync', 'rh', list);
      assert.deepEqual(counts, { new: 1, unchanged: 0, missing: 1, refused: 0, failed: 0 });
      const [status] = (await mirror(one, 'status', 'rh')).mirrors;
      assert.deepEqual([status.lastSync.counts, status.images, status.signatures], [counts, 3, 6]);
      assert.deepEqual((await mirror(one, 'sync', 'rh', list, '--max-age', '1h')).counts, {
        ...counts,
        new: 0,
        unchanged: 1,
      });

      // a command beside the nodes, on the database itself
      const argv = ['mirror', 'sync', 'rh', ...(await listOf(temp.path, 'ubi/beside')), '--json'];
      const beside = await runLookaside(argv, { LOOKASIDE_DATABASE: url });
      assert.equal(beside.status, 0, describeOutcome(beside));
      assert.equal(JSON.parse(beside.stdout).counts.new, 1);
      const besideStatus = await runLookaside(['mirror', 'status'], { LOOKASIDE_DATABASE: url });
      assert.match(
        besideStatus.stderr,
        /each node counts its own walks .* ask one node with --server URL\n$/,
      );
      const askedBefore = upstream.asked.length;
      assert.deepEqual(await setAt(two, '/rh', 'ubi/beside'), wanted('ubi/beside'));
      assert.equal(upstream.asked.length, askedBefore);
      await two.composed.judge.judgeImage(imageOf('ubi/beside'));
      const [judged] = await two.composed.signatures.ofImage(imageOf('ubi/beside'));
      assert.equal(judged?.state, 'verified');

      // nothing is uploaded there; what is withdrawn does not come back
      const taken = await one
        .uploads(token)
        .post(`rh/${folderOf('ubi/app')}`, signer.sign({ repository: 'ubi/app', tag: 'v9' }));
      assert.deepEqual([taken.status, taken.code], [403, 'READ_ONLY']);
      const [first = ''] = wanted('ubi/app');
      const image = imageOf('ubi/app');
      await one.composed.withdrawals.withdrawAt(
        { image, number: 1 },
        { reason: 'wrong', until: null },
        actor,
      );
      await mirror(two, 'sync', 'rh', ...(await listOf(temp.path, 'ubi/app')));
      await eventually(async () => assert.ok(!(await setAt(two, '/rh', 'ubi/app')).includes(first)));
      await mirror(two, 'edit', 'rh', '--prefix', '/vendor');
      await eventually(async () =>
        assert.deepEqual(await setAt(one, '/vendor', 'ubi/both'), wanted('ubi/both')),
      );
      assert.equal((await mirror(one, 'show', 'rh')).views[0].prefix, '/vendor');

      // an upstream that fails is no end of a set
      upstream.answer = (req) => req.socket.destroy();
      for (const node of [one, two]) {
        assert.deepEqual(await setAt(node, '/vendor', 'ubi/both'), wanted('ubi/both'));
        assert.equal(await statusAt(node, '/vendor', 'ubi/after'), 503);
      }

      // what clients asked for in vain, at any node
      for (const { composed } of [one, two]) await composed.recorder.flush();
      const since = new Date(Date.now() - 60_000);
      const missed = await one.composed.mirrors.missed('rh', since, {
        actor,
        signal: new AbortController().signal,
      });
      assert.deepEqual(missed, [folderOf('ubi/after').replace('=', ':')]);

      // one prefix is that of one mirror, whichever nodes are asked
      const others = ['x', 'y'].map((name, n) => {
        const node = [one, two][n] as Node;
        return node.composed.mirrors.add(
          name,
          { ...settings, views: [{ ...views[0], prefix: '/x' }] },
          actor,
        );
      });
      const outcomes = await Promise.allSettled(others);
      assert.deepEqual(outcomes.map((outcome) => outcome.status).sort(), ['fulfilled', 'rejected']);
      await mirror(one, 'remove', 'rh');
      await eventually(async () => {
        for (const node of [one, two]) assert.equal(await statusAt(node, '/vendor', 'ubi/both'), 404);
      });
      const names = await mirror(two, 'list');
      assert.equal(names.mirrors.length, 1);
    } finally {
      await one.close();
      await two.close();
    }
  });

  it('serve what is stored of a mirror while the database takes no changes, and 503 for the rest', async () => {
    await using upstream = await openHostileSite(serving(filesOf(signer, { 'ubi/app': 1, 'ubi/new': 1 })));
    const url = await postgres().migratedDatabase();
    const node = await openNode(url);
    const [{ name } = {}] = await postgres().query(url, 'SELECT current_database() AS name');
    const settle = async (isReadOnly: boolean) => {
      const set = isReadOnly
        ? 'SET default_transaction_read_only = on'
        : 'RESET default_transaction_read_only';
      await postgres().query(url, `BEGIN READ WRITE; ALTER DATABASE ${name} ${set}; COMMIT`);
      await postgres().query(
        url,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'lookaside'",
      );
    };
    try {
      const views = [{ prefix: '/rh', strip: '', add: '' }];
      const settings = { ...DEFAULT_MIRROR, upstreams: [`${upstream.url}/s`], views };
      await node.composed.mirrors.add('rh', { ...settings, onUpstreamFailure: '404' }, actor);
      assert.equal(await statusAt(node, '/rh', 'ubi/app'), 200);
      await settle(true);
      const asked = upstream.asked.length;
      await eventually(async () => {
        assert.equal(await statusAt(node, '/rh', 'ubi/new'), 503);
        assert.ok(upstream.asked.length > asked, 'the upstream has given it');
      });
      assert.equal(await statusAt(node, '/rh', 'ubi/app'), 200);
      await settle(false);
      await eventually(async () => assert.equal(await statusAt(node, '/rh', 'ubi/new'), 200));
    } finally {
      await node.close();
    }
  });

  it('serve what is stored of a mirror whose files one of them lacks, and 503 for the rest', async () => {
    const files = filesOf(signer, { 'ubi/app': 1, 'ubi/other': 1 });
    await using upstream = await openHostileSite(serving(files));
    await using temp = await openTempFolder();
    const credentials = path.join(temp.path, 'credentials');
    await writeFile(credentials, 'user:password');
    const url = await postgres().migratedDatabase();
    const one = await openNode(url);
    const views = [{ prefix: '/rh', strip: '', add: '' }];
    const settings = { ...DEFAULT_MIRROR, upstreams: [`${upstream.url}/s`], views, credentials };
    await one.composed.mirrors.add('rh', { ...settings, onUpstreamFailure: '404' }, actor);
    assert.equal(await statusAt(one, '/rh', 'ubi/app'), 200);
    await rm(credentials);
    await assert.rejects(one.composed.mirrors.add('other', settings, actor), { code: 'REQUEST_INVALID' });
    const two = await openNode(url);
    assert.equal(await statusAt(two, '/rh', 'ubi/app'), 200);
    assert.equal(await statusAt(two, '/rh', 'ubi/other'), 503);
    await one.close();
    await two.close();
    const moved = await moveInto(url, path.join(temp.path, 'back'), { withoutMirrors: true });
    assert.deepEqual([moved.mirrors, moved.mirrorsLeft], [[], ['rh']]);
    assert.deepEqual([moved.counts.signature, moved.counts.image, moved.counts.mirror_set], [0, 0, 0]);
  });
}

async function listOf(folder: string, repository: string): Promise<readonly string[]> {
  const file = path.join(folder, 'one-image');
  await writeFile(file, `${folderOf(repository).replace('=', ':')}\n`);
  return [file];
}
