// What the process that owns a data directory writes into its log.
import assert from 'node:assert/strict';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import type { Worker } from 'node:worker_threads';
import Database from 'better-sqlite3';
import { inBoundTree } from '../../src/compose/bound-tree.ts';
import { compose } from '../../src/compose/server.ts';
import { sitesOf } from '../../src/compose/site.ts';
import { loadConfig } from '../../src/config.ts';
import { ADMINISTRATOR } from '../../src/service/audit.ts';
import { openTempFolder } from '../clients/temp-folder.ts';
import { createLog } from '../service/hand-driven.ts';
import { change } from '../sqlite/scratch.ts';
import { layFile, layImage, signatureBytes } from '../store/lay.ts';
import { imageIn } from '../store/open-store.ts';

const UNVERIFIABLE = 30;
const TEXTS = 25;
/** Of SQLite. */
const PAGE_BYTES = 4096;

test('a start over a tree of files that verify nothing names ten of each kind, and counts the others in one line', async () => {
  await using temp = await openTempFolder();
  const root = path.join(temp.path, 'sigstore');
  for (let number = 0; number < UNVERIFIABLE; number += 1)
    await layImage(root, `bad/app-${number}`, signatureBytes(`image ${number}`));
  for (let number = 0; number < TEXTS; number += 1)
    await layFile(root, `text@sha256=${`${number}`.padStart(64, '0')}/signature-1`, 'a text');
  const { config } = loadConfig({
    flags: { data: temp.path },
    environment: {},
    workingFolder: temp.path,
    parseYaml: null,
  });
  const log = createLog();
  const taker = { command: 'test', host: 'here' };
  const composed = await compose({ config, current: () => config, sites: sitesOf(config), log, taker });
  composed.judge.start();
  await composed.upkeep.reindex({ acceptDamage: false });
  await composed.judge.settled();
  await composed[Symbol.asyncDispose]();
  const warned = log.lines.filter(({ level }) => level === 'warn');
  const linesWith = (name: string) => warned.filter(({ fields }) => name in fields).length;
  assert.deepEqual([linesWith('code'), linesWith('problem')], [10, 10]);
  const sums = warned.flatMap(({ fields, message }) => ('more' in fields ? [[fields.more, message]] : []));
  assert.equal(warned.length, 22, JSON.stringify(warned));
  const listed = sums.map(([more, message]) => [more, /all of them: (.*)$/.exec(`${message}`)?.[1]]);
  assert.deepEqual(
    new Set(listed.map((each) => each.join())),
    new Set([
      `${UNVERIFIABLE - 10},GET /api/v1/signatures?state=bad and ?state=unreadable`,
      `${TEXTS - 10},lookaside fsck`,
    ]),
  );
});

test('a thread that looks at images is there for the first reads of a tree that is not recorded, and for no other start', async () => {
  await using temp = await openTempFolder();
  const { config } = loadConfig({
    flags: { data: temp.path },
    environment: {},
    workingFolder: temp.path,
    parseYaml: null,
  });
  /** How many such threads a start begins: no other has so little room for what is young. */
  async function begun(act: (composed: Awaited<ReturnType<typeof compose>>) => Promise<unknown>) {
    let count = 0;
    const onWorker = ({ resourceLimits }: Worker) => {
      count += resourceLimits?.maxYoungGenerationSizeMb === 4 ? 1 : 0;
    };
    process.on('worker', onWorker);
    const taker = { command: 'test', host: 'here' };
    const options = { config, current: () => config, sites: sitesOf(config), log: createLog(), taker };
    const composed = await compose(options);
    await act(composed);
    await composed[Symbol.asyncDispose]();
    process.off('worker', onWorker);
    return count;
  }
  assert.equal(await begun(async () => undefined), 0, 'nothing is there');
  await layImage(path.join(temp.path, 'sigstore'), 'team/app', signatureBytes('one'));
  assert.equal(await begun(({ upkeep }) => upkeep.reindex({ acceptDamage: false })), 1);
  assert.equal(await begun(async () => undefined), 0, 'all is recorded');
});

test('only what serves log-ins reads LOOKASIDE_OIDC_LOGIN: a command may not be able to read its secrets', async () => {
  await using temp = await openTempFolder();
  const environment = {
    LOOKASIDE_OIDC_LOGIN: '/nowhere/log-in.yaml',
    LOOKASIDE_PUBLIC_URL: 'https://signatures.example.com',
  };
  const flags = { data: temp.path };
  const { config } = loadConfig({ flags, environment, workingFolder: temp.path, parseYaml: null });
  const taker = { command: 'test', host: 'here' };
  const options = { config, current: () => config, sites: sitesOf(config), log: createLog(), taker };
  const composed = await compose(options);
  await composed[Symbol.asyncDispose]();
  await assert.rejects(compose({ ...options, offersLogIns: true }), /LOOKASIDE_OIDC_LOGIN/);
});

