// Several nodes over one real PostgreSQL, as their users meet them: by HTTP, by commands, and by podman and skopeo.
import assert from 'node:assert/strict';
import { createHash, generateKeyPairSync } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { openAskedSignatures } from '../../src/compose/asked-signatures.ts';
import { createLog } from '../../src/compose/log.ts';
import { composeNode } from '../../src/compose/node.ts';
import { loadConfig } from '../../src/config.ts';
import { ANY_RECORD } from '../../src/domain/records.ts';
import { ANY_SIGNATURE } from '../../src/domain/remote.ts';
import { folderOf, sha256Hex } from '../store/lay.ts';
import { imageIn } from '../store/open-store.ts';
import { needs } from './available.ts';
import { assertAccepted, assertRefused } from './client-home.ts';
import { describeOutcome } from './command.ts';
import { eventually } from './eventually.ts';
import { writeImage } from './image.ts';
import { type Postgres, startPostgres } from './postgres.ts';
import { balancerTests } from './postgres-balancers.ts';
import { logInTests } from './postgres-log-ins.ts';
import { mirrorTests } from './postgres-mirrors.ts';
import { administer, configOf, type Node, openNode, PEM } from './postgres-node.ts';
import { troubledTests } from './postgres-troubled.ts';
import { witnessTests } from './postgres-witness.ts';
import { openScene } from './scene.ts';
import { runLookaside, startServer } from './server.ts';
import { makeSigner } from './signer.ts';
import { uploadsTo } from './uploads.ts';

const UNSIGNED = 'A signature was required, but no signature exists';

const signer = makeSigner('alice');

async function ready(node: Node, query = '') {
  const answer = await fetch(`http://127.0.0.1:${node.port}/readyz${query}`);
  return { status: answer.status, health: (await answer.json()) as Record<string, never> };
}

