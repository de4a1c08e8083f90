// lookaside migrate: a data directory in the database of several nodes, and what nodes have there in a data directory.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import Database from 'better-sqlite3';
import { migrateDirectory } from '../../src/compose/moving.ts';
import { moveBack } from '../../src/compose/moving-back.ts';
import { fsckReadOnly } from '../../src/compose/offline.ts';
import { sitesOf } from '../../src/compose/site.ts';
import { COUNTED } from '../../src/domain/moved-tables.ts';
import type { MoveProgress } from '../../src/domain/moving.ts';
import { checkProof } from '../../src/service/log-proofs.ts';
import { verifyLog } from '../../src/service/log-verify.ts';
import { openLogReadOnly } from '../../src/sqlite/databases.ts';
import { isFull } from '../faults/promise.ts';
import { folderOf, layImage, signatureBytes } from '../store/lay.ts';
import { imageIn } from '../store/open-store.ts';
import { needs } from './available.ts';
import { describeOutcome } from './command.ts';
import { eventually } from './eventually.ts';
import { type Postgres, startPostgres } from './postgres.ts';
import { assertSameAnswers } from './postgres-asked.ts';
import {
  administrationOf,
  configOf,
  fill,
  LARGE,
  movedDirectoryTests,
  openDirectory,
  quiet,
  taker,
} from './postgres-moved.ts';
import { movedMirrorTests } from './postgres-moved-mirrors.ts';
import { administer, openNode, PEM } from './postgres-node.ts';
import { runLookaside, startServer } from './server.ts';
import { makeSigner } from './signer.ts';
import { openTempFolder } from './temp-folder.ts';
import { takenAs, type Uploads, uploadsTo } from './uploads.ts';

