// Three nodes over PostgreSQL behind HAProxy in the place of each server of the client tests: what one server over SQLite passes,
// they pass too. What cannot hold there is named with its reason, and fails there: one that passes is to be taken off the list.
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { needs } from '../clients/available.ts';
import { run } from '../clients/command.ts';
import { startPostgres } from '../clients/postgres.ts';
import { openTempFolder } from '../clients/temp-folder.ts';
import { isFull } from './promise.ts';

const CLIENTS = path.join(import.meta.dirname, '../clients');
const DEADLINE_MS = 15 * 60_000;
/** Characters of what is said about one that fails. */
const MAX_ABOUT = 3000;

type Exception = readonly [name: RegExp, reason: string];

const TREE = 'there is no tree that podman and skopeo write into or delete from';
const EACH = 'each node counts, limits and logs for itself';
const BALANCER = 'HAProxy answers such a request itself';

/** Files of tests that start servers, with those of their tests that cannot hold. */
const SERVED: Readonly<Record<string, readonly Exception[]>> = {
  'base-url': [[/^the lines that the server prints are all that podman and skopeo need to sign/, TREE]],
  batches: [],
  'client-config': [],
  'closed-reads': [],
  'cross-site': [],
  'gpg-key-files': [],
  'gpg-rotation': [],
  'image-list': [],
  'key-server': [],
  'log-verifier': [],
  matrix: [],
  mirror: [],
  mirrored: [],
  metrics: [[/^say how long the requests of each route took/, EACH]],
  proxies: [],
  push: [],
  'registries-d': [],
  renewed: [],
  'shared-tree': [
    [/^a signature that podman adds is served to the next pull/, TREE],
    [/^a signature that skopeo writes over another is served in its place/, TREE],
    [/^a signature that is deleted from the tree is refused/, TREE],
  ],
  tls: [],
  upload: [],
  'upload-corpus': [
    [/^the absolute form of a target: taken/, BALANCER],
    [/^two Host lines: REQUEST_INVALID/, BALANCER],
    [/^are refused with 507/, 'the disk that may be full is that of the database'],
    [/^are told to come back while their uploader holds as much as he may at one time/, EACH],
    [/^are told to slow down after ten wrong tokens/, EACH],
    [/^to a tree that may not be written are refused/, TREE],
  ],
  'uploads-together': [],
  verify: [],
  'web-page': [],
  'web-page-log-in': [],
  'web-page-oidc': [],
  'web-page-others': [
    [/^it is started on the page, how far it has come appears by itself/, EACH],
    [/^without a script the page says to load it again/, EACH],
  ],
  withdrawn: [],
  witness: [],
};

/** Files of which nothing can hold. */
const LEFT_OUT: Readonly<Record<string, string>> = {
  'background-verdicts':
    'an import refuses what is laid into the shared tree there, and each node judges a part of the rest',
  'no-proc': 'it starts the command by itself, for the tree that /proc opens',
  'put-back': TREE,
  readme: 'it is the first page for one server, on a data directory',
  systemd: 'systemd passes sockets to one server with a data directory',
  tutorial: 'it is the tutorial for one server, on a data directory',
};

/** Files that start no server, or their own nodes. */
const UNSERVED = [
  ...['client-kinds', 'compose-file', 'container-image', 'generated-policies', 'gpg-agreement', 'gpg-armour'],
  ...['gpg-certificates', 'gpg-framing', 'gpg-signatures', 'kubernetes-kinds', 'kubernetes-nodes'],
  ...['mirror-certificate', 'policy-agreement', 'postgres-moves', 'postgres-nodes', 'postgres-signatures'],
  ...[
    'setup-script',
    'signed-payloads',
    'staged-copies',
    'trust',
    'unknown-kinds',
    'verify-agreement',
    'web-key-directory',
  ],
];

/** The one that `npm test` has too. */
const SHORT = ['renewed'];

test('every client test stands in one of the lists', () => {
  const files = readdirSync(CLIENTS).filter((name) => name.endsWith('.test.js'));
  assert.deepEqual(
    [...Object.keys(SERVED), ...Object.keys(LEFT_OUT), ...UNSERVED].sort(),
    files.map((name) => name.replace('.test.js', '')).sort(),
  );
});

for (const [file, exceptions] of Object.entries(SERVED)) {
  if (!isFull && !SHORT.includes(file)) continue;
  test(`three nodes pass test/clients/${file}`, needs('postgres', 'haproxy'), async () => {
    const { failed, passed, skipped } = await resultsOf(file);
    assert.ok(passed.length > 0, 'something passes');
    const unknown = failed.filter(({ name }) => !exceptions.some(([cannot]) => cannot.test(name)));
    assert.ok(unknown.length === 0, unknown.map(({ name, about }) => `${name}\n${about}`).join('\n'));
    // what this machine cannot run says nothing
    const unheld = [...failed.map(({ name }) => name), ...skipped];
    const holds = exceptions.filter(([cannot]) => !unheld.some((name) => cannot.test(name)));
    assert.deepEqual(holds, [], 'these are no exceptions any more');
  });
}

/** A line of TAP and what stands below it. */
const RESULT = /^ *(?<no>not )?ok \d+ - (?<name>.*)\n *---\n(?<about>[\s\S]*?)\n *\.\.\.$/gm;

interface Failed {
  readonly name: string;
  /** Why, as TAP tells it. */
  readonly about: string;
}

/** Its tests. */
async function resultsOf(file: string) {
  await using temp = await openTempFolder();
  await using postgres = await startPostgres();
  // what a test that fails has left running would keep its process
  const flags = ['--test', '--test-force-exit', '--test-reporter=tap'];
  const env = { ...process.env, SERVED_BY: postgres.adminUrl, HOME: temp.path } as Record<string, string>;
  for (const name of ['NODE_TEST_CONTEXT', 'FAULTS_REPORT']) delete env[name]; // its tests are not ours
  const argv = [process.execPath, ...flags, path.join(CLIENTS, `${file}.test.js`)] as const;
  const { stdout, stderr } = await run(argv, { env, deadlineMs: DEADLINE_MS });
  const failed: Failed[] = [];
  const passed: string[] = [];
  const skipped: string[] = [];
  for (const { groups } of stdout.matchAll(RESULT)) {
    const { no, name = '', about = '' } = groups ?? {};
    // a suite fails with one of its tests
    if (no !== undefined && !about.includes("'subtestsFailed'"))
      failed.push({ name, about: about.slice(0, MAX_ABOUT) });
    if (no !== undefined || about.includes("type: 'suite'")) continue;
    (/# SKIP/.test(name) ? skipped : passed).push(name);
  }
  assert.ok(failed.length + passed.length > 0, `${stdout}${stderr}`);
  return { failed, passed, skipped };
}
