// `npm run bench -- records`: by the clock and in time of the processor, `lookaside audit verify` of a log, and an export of the record of
// reads over HTTP with the memory that the server takes for it; each beside the least that the same data cost.
//   --events N      audit events, 1,000 for each checkpoint; 1,000,000 unless told
//   --reads N       rows of reads over 30 days; 1,000,000 unless told
//   --folder DIR    keeps what was made for the next run
//   --fill          makes it, and measures nothing
import { spawnSync } from 'node:child_process';
import { createHash, hash, randomBytes } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { loadavg } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import SqliteDatabase from 'better-sqlite3';
import { progressOf } from './progress.mjs';
import { openFolder } from './run-folder.mjs';
import { MAIN, runCommand, settle, startLookaside, stopAll } from './servers.mjs';

const { openDatabases } = await import('../dist/src/sqlite/databases.js');
const { AuditRows } = await import('../dist/src/sqlite/audit-rows.js');
const { AccessDays } = await import('../dist/src/sqlite/access-days.js');
const { packDays } = await import('../dist/src/sqlite/packed-days.js');
const { logReader } = await import('../dist/src/sqlite/log-store.js');
const { createEventMaker } = await import('../dist/src/service/audit.js');
const { rootAt } = await import('../dist/src/service/log-check.js');
const { noteSigner } = await import('../dist/src/service/note-keys.js');
const { checkpointText } = await import('../dist/src/domain/checkpoint.js');
const { formatNote, formatNoteKey } = await import('../dist/src/domain/signed-note.js');

const { values: flags } = parseArgs({
  args: process.argv.slice(3),
  options: {
    events: { type: 'string', default: '1000000' },
    reads: { type: 'string', default: '1000000' },
    folder: { type: 'string' },
    fill: { type: 'boolean', default: false },
  },
});
const [EVENTS, READS] = [Number(flags.events), Number(flags.reads)];
const [IMAGES, CLIENTS, DAYS, DAY_MS] = [20_000, 5000, 30, 86_400_000];
const EVENTS_A_CHECKPOINT = 1000;
const EVENTS_AT_ONCE = 50_000;
const READS_AT_ONCE = 10_000;
const PORT = 18_106;
const TICK_MS = 10;
const [VERIFY_WANTED_S, EXPORT_WANTED_S, EXPORT_WANTED_MIB] = [30, 20, 100];

const { path: folder, close } = openFolder(flags.folder, 'lookaside-records-');
const data = join(folder, 'data');
try {
  const token = await fill();
  if (!flags.fill) {
    process.stdout.write(`load of the machine before: ${loadavg()[0]?.toFixed(1)}\n\n`);
    process.stdout.write('| what | clock | processor | memory | wanted | the least | ratio of processor |\n');
    process.stdout.write('|---|---|---|---|---|---|---|\n');
    measureVerify();
    await measureExport(token);
  }
} finally {
  await stopAll();
  close();
}

/** Straight into the databases. Returns the token of an auditor. */
async function fill() {
  const done = join(folder, `${EVENTS}-${READS}.token`);
  if (existsSync(done)) return readFileSync(done, 'utf8');
  // the empty one of a killed run too
  rmSync(data, { recursive: true, force: true });
  await (await openDatabases({ dataDir: data, onUnusable: () => undefined })).close();
  // the command makes the key of the log
  const args = ['token', 'create', '--name', 'auditor', '--role', 'auditor', '--data', data, '--json'];
  const { token } = JSON.parse(runCommand(args));
  await fillEvents();
  await fillReads();
  writeFileSync(done, token);
  return token;
}

function digestOf(k) {
  return createHash('sha256').update(String(k)).digest('hex');
}

function imageOf(number) {
  const path = `team-${number % 50}/app-${number % 500}`;
  return {
    site: 'default',
    layout: 'repository',
    path,
    algorithm: 'sha256',
    hex: digestOf(`image ${number}`),
  };
}