describe('a move between a data directory and a database of nodes', needs('postgres'), () => {
  let postgres: Postgres;
  before(async () => {
    postgres = await startPostgres();
  });
  after(async () => {
    await postgres?.[Symbol.asyncDispose]();
  });

  movedDirectoryTests({
    postgres: () => postgres,
    async openNode(database, logKey) {
      const node = await openNode(database, { LOOKASIDE_LOG_KEY: logKey, LOOKASIDE_APPEND_ONLY: 'true' });
      return {
        ...node,
        administration: () => administer(database),
        findSession: (text) => node.composed.sessions.find(text),
      };
    },
  });

  movedMirrorTests({
    postgres: () => postgres,
    openNode: (database, logKey) => openNode(database, { LOOKASIDE_LOG_KEY: logKey }),
    signer: makeSigner('vendor'),
    isFull,
  });

  it('gives back the directory that was moved into the database', async () => {
    await using temp = await openTempFolder();
    const [data, back] = [path.join(temp.path, 'data'), path.join(temp.path, 'back')];
    await layImage(path.join(data, 'sigstore'), 'team/laid', signatureBytes('large', LARGE));
    const filled = await fill(data);
    const url = await postgres.newDatabase();
    const config = configOf(data);
    await migrateDirectory({
      ...{ config, url, isDryRun: false, withoutMirrors: false, taker, log: quiet },
      ...{ onScan: () => undefined, onProgress: () => undefined },
    });
    const pem = await readFile(path.join(data, 'log.key'), 'utf8');
    const key = { pem, place: 'log.key' };
    interface Moving {
      readonly logKey?: typeof key | null;
      readonly isDryRun?: boolean;
      readonly onProgress?: (progress: MoveProgress) => void;
    }
    const moveInto = (
      folder: string,
      { logKey = key, isDryRun = false, onProgress = () => undefined }: Moving = {},
    ) =>
      moveBack({
        ...{ config: configOf(folder), database: { url, poolSize: 2, staleMs: 1, logKey, witnessKey: null } },
        ...{ isDryRun, withoutMirrors: false, taker, onProgress },
      });
    // what is refused leaves nothing behind
    await assert.rejects(moveInto(back, { logKey: null }), {
      code: 'CONFIG_INVALID',
      message: /LOOKASIDE_LOG_KEY_FILE/,
    });
    await assert.rejects(moveInto(back, { logKey: { ...key, pem: PEM } }), { code: 'LOG_MISMATCH' });
    for (const isDryRun of [true, false])
      await assert.rejects(moveInto(data, { isDryRun }), {
        code: 'CONFIG_INVALID',
        message: /only an empty folder is filled/,
      });
    const node = await openNode(url, { LOOKASIDE_LOG_KEY: pem });
    await assert.rejects(moveInto(back), { code: 'ALREADY_RUNNING', message: /from its own machine,/ });
    // the node leads no more, but goes on
    const refused = assert.rejects(moveInto(back), { code: 'ALREADY_RUNNING', message: /its own machine/ });
    await eventually(async () => {
      const ended = await postgres.query(
        url,
        `SELECT pg_terminate_backend(held.pid)
        FROM pg_locks AS held
        JOIN pg_locks AS waiting USING (locktype, database, classid, objid, objsubid)
        WHERE locktype = 'advisory' AND held.granted AND NOT waiting.granted`,
      );
      assert.equal(ended.length, 1);
    });
    await refused;
    assert.equal((await moveInto(back, { isDryRun: true })).outcome, 'would-move');
    await node.close();
    const damage = "UPDATE blob SET bytes = bytes || 'x' WHERE image_id = (SELECT max(id) FROM image)";
    await postgres.query(url, damage);
    await assert.rejects(moveInto(back), { code: 'DAMAGE_FOUND' });
    await postgres.query(url, damage.replace("bytes || 'x'", 'substr(bytes, 1, length(bytes) - 1)'));
    const full = Object.assign(new Error('database or disk is full'), { code: 'SQLITE_FULL' });
    const onProgress = ({ step }: MoveProgress) => {
      if (step === 'signatures') throw full;
    };
    await assert.rejects(moveInto(back, { onProgress }), { code: 'DISK_FULL', message: /begins anew/ });
    const inFile = moveInto(path.join(data, 'log.key'), { isDryRun: true });
    await assert.rejects(inFile, {
      code: 'CONFIG_INVALID',
      message: /log\.key \(ENOTDIR\): a file has this name; name a folder/,
    });
    assert.deepEqual((await readdir(back)).filter(isContent), []);
    // one that was cut short begins anew, and no server starts on it meanwhile
    await mkdir(path.join(back, 'access'));
    for (const name of ['state.db.restoring', 'index.db', 'access/2020-01-01.db', 'state.db.restoring-wal'])
      await writeFile(path.join(back, name), '');
    await assert.rejects(openDirectory(back), {
      code: 'STATE_UNUSABLE',
      message: /is half filled: .*lookaside migrate --from/,
    });

    const moved = await moveInto(back);
    assert.deepEqual([moved.outcome, moved.counts.signature, moved.fillers], ['moved', 7, 2]);
    assert.equal((await stat(path.join(back, 'log.key'))).mode & 0o777, 0o600);
    await assertSameDirectories(data, back);
    const keys = [filled.kept.fingerprint, filled.retired.fingerprint] as const;
    await assertSameAnswers({ dataDir: back, url, folder: filled.folder, keys });
    await assertSameLog(back, filled);
    assert.deepEqual(await findingsIn(back), await findingsIn(data));

    const directory = await openDirectory(back);
    assert.deepEqual(await administrationOf(directory.administration), filled.before);
    assert.notEqual(await directory.composed.sessions.find(filled.session), null);
    const grant = await directory.administration.grants.add({
      ...filled.next.grant,
      repositories: ['next/**'],
    });
    assert.ok(grant.id > filled.next.goneGrant);
    await directory.composed[Symbol.asyncDispose]();
  });

  it('brings along what the nodes have taken themselves', async () => {
    await using temp = await openTempFolder();
    const back = path.join(temp.path, 'back');
    const url = await postgres.migratedDatabase();
    const nodes = [await openNode(url), await openNode(url)] as const;
    const signer = makeSigner('moving');
    const administration = await administer(url);
    await administration.keys.add(signer.certificate);
    const { text } = await administration.tokens.create({ name: 'ci', role: 'uploader', lifeMs: null });
    const folder = folderOf('team/moving');
    for (const tag of ['v1', 'v2', 'v3'])
      takenAs(
        await nodes[0].uploads(text).post(folder, signer.sign({ repository: 'team/moving', tag })),
        201,
      );
    const until = new Date(Date.now() + 3_600_000);
    await administration.withdraw({ path: `${folder}/signature-1`, reason: 'for an hour', until });
    await administration.withdraw({ path: `${folder}/signature-2`, reason: 'for ever', until: null });
    for (const { composed } of nodes) {
      // each node has a row of its own for the same client and minute
      const read = {
        image: imageIn(folder),
        imageIsSigned: true,
        token: null,
        bytes: 7,
        signatureSha256: null,
      };
      composed.recorder.record({ ...read, number: 9, status: 404, address: '192.0.2.1', agent: 'podman/5' });
      const missing = { ...read, image: imageIn(folderOf('team/nobody')), imageIsSigned: false };
      composed.recorder.record({ ...missing, number: 1, status: 404, address: '192.0.2.2', agent: 'curl' });
      await composed.recorder.flush();
    }
    await administration[Symbol.asyncDispose]();
    const served = await bytesOf(nodes[1].uploads(''), folder);
    for (const node of nodes) await node.close();
    await postgres.query(url, `INSERT INTO access_dropped VALUES (${Date.now()}, 3), (5000, 4)`);

    const key = path.join(temp.path, 'key');
    await writeFile(key, PEM);
    const settings = { LOOKASIDE_LOG_KEY_FILE: key, LOOKASIDE_DATABASE: url };
    const done = await runLookaside(['migrate', '--from', '--data', back], settings);
    assert.equal(done.status, 0, describeOutcome(done));
    assert.match(done.stdout, /^moved: 1 signature of 1 image, 1 key, 1 token, .* 3 uploads, 2 withdrawals/);
    const [day = ''] = await readdir(path.join(back, 'access'));
    const inDay = (sql: string) => rowsOf(back, `access/${day}`, sql);
    assert.deepEqual(inDay('SELECT number, status, count, bytes FROM read'), [
      { number: 9, status: 404, count: 2, bytes: 14 },
    ]);
    assert.deepEqual(inDay('SELECT path, count FROM missing'), [{ path: 'team/nobody', count: 2 }]);
    assert.deepEqual(inDay('SELECT count FROM dropped'), [{ count: 3 }]);
    assert.deepEqual(rowsOf(back, 'state.db', 'SELECT hour, count FROM access_dropped'), [
      { hour: 0, count: 4 },
    ]);
    assert.deepEqual(await findingsIn(back), []);
    await using server = await startServer({ data: back });
    const uploads = uploadsTo(server.port, text);
    assert.deepEqual(await bytesOf(uploads, folder), served);
    // what is withdrawn for a time comes back by itself, so its bytes are there
    const [buried] = rowsOf(back, 'state.db', 'SELECT bytes FROM tombstone WHERE until_ms IS NOT NULL');
    assert.ok((buried as { bytes: Buffer }).bytes.length > 0);
    const again = await uploads.post(folder, signer.sign({ repository: 'team/moving', tag: 'v4' }));
    assert.equal(takenAs(again, 201).number, 4);
    const withdrawn = await uploads.post(folder, signer.sign({ repository: 'team/moving', tag: 'v2' }));
    assert.equal(withdrawn.code, 'WITHDRAWN');
    await server.stop();

    // the database takes nothing more, until somebody says that he knows
    const barred = { code: 'STATE_UNUSABLE', message: /was moved to the data directory .*back on /s };
    await assert.rejects(openNode(url), barred);
    await assert.rejects(administer(url), barred);
    const shown = await runLookaside(['list', '--json'], settings);
    assert.equal(shown.status, 0, describeOutcome(shown));
    await using node = await startServer({ data: null, settings, flags: ['--accept-moved-back'] });
    assert.equal((await uploadsTo(node.port, text).get(`${folder}/signature-3`)).status, 200);
    await node.stop();
    await (await openNode(url)).close();
  });

  it('ends what a node still wants to write that was away from the database while it was moved', async () => {
    await using temp = await openTempFolder();
    const url = await postgres.migratedDatabase();
    const administration = await administer(url);
    await administration.tokens.create({ name: 'before', role: 'reader', lifeMs: null });
    const config = configOf(path.join(temp.path, 'back'));
    const database = { url, poolSize: 4, staleMs: 0, logKey: { pem: PEM, place: 'key' }, witnessKey: null };
    // what is connected refuses the move, which then leaves no bar
    const move = () =>
      moveBack({
        config,
        database,
        isDryRun: false,
        withoutMirrors: false,
        taker,
        onProgress: () => undefined,
      });
    await assert.rejects(move(), { code: 'ALREADY_RUNNING' });
    await (await administer(url))[Symbol.asyncDispose]();
    const name = /\/(?<name>d[0-9]+)\?/.exec(url)?.groups?.name;
    await postgres.query(
      url,
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '${name}' AND pid <> pg_backend_pid()`,
    );
    // as a node that is started with --accept-moved-back meanwhile
    await postgres.query(
      url,
      `CREATE FUNCTION accept_it() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN DELETE FROM moved_back; RETURN NULL; END';
      CREATE TRIGGER accepted AFTER INSERT ON moved_back EXECUTE FUNCTION accept_it()`,
    );
    await assert.rejects(move(), { code: 'ALREADY_RUNNING', message: /--accept-moved-back/ });
    assert.deepEqual((await readdir(config.data)).filter(isContent), []);
    await postgres.query(url, 'DROP TRIGGER accepted ON moved_back');
    assert.equal((await move()).outcome, 'moved');
    await assert.rejects(administration.tokens.create({ name: 'after', role: 'reader', lifeMs: null }), {
      code: 'STATE_UNUSABLE',
      message: /was moved to the data directory/,
    });
    await administration[Symbol.asyncDispose]();
    assert.deepEqual(await postgres.query(url, "SELECT id FROM token WHERE name = 'after'"), []);
  });
});

async function findingsIn(data: string) {
  const fsck = { data, sites: sitesOf(configOf(data)), log: quiet, onProgress: () => undefined };
  return (await fsckReadOnly(fsck)).findings;
}

async function bytesOf(uploads: Uploads, folder: string): Promise<readonly string[]> {
  const hashes: string[] = [];
  for (let number = 1; ; number += 1) {
    const { status, body } = await uploads.get(`${folder}/signature-${number}`);
    if (status !== 200) return hashes;
    hashes.push(hashOf(body));
  }
}

function rowsOf(folder: string, file: string, sql: string): readonly unknown[] {
  const db = new Database(path.join(folder, file), { readonly: true });
  try {
    return db.prepare(sql).all();
  } finally {
    db.close();
  }
}

const hashOf = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

/** But for the lock, and what SQLite puts beside its files. */
const isContent = (name: string) => !/^(?:lock|reserve)/.test(name);

/** Every row of state.db, every signature of the index, and every file of the tree. */
async function assertSameDirectories(data: string, back: string): Promise<void> {
  const same = (file: string, sql: string) =>
    assert.deepEqual(rowsOf(back, file, sql), rowsOf(data, file, sql), sql);
  for (const { name, key } of COUNTED) same('state.db', `SELECT * FROM ${name} ORDER BY ${key}`);
  same(
    'state.db',
    "SELECT name, seq FROM sqlite_sequence WHERE name IN ('audit_event', 'signer_grant', 'oidc_subject', 'page_session') ORDER BY name",
  );
  same('index.db', 'SELECT * FROM signature ORDER BY id');
  // but for the time of each folder, which a scan writes
  same('index.db', 'SELECT site, folder, sort_key, name, images FROM folder_entry ORDER BY folder, sort_key');
  same('index.db', 'SELECT * FROM site');
  same('index.db', "SELECT seq FROM sqlite_sequence WHERE name = 'signature'");
  const trees = [data, back].map((folder) => path.join(folder, 'sigstore'));
  const files = async (tree = '') => {
    const names = await readdir(tree, { recursive: true, withFileTypes: true });
    const regular = names.filter((one) => one.isFile() && !one.parentPath.includes('.lookaside'));
    return Promise.all(
      regular.map(async ({ parentPath, name }) => {
        const file = path.join(parentPath, name);
        return `${path.relative(tree, file)} ${hashOf(await readFile(file))}`;
      }),
    );
  };
  assert.deepEqual((await files(trees[1])).sort(), (await files(trees[0])).sort());
}

/** The checkpoint and the proof of before are of it. */
async function assertSameLog(
  data: string,
  { proof, checkpoint }: { readonly proof: string; readonly checkpoint: string },
): Promise<void> {
  const log = openLogReadOnly(data) ?? assert.fail('there is no log');
  const verified = await verifyLog(log, { vkey: null, from: checkpoint, onProgress: () => undefined });
  log.close();
  assert.deepEqual(verified.faults, []);
  assert.notEqual(verified.continues, null);
  assert.equal(checkProof(proof, { key: verified.vkey ?? '', witnesses: [] }).index, 2);
}
