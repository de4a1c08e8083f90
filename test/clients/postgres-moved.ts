// lookaside migrate: a data directory as a server leaves it, and a node over the database that it was moved into.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFile, rename } from 'node:fs/promises';
import path from 'node:path';
import { it } from 'node:test';
import Database from 'better-sqlite3';
import { openAuditedLog } from '../../src/compose/audit-proof.ts';
import { systemClock } from '../../src/compose/clock.ts';
import { createLog } from '../../src/compose/log.ts';
import { migrateDirectory } from '../../src/compose/moving.ts';
import { compose } from '../../src/compose/server.ts';
import { sitesOf } from '../../src/compose/site.ts';
import { loadConfig } from '../../src/config.ts';
import type { MoveProgress } from '../../src/domain/moving.ts';
import { connect } from '../../src/postgres/connect.ts';
import { PostgresWriter } from '../../src/postgres/writer.ts';
import { createAdministration } from '../../src/service/administration.ts';
import { ADMINISTRATOR } from '../../src/service/audit.ts';
import { checkProof } from '../../src/service/log-proofs.ts';
import { verifyLog } from '../../src/service/log-verify.ts';
import { openLogReadOnly } from '../../src/sqlite/databases.ts';
import { folderOf, layImage, signatureBytes } from '../store/lay.ts';
import { imageIn } from '../store/open-store.ts';
import { describeOutcome } from './command.ts';
import type { Postgres } from './postgres.ts';
import { assertSameAnswers } from './postgres-asked.ts';
import { runLookaside } from './server.ts';
import { makeSigner, type Signer } from './signer.ts';
import { openTempFolder } from './temp-folder.ts';
import type { Uploads } from './uploads.ts';

export const taker = { command: 'test', host: 'here' };
export const quiet = createLog('error', () => undefined);
const from = { address: '192.0.2.1', requestId: null };

export function configOf(data: string, environment: Readonly<Record<string, string>> = {}) {
  const input = { flags: { data }, environment, workingFolder: '/', parseYaml: null };
  return loadConfig(input).config;
}

export async function openDirectory(data: string) {
  const config = configOf(data);
  const sites = sitesOf(config);
  const composed = await compose({ config, current: () => config, sites, log: quiet, taker });
  const about = { ...composed, clock: systemClock, about: config };
  return { composed, administration: createAdministration(about, ADMINISTRATOR) };
}

type Directory = Awaited<ReturnType<typeof openDirectory>>;

/** What the tokens, keys, signers and their like are, as commands show them. */
export async function administrationOf({
  keys,
  tokens,
  signers,
  grants,
  subjects,
}: Directory['administration']) {
  return {
    keys: await keys.list(null),
    tokens: await tokens.list(),
    signers: await signers.list(),
    grants: await grants.list(null),
    subjects: await subjects.list(null),
  };
}

export const LARGE = 20_000;

