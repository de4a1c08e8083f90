// `npm run faults [PART …]`: every test that shows a promise of docs/reliability.md kept, in full; those whose path has one
// of PARTs. Without PARTs the table of the document is written anew; with PARTs their rows take the place of those that the
// same machine has written there the same day, and those that no test shows any more go.
import './node-version.mjs';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import { join, relative } from 'node:path';
import process from 'node:process';
import { installClients, missingFaultClients, whyNotInstalled } from './clients.mjs';
import { missingRows, parseRows, rowsOf, textTable, withRows, withTable } from './promises.mjs';
import { filesBelow, makeReady, ROOT, say } from './ready.mjs';
import { Refusal, run, runMain } from './run.mjs';

const DOCS = join(ROOT, 'docs/reliability.md');

runMain(async () => {
  await makeReady();
  await providePrograms();
  const parts = process.argv.slice(2);
  const { rows, failed } = await runAll(faultFiles(parts), { stdio: 'inherit' });
  const docs = readFileSync(DOCS, 'utf8');
  const others = parts.length === 0 ? [] : rowsOf(docs, caption());
  const all = withRows(others ?? [], rows, others?.length > 0 ? await registeredRows(others) : []);
  const table = [...all, ...missingRows(docs, all)].sort(byNumber);
  if (others !== null) writeFileSync(DOCS, withTable(docs, caption(), table));
  const printed = parts.length === 0 ? table : rows;
  say(`\n${textTable(printed)}\n`);
  const broken = printed.filter(({ isKept }) => !isKept).length;
  for (const file of failed) say(`failed: ${file}`);
  const written = others === null ? '' : '; docs/reliability.md was written';
  say(`${printed.length - broken} kept, ${broken} broken${written}`);
  process.exitCode = broken === 0 && failed.length === 0 ? 0 : 1;
});

async function providePrograms() {
  const wanted = missingFaultClients();
  if (wanted.length === 0) return;
  const obstacle = whyNotInstalled();
  if (obstacle === null) {
    say(`installing ${wanted.join(', ')} …`);
    await installClients(wanted);
  }
  const missing = missingFaultClients();
  if (missing.length === 0) return;
  const reason = obstacle === null ? 'apt-get failed' : obstacle;
  say(`not on this machine: ${missing.join(', ')} (${reason}); promises that need one count as broken`);
}

/** Built tests of promises: of their folder, and others that report one. */
function faultFiles(parts) {
  const dist = join(ROOT, 'dist');
  const files = filesBelow(join(dist, 'test'), '.test.js').filter((file) => {
    const isOfPromises =
      relative(dist, file).startsWith(join('test', 'faults')) ||
      readFileSync(file, 'utf8').includes('/faults/promise.js');
    return isOfPromises && (parts.length === 0 || parts.some((part) => relative(dist, file).includes(part)));
  });
  if (files.length === 0) throw new Refusal(`no test of a promise has ${parts.join(' or ')} in its path`);
  return files;
}

/** One file after the other: what one does to the machine must not be seen by another. */
async function runAll(files, { flags = [], stdio }) {
  const folder = mkdtempSync(join(os.tmpdir(), 'lookaside-faults-'));
  process.once('exit', () => rmSync(folder, { recursive: true, force: true })); // run() ends the process on a signal
  const report = join(folder, 'report');
  writeFileSync(report, '');
  const env = { ...process.env, FAULTS: 'full', FAULTS_REPORT: report };
  const failed = [];
  for (const file of files) {
    const args = ['--test', '--test-reporter=spec', ...flags, file];
    const status = await run(process.execPath, args, { cwd: ROOT, env, stdio });
    if (status !== 0) failed.push(relative(join(ROOT, 'dist'), file));
  }
  return { rows: parseRows(readFileSync(report, 'utf8')), failed };
}

/** A row for each promise that there is a test of: all are registered, and none is run. `others` when that fails. */
async function registeredRows(others) {
  say('looking for promises that have no test any more …');
  const flags = ['--test-name-pattern=^$'];
  const { rows, failed } = await runAll(faultFiles([]), { flags, stdio: 'ignore' });
  return failed.length === 0 ? rows : others;
}

function byNumber(one, other) {
  return Number(one.id.slice(1)) - Number(other.id.slice(1));
}

/** When, with what and on what. */
function caption() {
  const [cpu] = os.cpus();
  const memory = Math.round(os.totalmem() / 2 ** 30);
  const machine = `${os.cpus().length} × ${cpu === undefined ? os.arch() : cpu.model}, ${memory} GiB`;
  const date = new Date().toISOString().slice(0, 10);
  return `All rows were run on ${date} with Node.js ${process.versions.node} on ${machine}, Linux ${os.release()}.`;
}
