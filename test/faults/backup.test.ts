// Backups beside a running server, and what is restored from them: whole whatever happens meanwhile, or refused by name.
import assert from 'node:assert/strict';
import { appendFile, cp, mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { getPriority } from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { backUp as composedBackUp, restore as composedRestore } from '../../src/compose/offline.ts';
import { sitesOf } from '../../src/compose/site.ts';
import { type Config, loadConfig } from '../../src/config.ts';
import { forEachConcurrently } from '../../src/domain/concurrency.ts';
import { isLookasideError } from '../../src/domain/errors.ts';
import { connect } from '../../src/sqlite/connect.ts';
import { needs } from '../clients/available.ts';
import { describeOutcome, type Outcome, run, startBackground } from '../clients/command.ts';
import { eventually } from '../clients/eventually.ts';
import { lookaside, runLookaside, startServer } from '../clients/server.ts';
import { enrol, makeSigner, type Signer } from '../clients/signer.ts';
import { openTempFolder, type TempFolder } from '../clients/temp-folder.ts';
import { takenAs, uploadsTo } from '../clients/uploads.ts';
import { folderOf, layImage, signatureBytes } from '../store/lay.ts';
import { percentile } from './percentile.ts';
import { count, isFull, promise } from './promise.ts';
import { type Attempt, assertWholeOrAbsent, numberOf } from './upload-witness.ts';
import { beginUploads } from './uploaders.ts';

const BACKUPS = count(6, 1);
const KILLS = count(10, 2);
const IMAGES = count(400, 20);

/** Enough of an old upload to be told apart from new ones. */
const SETTINGS = { LOOKASIDE_MIN_FREE: '1KiB' };

let temp: TempFolder;
/** A data directory with a token, a key and IMAGES signatures in its tree. */
let template: string;
let signer: Signer;
let token: string;

before(async () => {
  temp = await openTempFolder();
  template = path.join(temp.path, 'template');
  await mkdir(template);
  signer = makeSigner('alice');
  token = await enrol(template, signer);
  for (let image = 0; image < IMAGES; image += 1) {
    // some are too large to be kept in the index
    const bytes = signatureBytes(`old-${image}`, image % 10 === 0 ? 20_000 : 600);
    await layImage(path.join(template, 'sigstore'), `old/app-${image}`, bytes);
  }
  assertDone(await runLookaside(['reindex', '--data', template]));
});

after(() => temp?.[Symbol.asyncDispose]());

let scenes = 0;

interface Scene {
  readonly data: string;
  readonly backup: string;
  /** A place that is not there yet. */
  readonly restored: string;
}

async function openScene(): Promise<Scene> {
  scenes += 1;
  const folder = path.join(temp.path, `scene-${scenes}`);
  const data = path.join(folder, 'data');
  await cp(template, data, { recursive: true });
  return { data, backup: path.join(folder, 'backup'), restored: path.join(folder, 'restored') };
}

/** As the command line does it. */
const runBackup = ({ data, backup }: Scene) => runLookaside(['backup', backup, '--data', data]);
const runRestore = ({ restored, backup }: Scene) => runLookaside(['restore', backup, '--data', restored]);

const TAKER = { command: 'backup.test.ts', host: 'box' };

function configOf(data: string): Config {
  return loadConfig({ flags: { data }, environment: {}, workingFolder: '/', parseYaml: null }).config;
}

/** In this process, which takes far less time. */
function backUp({ data, backup }: Scene): Promise<Outcome> {
  const request = { folder: backup, version: '0', taker: TAKER, onProgress: () => undefined };
  return outcomeOf(() => composedBackUp({ data, sites: sitesOf(configOf(data)), ...request }));
}

function restore({ restored, backup }: Scene): Promise<Outcome> {
  const request = { folder: backup, taker: TAKER, onProgress: () => undefined };
  return outcomeOf(() => composedRestore({ data: restored, sites: sitesOf(configOf(restored)), ...request }));
}

async function outcomeOf(act: () => Promise<object>): Promise<Outcome> {
  const commandLine = 'in this process';
  try {
    return { commandLine, status: 0, stdout: JSON.stringify(await act()), stderr: '' };
  } catch (error) {
    if (!isLookasideError(error)) throw error;
    const status = error.code === 'CONFIG_INVALID' ? 2 : 1;
    return { commandLine, status, stdout: '', stderr: error.message };
  }
}

function assertDone(outcome: Outcome): void {
  assert.equal(outcome.status, 0, describeOutcome(outcome));
}

function assertRefused(outcome: Outcome, status: number, why: RegExp): void {
  assert.equal(outcome.status, status, describeOutcome(outcome));
  assert.match(outcome.stderr, why);
}

async function treeOf(data: string): Promise<readonly string[]> {
  const tree = path.join(data, 'sigstore');
  const names = await readdir(tree, { recursive: true, withFileTypes: true });
  const files = names.filter((entry) => entry.isFile() && !entry.parentPath.includes('.lookaside'));
  const lines = files.map(async ({ parentPath, name }) => {
    const file = path.join(parentPath, name);
    return `${path.relative(tree, file)} ${(await readFile(file)).toString('hex')}`;
  });
  return (await Promise.all(lines)).sort();
}

async function assertSameTree(one: string, other: string): Promise<void> {
  const trees = [await treeOf(one), await treeOf(other)] as const;
  assert.ok(trees[0].length > 0);
  assert.deepEqual(trees[0], trees[1]);
}

async function assertFsckFindsNothing(data: string): Promise<void> {
  assertDone(await runLookaside(['fsck', '--data', data]));
}

/** The numbers of the audit events, which have no holes; what the next one would be. */
function nextAuditSeq(data: string): number {
  const db = connect(path.join(data, 'state.db'), { readonly: true });
  try {
    const rows = db.prepare<[], number>('SELECT seq FROM audit_event ORDER BY seq').pluck().all();
    assert.deepEqual(
      rows,
      rows.map((_, position) => position + 1),
    );
    return rows.length + 1;
  } finally {
    db.close();
  }
}

const UNDER_UPLOADS = {
  id: 'P17',
  what: 'backups beside a server under 8 uploaders are whole: restored elsewhere, all acknowledged before each began is served',
  wanted: `0 lost, 0 torn, fsck and integrity_check clean, in each of ${BACKUPS} backups into one folder`,
} as const;

promise(UNDER_UPLOADS, async (see) => {
  const scene = await openScene();
  await using server = await startServer({ data: scene.data, settings: SETTINGS });
  const uploaders = beginUploads(server, { signer, token });
  const made: {
    readonly backup: string;
    readonly before: readonly Attempt[];
    readonly during: readonly Attempt[];
  }[] = [];
  try {
    for (let number = 0; number < BACKUPS; number += 1) {
      await uploaders.more(16);
      const before = [...uploaders.acknowledged];
      assertDone(await runBackup(scene));
      const backup = `${scene.backup}-${number}`;
      await cp(scene.backup, backup, { recursive: true });
      made.push({ backup, before, during: [...uploaders.sent] });
    }
  } finally {
    await uploaders.stop();
  }
  let [checked, restores] = [0, 0];
  for (const { backup, before, during } of made) {
    const place = { ...scene, backup };
    assertDone(await runRestore(place));
    await assertRestored(place, before, during);
    checked += before.length;
    restores += 1;
    await rm(place.restored, { recursive: true });
  }
  see(`0 lost, 0 torn of ${checked} in ${restores} restored backups`);
});

/** All of `before` is there with its provenance, and each of `during` whole or absent. */
async function assertRestored(
  { data, restored }: Scene,
  before: readonly Attempt[],
  during: readonly Attempt[],
): Promise<void> {
  await using server = await startServer({ data: restored, settings: SETTINGS });
  const uploads = uploadsTo(server.port, token);
  const known = new Set(before);
  const sent = during.map((attempt) => (known.has(attempt) ? attempt : { ...attempt, receipt: null }));
  await assertWholeOrAbsent(restored, uploads, sent);
  for (const attempt of before) assert.notEqual(await numberOf(restored, attempt), null);
  const next = nextAuditSeq(restored);
  assert.ok(next <= nextAuditSeq(data));
  const attempt = signer.sign({ repository: 'after/restore', tag: 'v1' });
  const { auditSeq } = takenAs(await uploads.post(folderOf('after/restore'), attempt), 201);
  assert.equal(auditSeq, next, 'the numbers of audit events go on');
  await server.stop();
  await assertFsckFindsNothing(restored);
}

const FILES = 100_000;
const LAID_AT_ONCE = 16;
const RESTORE_MS = 60_000;
const SLOWER = 2;
const DEADLINE_MS = 20 * 60_000;

const LARGE = {
  id: 'P17',
  what: `a backup of ${FILES} signatures does not hold up uploads, and is restored soon`,
  wanted: `p99 of 8 uploaders < ${SLOWER} × that without it; restored in ≤ ${RESTORE_MS / 1000} s, fsck clean`,
} as const;

for (const promised of isFull ? [LARGE] : [])
  promise(promised, async (see) => {
    const scene = await openScene();
    const numbers = Array.from({ length: FILES }, (_, number) => number);
    await forEachConcurrently(numbers, LAID_AT_ONCE, async (number) => {
      const bytes = signatureBytes(`many-${number}`, 600);
      await layImage(path.join(scene.data, 'sigstore'), `many-${number % 100}/app-${number}`, bytes);
    });
    const command = async (...args: readonly string[]) => {
      const startedMs = performance.now();
      const surroundings = { env: { PATH: process.env.PATH ?? '' }, deadlineMs: DEADLINE_MS };
      assertDone(await run(lookaside(...args), surroundings));
      return performance.now() - startedMs;
    };
    await command('reindex', '--data', scene.data);
    await using server = await startServer({ data: scene.data, settings: SETTINGS });
    // it holds up uploads too
    await eventually(() => assert.match(server.output(), /the tree was scanned/), DEADLINE_MS);
    const uploaders = beginUploads(server, { signer, token });
    let [aloneMs, besideMs]: (readonly number[])[] = [[], []];
    let backupMs = 0;
    try {
      await uploaders.more(200); // until its code is compiled
      const begun = uploaders.acknowledged.length;
      await uploaders.more(800);
      const alone = uploaders.acknowledged.length;
      backupMs = await command('backup', scene.backup, '--data', scene.data);
      const tookMs = uploaders.acknowledged.map((attempt) => uploaders.tookMs(attempt));
      [aloneMs, besideMs] = [tookMs.slice(begun, alone), tookMs.slice(alone)];
    } finally {
      await uploaders.stop();
    }
    await server.stop();
    const restoreMs = await command('restore', scene.backup, '--data', scene.restored);
    const [alone, beside] = [percentile(aloneMs, 99), percentile(besideMs, 99)];
    const seconds = (ms: number) => `${(ms / 1000).toFixed(1)} s`;
    see(
      `p99 ${Math.round(beside)} ms beside a backup of ${seconds(backupMs)} (${besideMs.length} uploads), ${Math.round(alone)} ms without; restored in ${seconds(restoreMs)}`,
    );
    await assertFsckFindsNothing(scene.restored);
    assert.ok(besideMs.length >= 100);
    assert.ok(beside < SLOWER * alone);
    assert.ok(restoreMs <= RESTORE_MS);
  });

const KILLED = {
  id: 'P17',
  what: 'a backup or restore that is killed passes for no whole one, and ends when it is run again',
  wanted: `${KILLS} of ${KILLS} kills of each refused by name, then whole`,
} as const;

/** Kills the command at the n-th call of this kind; false when it ended before. */
async function killedAt(n: number, calls: string, argv: readonly string[]): Promise<boolean> {
  const [program, ...args] = lookaside(...argv);
  const inject = ['-e', `trace=${calls}`, '-e', `inject=${calls}:signal=KILL:when=${n}`];
  const strace = ['strace', '-f', '-qq', '-o', '/dev/null', ...inject, program, ...args] as const;
  const process_ = await startBackground(
    ['sh', '-c', 'echo begun; exec "$@"', 'sh', ...strace],
    { env: { PATH: process.env.PATH ?? '' } },
    /begun/,
  );
  return (await process_.ended) !== 0;
}

for (const promised of isFull ? [KILLED] : [])
  promise({ ...promised, ...needs('strace') }, async (see) => {
    const scene = await openScene();
    let [backups, restores] = [0, 0];
    // the calls: one fsync a thread is far from the next, so that few are passed over
    for (let kill = 0; kill < KILLS; kill += 1) {
      await rm(scene.backup, { recursive: true, force: true });
      const isKilled = await killedAt(1 + kill * 3, '?fsync', ['backup', scene.backup, '--data', scene.data]);
      if (!isKilled) break;
      assertRefused(await restore(scene), 1, /was not finished|holds no backup/);
      assert.equal(await stat(scene.restored).catch(() => null), null, 'nothing was written');
      backups += 1;
    }
    assertDone(await backUp(scene));
    for (let kill = 0; kill < KILLS; kill += 1) {
      await rm(scene.restored, { recursive: true, force: true });
      await mkdir(scene.restored); // else it is made and synced first, and then nothing of the backup is there yet
      const isKilled = await killedAt(1 + kill * 3, '?fsync', [
        'restore',
        scene.backup,
        '--data',
        scene.restored,
      ]);
      if (!isKilled) break;
      const served = await runLookaside(['serve', '--data', scene.restored, '--listen', '127.0.0.1:0']);
      assertRefused(served, 1, /half filled.*lookaside restore/);
      assertDone(await restore(scene));
      await assertSameTree(scene.data, scene.restored);
      restores += 1;
    }
    assert.ok(backups > 1 && restores > 1, 'they were killed in the middle');
    await assertFsckFindsNothing(scene.data);
    see(`${backups} killed backups and ${restores} killed restores, all refused, all whole the second time`);
  });

describe('a backup', () => {
  test(
    'brings an older one up to date, which stays whole until the new one is finished',
    needs('strace'),
    async () => {
      const scene = await openScene();
      assertDone(await backUp(scene));
      await layImage(path.join(scene.data, 'sigstore'), 'later/app', signatureBytes('later', 700));
      assertDone(await runLookaside(['reindex', '--data', scene.data]));
      assert.ok(await killedAt(2, '?fsync', ['backup', scene.backup, '--data', scene.data]));
      assertDone(await restore(scene));
      await assertSameTree(template, scene.restored);
      const again = await runLookaside(['backup', scene.backup, '--data', scene.data, '--json']);
      assertDone(again);
      const { copied, signatures } = JSON.parse(again.stdout);
      assert.deepEqual([copied <= 1, signatures.count], [true, IMAGES + 1]);
      await rm(scene.restored, { recursive: true });
      assertDone(await restore(scene));
      await assertSameTree(scene.data, scene.restored);
      const parts = (await readdir(scene.backup)).filter((name) => /^(?:state|signatures)-/.test(name));
      assert.equal(parts.length, 2, 'what was left of the others is gone');
    },
  );

  test(
    'leaves the processor to the server, unless it was begun with less priority still',
    needs('strace'),
    async () => {
      const scene = await openScene();
      const log = path.join(temp.path, 'setpriority');
      const traced = ['strace', '-f', '-qq', '-e', 'trace=setpriority', '-o', log] as const;
      const priorities = [
        [9, /setpriority\(PRIO_PROCESS, 0, 10\) += 0/],
        [11, /^$/],
      ] as const;
      // a command under strace takes seconds
      for (const [nice, expected] of priorities.slice(0, count(2, 1))) {
        const begun = [
          'nice',
          '-n',
          `${nice - getPriority()}`,
          ...traced,
          ...lookaside('backup', scene.backup),
        ] as const;
        const surroundings = { env: { PATH: process.env.PATH ?? '', LOOKASIDE_DATA: scene.data } };
        assertDone(await run(begun, surroundings));
        assert.match(await readFile(log, 'utf8'), expected);
      }
    },
  );

  test('is read by nobody else, and can be checked without lookaside', async () => {
    const scene = await openScene();
    assertDone(await backUp(scene));
    assert.equal((await stat(scene.backup)).mode & 0o777, 0o700);
    const state = (await readdir(scene.backup)).find((name) => name.startsWith('state-')) ?? '';
    assert.equal((await stat(path.join(scene.backup, state))).mode & 0o777, 0o600);
    const check = ['sh', '-c', 'sha256sum --quiet --strict -c signatures-*.sha256'] as const;
    assertDone(await run(check, { cwd: scene.backup, env: { PATH: process.env.PATH ?? '' } }));
    await assertSameTree(scene.data, scene.backup);
  });

  test('has the recorded bytes of a file that was damaged, and leaves out what is lost by name', async () => {
    const scene = await openScene();
    const tree = path.join(scene.data, 'sigstore');
    const [small, large] = [folderOf('old/app-1'), folderOf('old/app-10')];
    await appendFile(path.join(tree, small, 'signature-1'), 'x');
    await appendFile(path.join(tree, large, 'signature-1'), 'x');
    const outcome = await runBackup(scene);
    assert.equal(outcome.status, 1, describeOutcome(outcome));
    assert.match(outcome.stdout, /left out {2}old\/app-10@sha256=[0-9a-f]{64}\/signature-1/);
    assertDone(await restore(scene));
    const names = await treeOf(scene.restored);
    assert.deepEqual(
      names,
      (await treeOf(template)).filter((line) => !line.startsWith(large)),
    );
  });

  test('takes what an earlier one there still has of a file that was damaged since', async () => {
    const scene = await openScene();
    assertDone(await backUp(scene));
    await appendFile(path.join(scene.data, 'sigstore', folderOf('old/app-10'), 'signature-1'), 'x');
    assertDone(await backUp(scene));
    assertDone(await restore(scene));
    await assertSameTree(template, scene.restored);
  });

  test('is refused in a folder that holds other things, or in the data directory', async () => {
    const scene = await openScene();
    await mkdir(scene.backup);
    await writeFile(path.join(scene.backup, 'thesis.tex'), 'text');
    assertRefused(await backUp(scene), 2, /holds thesis\.tex/);
    assert.deepEqual(await readdir(scene.backup), ['thesis.tex']);
    const within = path.join(scene.data, 'backup');
    assertRefused(await runBackup({ ...scene, backup: within }), 2, /lost together with it/);
    const nothing = await backUp({ ...scene, data: scene.restored, backup: `${scene.backup}-2` });
    assertRefused(nothing, 2, /no state\.db/);
  });
});

const SPOILT: readonly (readonly [what: string, find: RegExp, named: RegExp])[] = [
  ['a signature', /^sigstore\/old\/app-7@.*signature-1$/, /sigstore\/old\/app-7@.* has other bytes/],
  ['the list', /^signatures-/, /is not the list that was written/],
  ['state.db', /^state-/, /state-.* has other bytes/],
  ['backup.json', /^backup\.json$/, /backup\.json is not what/],
];

describe('a restore', () => {
  for (const [what, find, named] of SPOILT) {
    test(`of a backup with one flipped bit in ${what} is refused by name and leaves nothing`, async () => {
      const scene = await openScene();
      assertDone(await backUp(scene));
      const name = (await readdir(scene.backup, { recursive: true })).find((each) => find.test(each));
      const file = path.join(scene.backup, name ?? '');
      const bytes = await readFile(file);
      // of the manifest: its opening brace
      const at = what === 'backup.json' ? 0 : bytes.length >> 1;
      bytes[at] = (bytes[at] ?? 0) ^ 1;
      await writeFile(file, bytes);
      assertRefused(await restore(scene), 1, named);
      const left = (await readdir(scene.restored).catch(() => [])).filter((each) => each !== 'lock');
      assert.deepEqual(left, []);
      await rm(file);
      assertRefused(await restore(scene), 1, /is damaged|no backup\.json|was not finished/);
    });
  }

  test('into a folder with anything in it is refused, and changes nothing there', async () => {
    const scene = await openScene();
    assertDone(await backUp(scene));
    const before = await treeOf(scene.data);
    assertRefused(
      await restore({ ...scene, restored: scene.data }),
      2,
      /holds .*, and only an empty folder is filled/,
    );
    assert.deepEqual(await treeOf(scene.data), before);
    await using server = await startServer({ data: scene.data });
    assertRefused(
      await restore({ ...scene, restored: scene.data }),
      1,
      new RegExp(`in use by lookaside serve \\(process ${server.pid} `),
    );
  });

  test('puts back tokens and keys, and of a shared tree what state.db keeps', async () => {
    const scene = await openScene();
    const root = path.join(temp.path, 'shared');
    const shared = ['--data', scene.data, '--root', root];
    await using server = await startServer({ data: scene.data, root, settings: SETTINGS });
    const bytes = signer.sign({ repository: 'team/app', tag: 'v1' });
    takenAs(await uploadsTo(server.port, token).post(folderOf('team/app'), bytes), 201);
    assertDone(await runLookaside(['backup', scene.backup, ...shared]));
    await server.stop();
    assertRefused(await restore(scene), 2, /made beside a shared tree/);
    assertDone(await runLookaside(['restore', scene.backup, '--data', scene.restored, '--root', root]));
    const answers = ['token', 'key'].map(async (what) => {
      const lists = [scene.data, scene.restored].map(async (data) => {
        const { stdout } = await runLookaside([what, 'list', '--data', data, '--json']);
        // a use is written when the server stops, and so after the backup
        return stdout.replace(/"lastUsedAt": "[^"]*"/g, `"lastUsedAt": null`);
      });
      const [one = '', other] = await Promise.all(lists);
      assert.equal(one, other);
      return one;
    });
    assert.match((await Promise.all(answers)).join(''), /alice/);
    await using again = await startServer({ data: scene.restored, root });
    const read = await uploadsTo(again.port, token).get(`${folderOf('team/app')}/signature-1`);
    assert.ok(read.status === 200 && read.body.equals(bytes));
  });
});

test('a state.db that is corrupt stops the start with the command that puts a backup in its place', async () => {
  const scene = await openScene();
  assertDone(await backUp(scene));
  const file = path.join(scene.data, 'state.db');
  const bytes = await readFile(file);
  bytes.fill('damage', 4096, 8192);
  await writeFile(file, bytes);
  const advice = `lookaside restore DIR --data ${scene.data}`;
  for (const command of [
    ['serve', '--listen', '127.0.0.1:0'],
    ['token', 'revoke', 'alice'],
  ]) {
    const outcome = await runLookaside([...command, '--data', scene.data]);
    assertRefused(outcome, 1, /state\.db is damaged/);
    assert.ok(outcome.stderr.includes(advice), outcome.stderr);
  }
  const failed = await backUp(scene);
  assertRefused(failed, 1, /malformed|damaged/);
  assertDone(await restore(scene));
  await assertSameTree(scene.data, scene.restored);
});