/** One of each that a state can hold; what must be the same afterwards. */
export async function fill(data: string) {
  const { composed, administration } = await openDirectory(data);
  const { keys, tokens, signers, grants, subjects } = administration;
  const names = ['kept', 'retired', 'revoked', 'gone', 'leaked'] as const;
  const all = names.map(makeSigner) as [Signer, Signer, Signer, Signer, Signer];
  const [kept, retired, revoked, gone, leaked] = all;
  await keys.add(Buffer.concat(all.map(({ certificate }) => certificate)));
  await signers.add({ name: 'team', description: 'the team' });
  await signers.add({ name: 'former', description: 'they left' });
  await signers.disable('former');
  const grant = { signer: 'team', repositories: ['team/**'], keys: [kept.fingerprint], tags: ['v*'] };
  await grants.add(grant);
  const claims = { repository: 'team/app' };
  const issuer = 'https://token.example.com';
  await subjects.add({ signer: 'team', issuer, claims } as never);
  // the numbers of those that are gone are given to nobody else
  const { id: goneGrant } = await grants.add({ ...grant, repositories: ['gone/**'] });
  await grants.remove(goneGrant);
  const subject = { signer: 'team', issuer, claims: { repository: 'team/gone' } } as never;
  const { id: goneSubject } = await subjects.add(subject);
  await subjects.remove(goneSubject);
  const { text } = await tokens.create({ name: 'ci', role: 'uploader', lifeMs: null, signer: 'team' });
  await tokens.create({ name: 'old', role: 'reader', lifeMs: 3_600_000 });
  await tokens.revoke('old');
  const { text: session } = await composed.sessions.logIn(text, from, () => undefined);
  const blobs = ['v1', 'v2', 'v3'].map((tag) => kept.sign({ repository: 'team/app', tag }));
  const others = [retired, revoked, gone].map((by) => by.sign({ repository: 'team/other', tag: by.name }));
  const late = leaked.sign({ repository: 'team/late', tag: 'v1' });
  await administration.importBatch(
    [...blobs, ...others, late].map((bytes) => ({ fileName: null, bytes })),
    { dryRun: false },
  );
  const folder = folderOf('team/app');
  await administration.withdraw({ path: `${folder}/signature-1`, reason: 'wrong image', until: null });
  await keys.retire(retired.fingerprint);
  await keys.revoke(revoked.fingerprint, { reason: 'leaked', withdraw: true, certificate: null });
  await keys.remove(gone.fingerprint);
  // ended before its signatures were withdrawn: nodes that withdraw nothing would not go on with it
  const order = { reason: 'leaked', withdraw: true, certificate: null };
  await composed.revocations.mark(leaked.fingerprint, order, { name: 'administrator', ...from });
  for (const [position, status] of [200, 200, 404, 304].entries()) {
    composed.recorder.record({
      ...{ image: imageIn(folder), number: position + 1, imageIsSigned: true, status },
      ...{ signatureSha256: status === 200 ? hashOf(blobs[1] ?? Buffer.alloc(0)) : null },
      ...{ address: `192.0.2.${8 + position}`, agent: `podman/5.${position % 2}`, bytes: 7 * position },
      token: position === 1 ? 'ci' : null,
    });
  }
  composed.recorder.record({
    ...{ image: imageIn(folderOf('team/nobody')), number: 1, imageIsSigned: false, status: 404 },
    ...{ signatureSha256: null, address: '198.51.100.1', agent: 'curl', token: null, bytes: 0 },
  });
  await composed.recorder.flush();
  for (const image of [folder, folderOf('team/other'), folderOf('team/late')])
    await composed.judge.judgeImage(imageIn(image));
  const proof = await composed.proveEvent(3);
  const checkpoint = (await composed.auditLog.checkpoint())?.note ?? '';
  await composed.tokens.writeUses();
  const before = await administrationOf(administration);
  await composed[Symbol.asyncDispose]();
  const next = { grant, goneGrant, subject, goneSubject };
  addRows(path.join(data, 'state.db'));
  return {
    kept,
    retired,
    leaked: leaked.fingerprint,
    token: text,
    session,
    proof,
    checkpoint,
    before,
    folder,
    next,
  };
}

/** Somebody has logged in through an OpenID provider, and a head of another log was cosigned. */
function addRows(file: string): void {
  const state = new Database(file);
  state.exec(`
    INSERT INTO page_session
      (id, token_id, hash, created_at_ms, expires_at_ms, issuer, identity_name, identity_shown, identity_role)
    VALUES (7000, NULL, randomblob(32), 1, 9e15, 'https://id.example.com', 'alice', 'alice', 'admin');
    INSERT INTO witnessed (origin, size, root, at_ms, note)
    VALUES ('other.example/log', 7, randomblob(32), 1, 'other.example/log
7
')`);
  state.close();
}

export interface MovedNode {
  uploads(token: string): Uploads;
  administration(): Promise<Directory['administration'] & AsyncDisposable>;
  findSession(text: string): Promise<unknown>;
  close(): Promise<void>;
}

export interface MovedTests {
  postgres(): Postgres;
  openNode(url: string, logKey: string): Promise<MovedNode>;
}