describe('nodes over PostgreSQL', needs('postgres'), () => {
  let postgres: Postgres;
  let url: string;
  let nodes: readonly [Node, Node, Node];
  let token: string;
  before(async () => {
    postgres = await startPostgres();
    url = await postgres.newDatabase();
    // all at once on an empty database: one of them makes the tables
    nodes = await Promise.all([openNode(url), openNode(url), openNode(url)]);
    await using administration = await administer(url);
    ({ text: token } = await administration.tokens.create({ name: 'ci', role: 'uploader', lifeMs: null }));
    await administration.keys.add(signer.certificate);
  });
  after(async () => {
    for (const node of nodes ?? []) await node.close();
    await postgres?.[Symbol.asyncDispose]();
  });

  /** A second long nobody hears of a change. */
  const loseNotifications = () =>
    postgres.query(
      url,
      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'lookaside' AND query LIKE '%pg_is_in_recovery%' AND datname = current_database()",
    );

  it('give fifty uploads at once to three of them fifty dense numbers, which each of them serves', async () => {
    const folder = folderOf('team/dense');
    const blobs = Array.from({ length: 50 }, (_, n) =>
      signer.sign({ repository: 'team/dense', tag: `v${n}` }),
    );
    // as its clients do: where the processor is busy with other work, the last of fifty may have waited for 4.8 s, and are 503
    const take = (bytes: Buffer, n: number) =>
      eventually(async () => {
        const answer = await (nodes[n % 3] as Node).uploads(token).post(folder, bytes);
        assert.match(`${answer.status} ${answer.code ?? ''}`, /^20[01] $/);
        return answer;
      });
    const answers = await Promise.all(blobs.map(take));
    const numbers = answers.map(({ receipt }) => receipt?.number ?? 0);
    assert.deepEqual(
      numbers.toSorted((a, b) => a - b),
      blobs.map((_, n) => n + 1),
    );
    for (const node of nodes) {
      for (const [n, bytes] of blobs.entries()) {
        const { status, body } = await node.uploads(token).get(`${folder}/signature-${numbers[n]}`);
        assert.deepEqual([status, sha256Hex(body)], [200, sha256Hex(bytes)]);
      }
      assert.equal((await node.uploads(token).get(`${folder}/signature-51`)).status, 404);
    }
    const page = await fetch(`http://127.0.0.1:${nodes[2].port}/team/`, {
      headers: { Accept: 'application/json' },
    });
    assert.match(await page.text(), /dense@sha256=/);
  });

  it('see an upload to another one, also where the notification is lost', async () => {
    const [one, two] = nodes;
    const folder = folderOf('team/seen');
    const sign = (tag: string) => signer.sign({ repository: 'team/seen', tag });
    const read = async (number: number) =>
      (await two.uploads(token).get(`${folder}/signature-${number}`)).status;
    assert.equal(await read(1), 404);
    assert.equal((await one.uploads(token).post(folder, sign('v1'))).status, 201);
    await eventually(async () => assert.equal(await read(1), 200));
    await loseNotifications();
    assert.equal((await one.uploads(token).post(folder, sign('v2'))).status, 201);
    await eventually(async () => assert.equal(await read(2), 200));
  });

  it('ask about no set that they keep in memory, and see each change of it within a second all the same', async () => {
    const [one, two] = nodes;
    const sign = (name: string, tag: string) => signer.sign({ repository: `team/${name}`, tag });
    const names = Array.from({ length: 8 }, (_, n) => `kept-${n}`);
    const post = (name: string, tag: string) =>
      one.uploads(token).post(folderOf(`team/${name}`), sign(name, tag));
    const read = async (name: string, number: number) =>
      (await two.uploads(token).get(`${folderOf(`team/${name}`)}/signature-${number}`)).status;
    for (const name of names) assert.equal((await post(name, 'v1')).status, 201);
    const { cache } = two.composed.reader;
    const missesOfRound = async () => {
      const before = cache.misses;
      for (const name of names) {
        assert.equal(await read(name, 1), 200);
        assert.equal(await read(name, 2), 404);
      }
      assert.equal(await read('kept-never', 1), 404);
      return cache.misses - before;
    };
    // the session of the questions may have ended with the test before
    await eventually(async () => {
      await missesOfRound();
      await pause(1500);
      assert.equal(await missesOfRound(), 0);
    });
    await loseNotifications();
    for (const [n, name] of names.entries()) {
      assert.equal((await post(name, 'v2')).status, 201);
      const startMs = performance.now();
      await eventually(async () => assert.equal(await read(name, 2), 200));
      assert.ok(performance.now() - startMs < 3000, 'a second, on a machine that does other work');
      if (n % 3 === 2) await loseNotifications();
    }
  });

  it('know keys and tokens that were changed by another one', async () => {
    const [one, two] = nodes;
    const bob = makeSigner('bob');
    const folder = folderOf('team/bob');
    const post = (text: string, tag: string) =>
      two.uploads(text).post(folder, bob.sign({ repository: 'team/bob', tag }));
    const actor = { name: 'administrator', address: null, requestId: null };
    const { text } = await one.composed.tokens.create(
      { name: 'other', role: 'uploader', lifeMs: null },
      actor,
    );
    assert.equal((await post(text, 'v1')).code, 'KEY_UNKNOWN');
    await one.composed.keys.add(bob.certificate, actor);
    await eventually(async () => assert.equal((await post(text, 'v1')).status, 201));
    await one.composed.tokens.revoke('other', actor);
    await eventually(async () => assert.equal((await post(text, 'v2')).status, 401));
    await one.composed.keys.remove(bob.fingerprint, actor);
    await eventually(async () => assert.equal((await post(token, 'v3')).code, 'KEY_UNKNOWN'));
  });

  it('find signatures by each filter, on another node than took them, and judge them again when their key goes', async () => {
    const [one, two] = nodes;
    const carol = makeSigner('carol');
    const actor = { name: 'administrator', address: null, requestId: null };
    await one.composed.keys.add(carol.certificate, actor);
    const folder = folderOf('team/found');
    const bytes = carol.sign({ repository: 'team/found', tag: 'v7' });
    assert.equal((await one.uploads(token).post(folder, bytes)).status, 201);
    const anything = { path: null, digest: null, fingerprint: null, tag: null, since: null, until: null };
    const search = async (filter: object, state: 'verified' | 'unknown-key' | null = null) => {
      const { signatures } = await two.composed.signatures.search({
        ...{ site: null, uploader: null, order: 'oldest', limit: 100, cursor: null },
        filter: { ...anything, ...filter },
        state,
      });
      return signatures.map(({ signatureSha256 }) => signatureSha256);
    };
    const wanted = [sha256Hex(bytes)];
    const hex = folder.slice(-64);
    // an upload right behind a change of the keys is verified once more when the node has heard of it
    await eventually(async () => assert.deepEqual(await search({ path: 'team/found' }, 'verified'), wanted));
    assert.deepEqual(await search({ digest: { algorithm: 'sha256', hex } }), wanted);
    assert.deepEqual(await search({ fingerprint: carol.fingerprint }), wanted);
    assert.deepEqual(await search({ tag: 'v7', path: 'team/found' }), wanted);
    assert.deepEqual(await search({ path: 'team/found', since: new Date('2099-01-01T00:00:00Z') }), []);
    assert.deepEqual(await search({ path: 'team' }), []);
    const { signatures } = await one.composed.keys.remove(carol.fingerprint, actor);
    assert.equal(signatures, 1);
    await eventually(async () =>
      assert.deepEqual(await search({ path: 'team/found' }, 'unknown-key'), wanted),
    );
    await two.composed.keys.add(carol.certificate, actor);
    await eventually(async () => assert.deepEqual(await search({ path: 'team/found' }, 'verified'), wanted));
  });

  it('take what is imported, and tell who may sign as one document', async () => {
    await using administration = await administer(url);
    const fileName = `${folderOf('team/imported')}/signature-1`;
    const bytes = signer.sign({ repository: 'team/imported', tag: 'v1' });
    const [result] = await administration.importBatch([{ bytes, fileName }], { dryRun: false });
    assert.equal(result?.result, 'created');
    await eventually(async () => assert.equal((await nodes[2].uploads(token).get(fileName)).status, 200));
    await administration.signers.add({ name: 'team', description: 'the team' });
    assert.match(JSON.stringify(await administration.rules.export()), /the team/);
  });

  it('have one leader, whose checkpoints are of the events of all, and another one when it is gone', async () => {
    const checkpointOf = (node: Node) => node.composed.auditLog.checkpoint();
    const sizeNow = async () => Number((await postgres.query(url, 'SELECT size FROM log_head'))[0]?.size);
    const allSigned = async () => {
      const size = await sizeNow();
      for (const node of nodes) assert.equal((await checkpointOf(node))?.size, size);
    };
    await eventually(allSigned);
    const held = await postgres.query(url, "SELECT pid FROM pg_locks WHERE locktype = 'advisory'");
    assert.equal(held.length, 1);
    const [before] = await postgres.query(url, 'SELECT number FROM leader');
    await postgres.query(url, `SELECT pg_terminate_backend(${held[0]?.pid})`);
    await eventually(async () => {
      const [now] = await postgres.query(url, 'SELECT number FROM leader');
      assert.ok(Number(now?.number) > Number(before?.number));
    });
    const actor = { name: 'administrator', address: null, requestId: null };
    await nodes[1].composed.tokens.create({ name: 'after', role: 'reader', lifeMs: null }, actor);
    await eventually(allSigned);
  });

  it('give out each tile of the newest checkpoint, also one that they have not heard of yet', async () => {
    const uploads = nodes.map((node) => node.uploads(token));
    const folder = folderOf('team/tiles');
    for (let n = 0; n < 3; n += 1) {
      const answer = await uploads[n]?.post(folder, signer.sign({ repository: 'team/tiles', tag: `v${n}` }));
      assert.equal(answer?.status, 201);
      const size = Number((await postgres.query(url, 'SELECT size FROM log_head'))[0]?.size);
      await eventually(async () => {
        assert.ok(Number((await nodes[0].composed.auditLog.checkpoint())?.size) >= size);
      });
      // a client takes the checkpoint from one node and asks others for what is below it
      const place = { level: 0, number: Math.floor((size - 1) / 256), width: ((size - 1) % 256) + 1 };
      for (const node of nodes) assert.notEqual(await node.composed.auditLog.tile(place), null);
    }
  });

  it('write down once what all of them are started with', async () => {
    const settings = [{ name: 'LOOKASIDE_LISTEN', value: ':8123', source: 'default' }];
    const recordings = nodes.map((node) => node.composed.recordSettings(settings));
    await Promise.all(recordings);
    const rows = await postgres.query(
      url,
      `SELECT seq FROM audit_event WHERE private LIKE '%:8123%' AND leaf LIKE '%"action":"settings"%'`,
    );
    assert.equal(rows.length, 1);
  });

  it('serve what they have read while the database is gone, say so, and answer all else with 503', async () => {
    const [one] = nodes;
    const uploads = one.uploads(token);
    const folder = folderOf('team/kept');
    await loseNotifications(); // that of the upload would have the set forgotten after it was read
    assert.equal(
      (await uploads.post(folder, signer.sign({ repository: 'team/kept', tag: 'v1' }))).status,
      201,
    );
    assert.equal((await uploads.get(`${folder}/signature-1`)).status, 200);
    await postgres.shut(url);
    try {
      await eventually(async () => assert.equal((await ready(one)).health.status, 'degraded'));
      const { status, health } = await ready(one);
      assert.equal(status, 200);
      assert.match(
        JSON.stringify(health),
        /PostgreSQL cannot be reached; signatures in memory are served for/,
      );
      assert.equal((await ready(one, '?for=writes')).status, 503);
      assert.equal((await uploads.get(`${folder}/signature-1`)).status, 200);
      const unknown = await uploads.get(`${folderOf('team/never-read')}/signature-1`);
      assert.equal(unknown.status, 503);
      assert.match(unknown.headers.get('retry-after') ?? '', /^[0-9]+$/);
      const refused = await uploads.post(folder, signer.sign({ repository: 'team/kept', tag: 'v2' }));
      assert.deepEqual([refused.status, refused.code], [503, 'STORE_UNAVAILABLE']);
    } finally {
      await postgres.open(url);
    }
    await eventually(async () => assert.equal((await ready(one)).health.status, 'ok'));
    assert.equal(
      (await uploads.post(folder, signer.sign({ repository: 'team/kept', tag: 'v3' }))).status,
      201,
    );
  });

  it('say of what they cannot do that it is not available over PostgreSQL', async () => {
    await using administration = await administer(url);
    const notThere = { code: 'NOT_OVER_POSTGRESQL' };
    await assert.rejects(administration.reindex({ acceptDamage: false }), notThere);
    const noKey = loadConfig({
      flags: {},
      environment: { LOOKASIDE_DATABASE: url },
      workingFolder: '/',
      parseYaml: null,
    });
    const log = createLog('error', () => undefined);
    const taker = { command: 'test', host: 'here' };
    const { config } = noKey;
    await assert.rejects(composeNode({ config, current: () => config, sites: [], log, taker }), {
      code: 'CONFIG_INVALID',
      message: /openssl genpkey/,
    });
    const other = generateKeyPairSync('ed25519').privateKey.export({ format: 'pem', type: 'pkcs8' });
    await assert.rejects(openNode(url, { LOOKASIDE_LOG_KEY: other.toString() }), { code: 'LOG_MISMATCH' });
  });

  balancerTests({ openNode: () => openNode(url), signer, token: () => token });

  troubledTests({ postgres: () => postgres, url: () => url, token: () => token, signer, openNode });

  logInTests({ newDatabase: () => postgres.migratedDatabase(), openNode });

  mirrorTests({ postgres: () => postgres, openNode, signer });

  witnessTests({ newDatabase: () => postgres.migratedDatabase(), openNode });

  it('know a log-in at another one at once, and its end', async () => {
    const [one, two] = nodes;
    const from = { address: '192.0.2.1', requestId: null };
    const actor = { name: 'administrator', ...from };
    const { text } = await one.composed.sessions.logIn(token, from, () => undefined);
    const live = await two.composed.sessions.find(text);
    assert.equal(live?.token.name, 'ci');
    assert.deepEqual(
      (await two.composed.sessions.list()).map(({ token: name }) => name),
      ['ci'],
    );
    await two.composed.sessions.end(live?.id ?? 0, actor);
    assert.equal(await one.composed.sessions.find(text), null);
    const { text: other } = await one.composed.tokens.create(
      { name: 'page', role: 'reader', lifeMs: null },
      actor,
    );
    const session = await one.composed.sessions.logIn(other, from, () => undefined);
    await two.composed.tokens.revoke('page', actor);
    assert.equal(await one.composed.sessions.find(session.text), null);
  });

  it('list and show what a command beside them finds in the database itself', async () => {
    const options = { onRetry: () => undefined, patienceMs: 0 };
    const settings = { LOOKASIDE_URL: `http://127.0.0.1:${nodes[1].port}`, LOOKASIDE_TOKEN: token };
    await using served = await openAskedSignatures(configOf(url, settings), options);
    await using stored = await openAskedSignatures(configOf(url), options);
    const filter = { ...ANY_SIGNATURE, repository: 'team/dense' };
    const [walked, same] = [[], []] as [unknown[], unknown[]];
    for await (const one of stored.search(filter)) walked.push(one);
    for await (const one of served.search(filter)) same.push(one);
    assert.equal(walked.length, 50);
    assert.deepEqual(walked, same);
    assert.deepEqual(await stored.userIds(), await served.userIds());
    const image = imageIn(folderOf('team/found'));
    assert.deepEqual(await stored.details(image), await served.details(image));
    const withdrawn = { repository: null, digest: null, by: null, since: null };
    for await (const one of stored.withdrawals(withdrawn)) assert.fail(one.path);
    const answer = await runLookaside(['show', 'team/found:v7'], { LOOKASIDE_DATABASE: url });
    assert.match(answer.stdout, /^state +verified$/m, describeOutcome(answer));
  });

  it('have tables that no command changes, which may be of a newer release', async () => {
    const database = await postgres.newDatabase();
    const asking = () => openAskedSignatures(configOf(database), { onRetry: () => undefined, patienceMs: 0 });
    const schema = () => postgres.query(database, 'SELECT max(version) AS version FROM lookaside_schema');
    const refused = (message: RegExp) => ({ code: 'STATE_UNUSABLE', message });
    await assert.rejects(asking(), refused(/no tables.* start a node/));
    await assert.rejects(schema(), /lookaside_schema/);
    // who can open an empty database is its administrator, ahead of every node
    await (await administer(database))[Symbol.asyncDispose]();
    await postgres.query(database, 'DELETE FROM lookaside_schema WHERE version > 3');
    await assert.rejects(asking(), refused(/schema 3 of an older lookaside.* start a node/));
    await assert.rejects(administer(database), refused(/schema 3 of an older/));
    // as a standby whose primary no node of this release has seen
    const name = /\/(?<name>d[0-9]+)\?/.exec(database)?.groups?.name;
    await postgres.query(database, `ALTER DATABASE ${name} SET default_transaction_read_only = on`);
    await assert.rejects(
      openNode(database),
      refused(/schema 3 of an older.* takes no changes.* the primary first/),
    );
    assert.deepEqual(await schema(), [{ version: 3 }]);
  });

  it('answer questions to the records, list repositories, and forget who it was', async () => {
    await using administration = await administer(url);
    const { records } = administration;
    const wanted = {
      record: 'audit',
      filter: { ...ANY_RECORD, action: 'upload', repository: 'team/dense' },
    } as const;
    const sums = await records.sums(wanted, ['repository'], 10);
    assert.deepEqual(
      sums.groups.map(({ of, count }) => [...of, count]),
      [['team/dense', 50]],
    );
    let overview = await nodes[1].composed.overview.get();
    while (overview === null) overview = await nodes[1].composed.overview.get();
    assert.ok((overview.hours.at(-1)?.accepted ?? 0) + (overview.hours.at(-2)?.accepted ?? 0) >= 50);
    const listed = await nodes[2].composed.repositories.page({
      ...{ site: 'default', below: 'team', contains: 'DENSE', limit: 10, after: null },
    });
    assert.deepEqual(
      listed.repositories.map(({ path: name, images }) => [name, images]),
      [['team/dense', 1]],
    );
    const forgotten = await records.forget({ kind: 'actor', text: 'ci' }, new Date());
    assert.ok(forgotten.events >= 50);
    const left = await postgres.query(
      url,
      `SELECT count(*)::integer AS left FROM audit_event WHERE private LIKE '{"actor":"ci",%'`,
    );
    assert.deepEqual(left, [{ left: 0 }]);
  });

  it('revoke a key through one of them, whose signatures are withdrawn from all', async () => {
    const [one, two] = nodes;
    const dave = makeSigner('dave');
    const actor = { name: 'administrator', address: null, requestId: null };
    await one.composed.keys.add(dave.certificate, actor);
    const folder = folderOf('team/dave');
    for (const by of [dave, signer]) {
      const bytes = by.sign({ repository: 'team/dave', tag: 'v1' });
      assert.equal((await one.uploads(token).post(folder, bytes)).status, 201);
    }
    await using administration = await administer(url);
    const impact = [];
    for await (const part of administration.keys.revocation(dave.fingerprint)) impact.push(part);
    assert.deepEqual(
      { ...impact[0], state: null, userIds: null, fingerprint: null },
      {
        ...{ signatures: 1, images: 1, refused: 0, broken: 0, gaps: [] },
        ...{ state: null, userIds: null, fingerprint: null },
      },
    );
    const wanted = { reason: 'leaked', withdraw: true, certificate: null };
    assert.equal((await administration.keys.revoke(dave.fingerprint, wanted)).withdrawn, 1);
    const kept = sha256Hex(signer.sign({ repository: 'team/dave', tag: 'v1' }));
    await eventually(async () => {
      const { status, body } = await two.uploads(token).get(`${folder}/signature-1`);
      assert.deepEqual([status, sha256Hex(body)], [200, kept]);
    });
    const again = dave.sign({ repository: 'team/dave', tag: 'v2' });
    await eventually(async () =>
      assert.equal((await two.uploads(token).post(folder, again)).code, 'KEY_REVOKED'),
    );
    const withdrawn = await two.composed.withdrawals.list({
      ...{ site: 'default', cursor: null, limit: 10 },
      filter: { path: 'team/dave', digest: null, by: null, since: null },
    });
    assert.match(JSON.stringify(withdrawn), /leaked/);
  });

  it('record reads in a table, a partition for each day', async () => {
    const { recorder } = nodes[0].composed;
    await nodes[0].uploads(token).get(`${folderOf('team/kept')}/signature-1`);
    await recorder.flush();
    const rows = await postgres.query(
      url,
      "SELECT status, count FROM access_read WHERE folder LIKE 'team/kept@%'",
    );
    assert.ok(rows.length > 0);
    assert.ok(rows.some(({ status }) => status === 200));
  });
});

