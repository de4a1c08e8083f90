// lookaside migrate --from: a data directory that was moved into a database, and back into another directory, is the same as before.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { it } from 'node:test';
import Database from 'better-sqlite3';
import { fsckReadOnly } from '../../src/compose/offline.ts';
import { sitesOf } from '../../src/compose/site.ts';
import { COUNTED } from '../../src/domain/moved-tables.ts';
import { checkProof } from '../../src/service/log-proofs.ts';
import { verifyLog } from '../../src/service/log-verify.ts';
import { openLogReadOnly } from '../../src/sqlite/databases.ts';
import { folderOf, layImage, signatureBytes } from '../store/lay.ts';
import { imageIn } from '../store/open-store.ts';
import { describeOutcome } from './command.ts';
import type { Postgres } from './postgres.ts';
import { assertSameAnswers } from './postgres-asked.ts';
import { configOf, fill, LARGE, openDirectory, quiet, administrationOf } from './postgres-moved.ts';
import { administer, type Node, PEM } from './postgres-node.ts';
import { runLookaside, startServer } from './server.ts';
import { makeSigner } from './signer.ts';
import { openTempFolder } from './temp-folder.ts';
import { takenAs, type Uploads, uploadsTo } from './uploads.ts';

export interface MovedBackTests {
  postgres(): Postgres;
  openNode(url: string, logKey: string): Promise<Node>;
}