export function movedDirectoryTests({ postgres, openNode }: MovedTests): void {
  it('start over the database that a data directory was moved into, with all that it held and a log that goes on', async () => {
    await using temp = await openTempFolder();
    const data = path.join(temp.path, 'data');
    await layImage(path.join(data, 'sigstore'), 'team/laid', signatureBytes('large', LARGE));
    const filled = await fill(data);
    const url = await postgres().newDatabase();
    const logKey = await readFile(path.join(data, 'log.key'), 'utf8');
    const move = (
      onProgress: (progress: MoveProgress) => void,
      isDryRun = false,
      environment = {},
      to = url,
    ) =>
      migrateDirectory({
        ...{
          config: configOf(data, environment),
          url: to,
          isDryRun,
          withoutMirrors: false,
          taker,
          log: quiet,
          onProgress,
        },
        onScan: () => undefined,
      });

    const tried = await move(() => undefined, true);
    assert.deepEqual([tried.outcome, tried.withdrawn], ['would-move', 1]);
    const late = path.join(data, 'sigstore', folderOf('team/late'));
    const taken = await postgres().migratedDatabase();
    await postgres().query(taken, "INSERT INTO image (site, folder, generation) VALUES ('default', 'a', 1)");
    await assert.rejects(
      move(() => undefined, false, {}, taken),
      { code: 'NAME_TAKEN' },
    );
    await readFile(path.join(late, 'signature-1')); // a move that is refused withdraws nothing
    assert.deepEqual(await postgres().query(url, "SELECT to_regclass('audit_event') AS name"), [
      { name: null },
    ]);
    await assert.rejects(
      move(() => undefined, false, { LOOKASIDE_APPEND_ONLY: 'true' }),
      { code: 'APPEND_ONLY', message: new RegExp(`${filled.leaked}.*give the command without`) },
    );
    // ended in the middle: nothing of it is served, and the next run goes on
    const haltAt = (halt: string) =>
      assert.rejects(
        move(({ step, done }) => {
          if (step === halt && done > 0) throw new Error('halted');
        }),
        { message: 'halted' },
      );
    for (const halt of ['events', 'signatures']) await haltAt(halt);
    await assert.rejects(readFile(path.join(late, 'signature-1')), { code: 'ENOENT' });
    // an index that was made anew has other numbers, and so has the one of before again
    const [index, kept] = [path.join(data, 'index.db'), path.join(temp.path, 'index.db')];
    await rename(index, kept);
    await haltAt('signatures');
    await rename(kept, index);
    await haltAt('signatures');
    // rows that the run does not expect are taken out
    await postgres().query(url, "UPDATE moved_directory SET step = 'uploads', cursor = NULL");
    await haltAt('reads');
    await assert.rejects(openNode(url, logKey), { code: 'STATE_UNUSABLE', message: /migrate/ });
    await assertNothingIsWritten(url);
    const argv = ['migrate', '--data', data, '--to', url, '--json'];
    const moved = await runLookaside(argv);
    assert.equal(moved.status, 0, describeOutcome(moved));
    const report = JSON.parse(moved.stdout) as Record<string, never>;
    assert.deepEqual([report.outcome, report.isResumed, report.fillers], ['moved', true, 2]);
    assert.deepEqual(
      (({ signature, token, page_session, openpgp_key, tombstone, access_read }) => ({
        ...{ signature, token, page_session, openpgp_key, tombstone, access_read },
      }))(report.counts as unknown as Record<string, number>),
      { signature: 7, token: 2, page_session: 2, openpgp_key: 4, tombstone: 3, access_read: 5 },
    );
    assert.equal((await move(() => undefined)).outcome, 'moved-before');

    const keys = [filled.kept.fingerprint, filled.retired.fingerprint] as const;
    await assertSameAnswers({ dataDir: data, url, folder: filled.folder, keys });
    const node = await openNode(url, logKey);
    try {
      await using administration = await node.administration();
      assert.deepEqual(await administrationOf(administration), filled.before);
      assert.notEqual(await node.findSession(filled.session), null);
      await assertSameFiles(node, path.join(data, 'sigstore'), filled.folder);
      const uploads = node.uploads(filled.token);
      assert.equal((await uploads.get(`${folderOf('team/late')}/signature-1`)).status, 404);
      const large = await uploads.get(`${folderOf('team/laid')}/signature-1`);
      assert.equal(
        createHash('sha256').update(large.body).digest('hex'),
        hashOf(signatureBytes('large', LARGE)),
      );
      const [{ id: grantId }, { id: subjectId }] = [
        await administration.grants.add({ ...filled.next.grant, repositories: ['next/**'] }),
        await administration.subjects.add(filled.next.subject),
      ];
      assert.ok(grantId > filled.next.goneGrant && subjectId > filled.next.goneSubject);
      const next = filled.kept.sign({ repository: 'team/app', tag: 'v4' });
      const added = await uploads.post(filled.folder, next);
      assert.deepEqual([added.status, added.receipt?.number], [201, 4]);
      const again = await uploads.post(
        filled.folder,
        filled.kept.sign({ repository: 'team/app', tag: 'v1' }),
      );
      assert.equal(again.code, 'WITHDRAWN');
      assert.deepEqual((await administration.fsck({ repair: false })).findings, []);
      const of = (repository: string) => `(SELECT id FROM image WHERE folder LIKE '${repository}@%')`;
      await postgres().query(url, `UPDATE blob SET bytes = 'other' WHERE image_id = ${of('team/laid')}`);
      await postgres().query(url, `DELETE FROM signature WHERE number = 3 AND image_id = ${of('team/app')}`);
      const { findings } = await administration.fsck({ repair: false });
      const kinds = findings.map(
        ({ kind, path: problemPath }) => `${kind} ${problemPath.split('@')[0]} ${problemPath.at(-1)}`,
      );
      assert.deepEqual(kinds.filter((one) => !one.startsWith('lost')).sort(), [
        'behind-gap team/app 4',
        'changed team/laid 1',
      ]);
    } finally {
      await node.close();
    }
    await assertLogGoesOn(url, data, filled);
  });
}