describe(
  'clients of nodes over PostgreSQL',
  needs('postgres', 'podman', 'skopeo', 'docker-registry', 'gpg'),
  () => {
    it('pull from one node by a signature that was uploaded to another', async () => {
      await using postgres = await startPostgres();
      await using scene = await openScene();
      const keyFile = path.join(scene.folder, 'log.key');
      await writeFile(keyFile, PEM);
      const databaseFile = path.join(scene.folder, 'database');
      await writeFile(databaseFile, await postgres.newDatabase());
      const settings = { LOOKASIDE_DATABASE_FILE: databaseFile, LOOKASIDE_LOG_KEY_FILE: keyFile };
      // on an empty database, ahead of every server: who can open it is its administrator
      const created = await runLookaside(['token', 'create', '--name', 'ci', '--role', 'uploader'], settings);
      assert.equal(created.status, 0, describeOutcome(created));
      const added = await runLookaside(['key', 'add', scene.alice.publicKeyFile], settings);
      assert.equal(added.status, 0, describeOutcome(added));
      await using a = await startServer({ data: null, settings, on: scene.on });
      await using b = await startServer({ data: null, settings, on: scene.on });
      const publisher = await scene.publisher('publisher', a.url);
      const reader = await scene.reader('reader', b.url, scene.alice);

      await scene.push(publisher, await writeImage(path.join(scene.folder, 'image'), 'app'), 'team/app:v1');
      const reference = `${scene.registry}/team/app:v1`;
      const raw = await publisher.skopeo('inspect', '--raw', '--tls-verify=false', `docker://${reference}`);
      assertAccepted(raw);
      assertRefused(await scene.pull(reader, 'team/app:v1'), 125, UNSIGNED);
      const manifest = path.join(scene.folder, 'manifest');
      await writeFile(manifest, raw.stdout);
      const file = path.join(scene.folder, 'signature');
      const { fingerprint } = scene.alice;
      assertAccepted(
        await publisher.skopeo('standalone-sign', manifest, reference, fingerprint, '--output', file),
      );
      const hex = createHash('sha256').update(raw.stdout).digest('hex');
      const uploads = uploadsTo(a.port, created.stdout.trim());
      assert.equal((await uploads.post(`team/app@sha256=${hex}`, await readFile(file))).status, 201);
      await eventually(async () => assertAccepted(await scene.pull(reader, 'team/app:v1')));
      assertAccepted(await scene.copy(reader, 'team/app:v1'));
      // each of them can be ended at any time
      await a.stop();
      assertAccepted(await scene.copy(reader, 'team/app:v1'));
    });
  },
);