export function movedBackTests({ postgres, openNode }: MovedBackTests): void {
  it('leave a data directory as it was, when it is moved into the database and back', async () => {
    await using temp = await openTempFolder();
    const [data, back] = [path.join(temp.path, 'data'), path.join(temp.path, 'back')];
    await layImage(path.join(data, 'sigstore'), 'team/laid', signatureBytes('large', LARGE));
    const filled = await fill(data);
    const url = await postgres().newDatabase();
    const moved = await runLookaside(['migrate', '--data', data, '--to', url]);
    assert.equal(moved.status, 0, describeOutcome(moved));

    const logKey = await readFile(path.join(data, 'log.key'), 'utf8');
    const withKey = { LOOKASIDE_LOG_KEY_FILE: path.join(data, 'log.key') };
    const fetchInto = (folder: string, settings: Readonly<Record<string, string>>, ...more: string[]) =>
      runLookaside(['migrate', '--from', url, '--data', folder, ...more], settings);
    const refused = async (
      run: ReturnType<typeof fetchInto>,
      reason: RegExp,
      left: readonly string[] | null,
    ) => {
      const { status, stderr } = await run;
      assert.notEqual(status, 0, stderr);
      assert.match(stderr, reason);
      if (left !== null) assert.deepEqual((await readdir(back)).filter(isContent), left);
    };
    // what is refused leaves nothing behind
    await refused(fetchInto(back, {}), /LOOKASIDE_LOG_KEY_FILE is not set/, []);
    await refused(fetchInto(data, withKey), /holds .*only an empty folder is filled/, []);
    await refused(fetchInto(data, withKey, '--dry-run'), /only an empty folder is filled/, []);
    const node = await openNode(url, logKey);
    await refused(fetchInto(back, withKey), /a node runs over this database/, []);
    const tried = await fetchInto(back, withKey, '--dry-run', '--json');
    await node.close();
    assert.equal(JSON.parse(tried.stdout).outcome, 'would-move');
    assert.deepEqual((await readdir(back)).filter(isContent), []);
    const whole = "UPDATE blob SET bytes = bytes || 'x' WHERE image_id = (SELECT max(id) FROM image)";
    await postgres().query(url, whole);
    await refused(fetchInto(back, withKey), /other bytes in the database than its hash says/, []);
    await postgres().query(url, whole.replace("bytes || 'x'", 'substr(bytes, 1, length(bytes) - 1)'));
    // one that was cut short begins anew, and no server starts on it meanwhile
    await mkdir(path.join(back, 'access'));
    for (const name of ['state.db.restoring', 'index.db', 'access/2020-01-01.db', 'state.db.restoring-wal'])
      await writeFile(path.join(back, name), '');
    const halted = await runLookaside(['serve', '--data', back, '--listen', '127.0.0.1:0']);
    assert.match(halted.stderr, /is half filled: .*lookaside migrate --from/);

    const done = await fetchInto(back, withKey);
    assert.equal(done.status, 0, describeOutcome(done));
    assert.match(done.stdout, /^moved: 5 signatures of .*\ncompared: every count/);
    assert.equal((await stat(path.join(back, 'log.key'))).mode & 0o777, 0o600);
    await assertSameDirectories(data, back);
    const keys = [filled.kept.fingerprint, filled.retired.fingerprint] as const;
    await assertSameAnswers({ dataDir: back, url, folder: filled.folder, keys });
    await assertSameLog(back, filled);
    const config = configOf(back);
    const fsck = { data: back, sites: sitesOf(config), log: quiet, onProgress: () => undefined };
    const { findings } = await fsckReadOnly({ ...fsck, data: data, sites: sitesOf(configOf(data)) });
    assert.deepEqual((await fsckReadOnly(fsck)).findings, findings);

    const directory = await openDirectory(back);
    assert.deepEqual(await administrationOf(directory.administration), filled.before);
    assert.notEqual(await directory.composed.sessions.find(filled.session), null);
    const grant = await directory.administration.grants.add({
      ...filled.next.grant,
      repositories: ['next/**'],
    });
    assert.ok(grant.id > filled.next.goneGrant);
    await directory.composed[Symbol.asyncDispose]();

    await using server = await startServer({ data: back });
    const uploads = uploadsTo(server.port, filled.token);
    for (const number of [1, 2, 3]) {
      const { status, body } = await uploads.get(`${filled.folder}/signature-${number}`);
      const file = await readFile(path.join(data, 'sigstore', filled.folder, `signature-${number}`));
      assert.deepEqual([status, hashOf(body)], [200, hashOf(file)]);
    }
    const next = filled.kept.sign({ repository: 'team/app', tag: 'v4' });
    const added = await uploads.post(filled.folder, next);
    assert.deepEqual([added.status, added.receipt?.number], [201, 4]);
    const again = filled.kept.sign({ repository: 'team/app', tag: 'v1' });
    assert.equal((await uploads.post(filled.folder, again)).code, 'WITHDRAWN');
    await server.stop();
  });

  it('are moved into a data directory with what they have taken themselves', async () => {
    await using temp = await openTempFolder();
    const back = path.join(temp.path, 'back');
    const url = await postgres().migratedDatabase();
    const nodes = [await openNode(url, PEM), await openNode(url, PEM)] as const;
    const signer = makeSigner('moving');
    await using administration = await administer(url);
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
    const served = await bytesOf(nodes[1].uploads(''), folder);
    for (const node of nodes) await node.close();
    await postgres().query(url, `INSERT INTO access_dropped VALUES (${Date.now()}, 3), (5000, 4)`);

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
    const config = configOf(back);
    const fsck = { data: back, sites: sitesOf(config), log: quiet, onProgress: () => undefined };
    assert.deepEqual((await fsckReadOnly(fsck)).findings, []);
    await using server = await startServer({ data: back });
    const uploads = uploadsTo(server.port, text);
    assert.deepEqual(await bytesOf(uploads, folder), served);
    // what is withdrawn for a time comes back by itself, so its bytes are there
    const [buried] = rowsOf(back, 'state.db', 'SELECT bytes FROM tombstone WHERE until_ms IS NOT NULL');
    assert.ok((buried as { bytes: Buffer }).bytes.length > 0);
    const again = await uploads.post(folder, signer.sign({ repository: 'team/moving', tag: 'v4' }));
    assert.equal(takenAs(again, 201).number, 4);
    await server.stop();
  });
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
  same('index.db', 'SELECT * FROM folder_entry ORDER BY folder, sort_key');
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