const hashOf = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

async function assertSameFiles(node: MovedNode, root: string, folder: string): Promise<void> {
  for (const number of [1, 2, 3]) {
    const { status, body } = await node.uploads('').get(`${folder}/signature-${number}`);
    const file = await readFile(path.join(root, folder, `signature-${number}`));
    assert.deepEqual([status, hashOf(body)], [200, hashOf(file)]);
  }
}

/** A node that had started before the move was begun has found nothing in its way then. */
async function assertNothingIsWritten(url: string): Promise<void> {
  const connections = connect({ url, isPatient: true });
  try {
    const writing = new PostgresWriter(connections).run(async () => undefined);
    await assert.rejects(writing, { code: 'STATE_UNUSABLE', message: /migrate/ });
    const settings = await connections.query(`
      SELECT current_setting('statement_timeout') AS statement,
        current_setting('idle_in_transaction_session_timeout') AS idle`);
    assert.deepEqual(settings, [{ statement: '0', idle: '1min' }]);
  } finally {
    await connections.close();
  }
}

/** Both databases hold one log, which the checkpoint and the proof of before are of. */
async function assertLogGoesOn(
  url: string,
  data: string,
  { proof, checkpoint }: { readonly proof: string; readonly checkpoint: string },
): Promise<void> {
  const environment = { LOOKASIDE_DATABASE: url };
  const { config } = loadConfig({ flags: {}, environment, workingFolder: '/', parseYaml: null });
  // as audit verify opens it
  await using opened = await openAuditedLog(config, { patienceMs: 0, onRetry: () => undefined } as never);
  const options = { vkey: null, from: checkpoint, onProgress: () => undefined };
  const now = await verifyLog(opened, options);
  const log = openLogReadOnly(data);
  const before = await verifyLog(log ?? assert.fail('there is no log'), options);
  log?.close();
  assert.deepEqual([now.faults, before.faults], [[], []]);
  assert.ok(now.size > before.size);
  assert.equal(now.continues, before.continues);
  assert.notEqual(now.continues, null);
  assert.equal(checkProof(proof, { key: now.vkey ?? '', witnesses: [] }).index, 2);
  assert.notEqual(await opened.servedSha256(imageIn(folderOf('team/app')), 2), null);
}