test('a start puts back by itself what was withdrawn until a day that has passed, and nothing else', async () => {
  await using temp = await openTempFolder();
  const root = path.join(temp.path, 'sigstore');
  const bytes = ['one', 'two', 'three'].map((text) => signatureBytes(text));
  const folder = await layImage(root, 'team/app', ...bytes);
  const flags = { data: temp.path };
  const { config } = loadConfig({ flags, environment: {}, workingFolder: temp.path, parseYaml: null });
  const taker = { command: 'test', host: 'here' };
  const log = createLog();
  const start = () => compose({ config, current: () => config, sites: sitesOf(config), log, taker });

  const before = await start();
  const tomorrow = new Date(Date.now() + 86_400_000);
  for (const [number, until] of [
    [1, tomorrow],
    [2, null],
    [3, tomorrow],
  ] as const) {
    const wanted = { path: `${folder}/signature-${number}`, reason: 'leaked', until };
    await before.withdrawals.withdraw(wanted, ADMINISTRATOR);
  }
  await before[Symbol.asyncDispose]();
  const inTree = async () => {
    const names = await readdir(path.join(root, folder));
    return Promise.all(names.map((name) => readFile(path.join(root, folder, name))));
  };
  assert.deepEqual(await inTree(), []);

  const passed = 'UPDATE tombstone SET until_ms = withdrawn_at_ms + 1 WHERE number = 1';
  change(path.join(temp.path, 'state.db'), passed);
  const after = await start();
  try {
    assert.deepEqual(await inTree(), bytes.slice(0, 1));
    const left = await after.withdrawals.ofImage(imageIn(folder));
    assert.deepEqual(left.map(({ number }) => number).sort(), [2, 3]);
  } finally {
    await after[Symbol.asyncDispose]();
  }
});

test('a start over another tree than before says which it was, as a --root may be forgotten', async () => {
  await using temp = await openTempFolder();
  const [root, data] = [path.join(temp.path, 'shared'), path.join(temp.path, 'data')];
  await layImage(root, 'team/app', signatureBytes('one'));
  const taker = { command: 'test', host: 'here' };
  async function warningsWith(flags: Record<string, string>): Promise<readonly string[]> {
    const { config } = loadConfig({
      flags: { data, ...flags },
      environment: {},
      workingFolder: temp.path,
      parseYaml: null,
    });
    const log = createLog();
    const options = { config, current: () => config, sites: sitesOf(config), log, taker };
    const composed = await compose(options);
    await composed.upkeep.reindex({ acceptDamage: false });
    await composed[Symbol.asyncDispose]();
    return log.lines.flatMap(({ message }) => (message.includes('served') ? [message] : []));
  }
  assert.deepEqual(await warningsWith({ root }), []);
  assert.deepEqual(await warningsWith({ root }), []);
  const own = path.join(data, 'sigstore');
  assert.deepEqual(await warningsWith({}), [
    `this data directory served the tree ${root} before, and serves ${own} from now on; if that is not meant, start with --root ${root}`,
  ]);
  assert.deepEqual(await warningsWith({}), []);
});

test('an index that proves damaged at the start is bound to the tree once it is rebuilt', async () => {
  await using temp = await openTempFolder();
  const [root, data] = [path.join(temp.path, 'shared'), path.join(temp.path, 'data')];
  await layImage(root, 'team/app', signatureBytes('one'));
  const load = (flags: Record<string, string>) =>
    loadConfig({ flags: { data, ...flags }, environment: {}, workingFolder: temp.path, parseYaml: null })
      .config;
  const config = load({ root });
  async function start(): Promise<void> {
    const taker = { command: 'test', host: 'here' };
    const options = { config, current: () => config, sites: sitesOf(config), log: createLog(), taker };
    const composed = await compose(options);
    await composed.upkeep.reindex({ acceptDamage: true });
    await composed[Symbol.asyncDispose]();
  }
  await start();
  const index = path.join(data, 'index.db');
  const [bytes, end] = [await readFile(index), PAGE_BYTES * pageOf(index, 'site')];
  await writeFile(index, bytes.fill(0xff, end - PAGE_BYTES, end));
  await start();
  assert.deepEqual(await inBoundTree(load({})), { ...load({}), root, tree: 'shared' });
});

/** The page that the table begins with, from 1. */
function pageOf(file: string, table: string): number {
  const db = new Database(file, { readonly: true });
  try {
    return (
      db.prepare<[string], number>('SELECT rootpage FROM sqlite_master WHERE name = ?').pluck().get(table) ??
      0
    );
  } finally {
    db.close();
  }
}

test('a start that brings an older state.db up to date says so before and after, and another start does not', async () => {
  await using temp = await openTempFolder();
  const flags = { data: temp.path };
  const { config } = loadConfig({ flags, environment: {}, workingFolder: temp.path, parseYaml: null });
  const taker = { command: 'test', host: 'here' };
  const messagesOfStart = async () => {
    const log = createLog();
    const options = { config, current: () => config, sites: sitesOf(config), log, taker };
    const composed = await compose(options);
    await composed[Symbol.asyncDispose]();
    return log.lines.filter(({ message }) => message.startsWith('state.db'));
  };
  assert.deepEqual(await messagesOfStart(), [], 'a new one');
  change(path.join(temp.path, 'state.db'), 'DROP INDEX audit_event_by_site; PRAGMA user_version = 20');
  const said = await messagesOfStart();
  assert.deepEqual(
    said.map(({ message }) => message.replace(/;.*/, '')),
    [
      'state.db has the schema of an older version and is brought up to date before anything is served',
      'state.db is up to date',
    ],
  );
  const [first] = said;
  assert.deepEqual([first?.fields.schema, Number(first?.fields.newestSchema) > 20], [20, true]);
  assert.deepEqual(await messagesOfStart(), []);
});