/** As the writer writes them, but in few transactions that no power cut must survive, and without indexes until the end. */
async function fillEvents() {
  const startedMs = performance.now();
  const db = new SqliteDatabase(join(data, 'state.db'));
  db.pragma('synchronous = OFF');
  const indexes = db
    .prepare(
      "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = 'audit_event' AND sql IS NOT NULL",
    )
    .all();
  for (const { name } of indexes) db.exec(`DROP INDEX ${name}`);
  const rows = new AuditRows(db);
  const makeEvent = createEventMaker({ clock: { now: () => new Date() }, randomBytes });
  const { n: before } = db.prepare('SELECT count(*) AS n FROM audit_event').get();
  const say = progressOf('events', EVENTS);
  for (let from = before; from < EVENTS; from += EVENTS_AT_ONCE) {
    db.exec('BEGIN');
    for (let k = from; k < Math.min(from + EVENTS_AT_ONCE, EVENTS); k += 1) {
      const about = { image: imageOf(k % IMAGES), signatureSha256: digestOf(`signature ${k}`) };
      const fingerprint = `${'0'.repeat(36)}${1000 + (k % 20)}`;
      const what = {
        action: 'upload',
        result: k % 50 === 0 ? 'KEY_UNKNOWN' : 'created',
        fingerprint,
        ...about,
      };
      rows.add(makeEvent(what, { name: `ci-${k % 20}`, address: `10.0.0.${k % 200}`, requestId: null }));
    }
    db.exec('COMMIT');
    say(Math.min(from + EVENTS_AT_ONCE, EVENTS));
  }
  await signHeads(db, rows);
  for (const { sql } of indexes) db.exec(sql);
  db.close();
  process.stderr.write(` ${EVENTS} events in ${((performance.now() - startedMs) / 1000).toFixed(0)} s\n`);
}

/** A log of many days has many heads. */
async function signHeads(db, rows) {
  const reader = logReader(db);
  const [{ origin, vkey }] = await reader.identities();
  const file = join(data, 'log.key');
  const signer = noteSigner(readFileSync(file, 'utf8'), { name: origin, type: 1, file });
  if (formatNoteKey(signer.key) !== vkey) throw new Error(`${file} is not the key of the log`);
  db.exec('BEGIN');
  for (let size = EVENTS_A_CHECKPOINT; size <= EVENTS; size += EVENTS_A_CHECKPOINT) {
    const root = await rootAt(reader, size);
    const text = checkpointText(origin, { size, root });
    const note = formatNote({ text, signatures: [signer.sign(text)] });
    rows.log.addCheckpoint({ size, root, note, at: new Date() });
  }
  db.exec('COMMIT');
}

async function fillReads() {
  const startedMs = performance.now();
  const days = new AccessDays(join(data, 'access'));
  const since = Math.floor(Date.now() / DAY_MS - DAYS - 1) * DAY_MS;
  const say = progressOf('reads', READS);
  for (let from = 0; from < READS; from += READS_AT_ONCE) {
    const reads = Array.from({ length: Math.min(READS_AT_ONCE, READS - from) }, (_, n) =>
      readOf(from + n, since),
    );
    for (const [day, batch] of await packDays({ reads, missing: [] })) days.write(day, batch);
    say(Math.min(from + READS_AT_ONCE, READS));
  }
  days.close();
  const databases = await openDatabases({ dataDir: data, onUnusable: () => undefined });
  await databases.access.closeDays(new Date());
  await databases.close();
  process.stderr.write(` ${READS} reads in ${((performance.now() - startedMs) / 1000).toFixed(0)} s\n`);
}

function readOf(k, since) {
  const number = (k * 7919) % IMAGES;
  const client = (k * 31) % CLIENTS;
  const at = new Date(since + Math.floor((k / READS) * DAYS * DAY_MS));
  return {
    image: imageOf(number),
    number: 1,
    signatureSha256: digestOf(`signature ${number}`),
    status: 200,
    address: `10.${client >> 12}.${(client >> 6) & 63}.${client & 63}`,
    agent: 'containers/5.36',
    token: null,
    firstAt: at,
    lastAt: at,
    count: 1,
    bytes: 850,
  };
}

/** Beside one pass over the same rows that only hashes each. */
function measureVerify() {
  const least = timed(() => {
    const db = new SqliteDatabase(join(data, 'state.db'), { readonly: true });
    const rows = db.prepare('SELECT leaf, private, salt FROM audit_event ORDER BY seq').raw();
    for (const [leaf, text, salt] of rows.iterate()) {
      hash('sha256', `\0${leaf}`, 'buffer');
      if (text !== null) hash('sha256', Buffer.concat([salt, Buffer.from(text)]), 'buffer');
    }
    db.close();
  });
  const [startedMs, before] = [performance.now(), childrenMs()];
  const { status, stdout } = spawnSync(
    process.execPath,
    [MAIN, 'audit', 'verify', '--data', data, '--json'],
    {
      encoding: 'utf8',
      maxBuffer: 64 * 1024 * 1024,
    },
  );
  const [clockMs, cpuMs] = [performance.now() - startedMs, childrenMs() - before];
  const { size, checkpoints, faults } = JSON.parse(stdout);
  if (status !== 0 || size < EVENTS || faults.length > 0)
    throw new Error(`audit verify ended with ${status}: ${stdout}`);
  const what = `audit verify, ${size} events, ${checkpoints} checkpoints`;
  row(what, { clockMs, cpuMs, memory: '-', wanted: `${VERIFY_WANTED_S} s`, least });
}

/** Beside the same rows by SQL and JSON.stringify, day by day. */
async function measureExport(token) {
  const least = timed(() => {
    const names = readdirSync(join(data, 'access')).filter((name) => /^[0-9-]+\.db$/.test(name));
    for (const name of names.toSorted()) {
      const db = new SqliteDatabase(join(data, 'access', name), { readonly: true });
      const rows = db.prepare(`
        SELECT first_at_ms, last_at_ms, site, path, digest, number, status, count, bytes, address.text AS address, agent.text AS agent,
          signature.sha256 AS signature
        FROM read
        JOIN image ON image.id = read.image
        JOIN address ON address.id = read.address
        JOIN agent ON agent.id = read.agent
        JOIN signature ON signature.id = read.signature`);
      for (const { digest, signature, ...others } of rows.iterate()) {
        JSON.stringify({ ...others, digest: digest.toString('hex'), signature: signature.toString('hex') });
      }
      db.close();
    }
  });
  const server = await startLookaside({ data, port: PORT, isPinned: false });
  await settle(server, { mostMs: 60_000 }).catch(() => process.stderr.write('the server has other work\n'));
  const restBytes = server.rssBytes();
  const [startedMs, cpuBeforeMs] = [performance.now(), server.cpuMs()];
  let mostBytes = restBytes;
  const timer = setInterval(() => {
    mostBytes = Math.max(mostBytes, server.rssBytes());
  }, 50);
  const lines = await linesOf(`${server.url}/api/v1/access?format=jsonl`, token);
  clearInterval(timer);
  const [clockMs, cpuMs] = [performance.now() - startedMs, server.cpuMs() - cpuBeforeMs];
  if (lines !== READS + 1) throw new Error(`the export has ${lines} lines, not ${READS} and its end`);
  const mebibytes = Math.round((mostBytes - restBytes) / 1024 / 1024);
  const memory = `${mebibytes} MiB more than at rest`;
  const wanted = `${EXPORT_WANTED_S} s, ${EXPORT_WANTED_MIB} MiB`;
  row(`export of ${READS} reads as JSON Lines`, { clockMs, cpuMs, memory, wanted, least });
}

function linesOf(url, token) {
  return new Promise((resolve, reject) => {
    const asking = request(url, { headers: { authorization: `Bearer ${token}` } }, (answer) => {
      if (answer.statusCode !== 200) reject(new Error(`the export answered ${answer.statusCode}`));
      let lines = 0;
      answer.on('data', (piece) => {
        for (let at = piece.indexOf(10); at !== -1; at = piece.indexOf(10, at + 1)) lines += 1;
      });
      answer.on('end', () => resolve(lines));
      answer.on('error', reject);
    });
    asking.on('error', reject);
    asking.end();
  });
}

function timed(act) {
  const [startedMs, before] = [performance.now(), process.cpuUsage()];
  act();
  const { user, system } = process.cpuUsage(before);
  return { clockMs: performance.now() - startedMs, cpuMs: (user + system) / 1000 };
}

/** The processor time of children that have ended: cutime and cstime of proc_pid_stat(5). */
function childrenMs() {
  const text = readFileSync('/proc/self/stat', 'utf8');
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[13]) + Number(fields[14])) * TICK_MS;
}

function row(what, { clockMs, cpuMs, memory, wanted, least }) {
  const seconds = (ms) => `${(ms / 1000).toFixed(1)} s`;
  const parts = [what, seconds(clockMs), seconds(cpuMs), memory, wanted];
  const ratio = (cpuMs / least.cpuMs).toFixed(2);
  process.stdout.write(`| ${[...parts, `${seconds(least.cpuMs)} of processor`, ratio].join(' | ')} |\n`);
}
