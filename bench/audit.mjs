// `npm run bench -- audit`: what questions to the record of reads cost, beside grep over the access lines of nginx for the same reads,
// and beside SQLite over these lines, imported into one table as people do.
//   --rows N        reads in all, over 30 days; 10,000,000 unless told, which takes minutes and 5 GB
//   --folder DIR    keeps the record and the lines for the next run
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { appendFileSync, createReadStream, existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import SqliteDatabase from 'better-sqlite3';
import { progressOf } from './progress.mjs';
import { openFolder } from './run-folder.mjs';

const { openDatabases } = await import('../dist/src/sqlite/databases.js');
const { SqliteQuestions } = await import('../dist/src/sqlite/questions.js');
const { ANY_RECORD } = await import('../dist/src/domain/records.js');

const DAYS = 30;
const DAY_MS = 86_400_000;
const FIRST_DAY = Date.parse('2026-10-01');
const BATCH = 10_000;
const [IMAGES, ADDRESSES] = [20_000, 5000];

const { values: flags } = parseArgs({
  args: process.argv.slice(3),
  options: { rows: { type: 'string', default: '10000000' }, folder: { type: 'string' } },
});
const total = Number(flags.rows);
const { path: folder, close } = openFolder(flags.folder, 'lookaside-audit-');
try {
  await fill();
  await importLines();
  await ask();
} finally {
  close();
}

function digestOf(text) {
  return createHash('sha256').update(text).digest('hex');
}

/** The k-th read of a day: the same in every run. */
function readOf(day, k, perDay) {
  const number = (k * 7919 + day * 104_729) % IMAGES;
  const client = (k * 31 + day) % ADDRESSES;
  const at = new Date(FIRST_DAY + day * DAY_MS + Math.floor((k / perDay) * DAY_MS));
  const image = {
    site: 'default',
    layout: 'repository',
    path: `team-${number % 50}/app-${number % 500}`,
    algorithm: 'sha256',
    hex: digestOf(`image ${number}`),
  };
  const address = `10.${client >> 12}.${(client >> 6) & 63}.${client & 63}`;
  return { image, number: 1, signatureSha256: digestOf(`signature ${number}`), status: 200, address, at };
}

async function fill() {
  const done = join(folder, `${total}.done`);
  if (existsSync(done)) return;
  const databases = await openDatabases({ dataDir: folder, onUnusable: () => undefined });
  const perDay = Math.ceil(total / DAYS);
  const say = progressOf('days', DAYS);
  for (let day = 0; day < DAYS; day += 1) {
    for (let from = 0; from < perDay; from += BATCH) {
      const reads = [];
      let lines = '';
      for (let k = from; k < Math.min(from + BATCH, perDay); k += 1) {
        const { at, ...read } = readOf(day, k, perDay);
        reads.push({
          ...read,
          agent: 'containers/5.36',
          token: null,
          firstAt: at,
          lastAt: at,
          count: 1,
          bytes: 850,
        });
        const target = `/${read.image.path}@sha256=${read.image.hex}/signature-1`;
        lines += `${read.address} - - [${at.toISOString()}] "GET ${target} HTTP/1.1" 200 850 "-" "containers/5.36"\n`;
      }
      await databases.access.write({ reads, missing: [] });
      appendFileSync(join(folder, 'nginx.log'), lines);
    }
    say(day + 1);
  }
  const startedMs = performance.now();
  await databases.access.closeDays(new Date(FIRST_DAY + (DAYS + 1) * DAY_MS));
  process.stderr.write(
    `\n${DAYS} days got their indexes in ${Math.round(performance.now() - startedMs)} ms\n`,
  );
  await databases.close();
  writeFileSync(done, '');
}

/** The lines in one table without an index. */
async function importLines() {
  const done = join(folder, `${total}.imported`);
  if (existsSync(done)) return;
  const db = new SqliteDatabase(join(folder, 'imported.db'));
  db.pragma('journal_mode = OFF');
  db.pragma('synchronous = OFF');
  db.exec('DROP TABLE IF EXISTS log');
  db.exec('CREATE TABLE log (address TEXT, at TEXT, target TEXT, status INTEGER, bytes INTEGER, agent TEXT)');
  const insert = db.prepare('INSERT INTO log VALUES (?, ?, ?, ?, ?, ?)');
  const startedMs = performance.now();
  db.exec('BEGIN');
  for await (const line of createInterface({ input: createReadStream(join(folder, 'nginx.log')) })) {
    const [address, , , at, , target, , status, bytes, , agent] = line.split(' ');
    insert.run(address, at.slice(1, -1), target, Number(status), Number(bytes), agent.slice(1, -1));
  }
  db.exec('COMMIT');
  db.close();
  process.stderr.write(`the lines were imported in ${Math.round(performance.now() - startedMs)} ms\n`);
  writeFileSync(done, '');
}

async function ask() {
  const { image, address, signatureSha256 } = readOf(3, 1234, Math.ceil(total / DAYS));
  const place = { layout: 'repository', path: image.path };
  const week = { since: new Date(FIRST_DAY + 7 * DAY_MS), until: new Date(FIRST_DAY + 14 * DAY_MS) };
  const network = address.split('.').slice(0, 3).join('.');
  // what grep and SQL can say of the same; the lines do not say which bytes were sent
  const questions = [
    ['a week', week, null, `at >= '${week.since.toISOString()}' AND at < '${week.until.toISOString()}'`],
    [
      'one image',
      { image: { digest: { algorithm: 'sha256', hex: image.hex }, place } },
      image.hex,
      `target GLOB '/${image.path}@sha256=${image.hex}/*'`,
    ],
    ['a folder of repositories', { repository: 'team-7' }, 'GET /team-7/', "target GLOB '/team-7/*'"],
    ['one address', { address }, `${address} `, `address = '${address}'`],
    ['a network', { address: `${network}.0/26` }, `${network}.`, `address GLOB '${network}.*'`],
    ['one signature', { signature: signatureSha256 }, null, null],
    ['nothing that was ever read', { repository: 'no/such' }, 'GET /no/such@', "target GLOB '/no/such@*'"],
  ];
  const rows = [
    ['question', 'first page', 'after a start', 'sum by day', 'grep', 'SQL, first page', 'SQL, by day'],
    ['---', '---', '---', '---', '---', '---', '---'],
  ];
  const imported = new SqliteDatabase(join(folder, 'imported.db'), { readonly: true });
  for (const [name, filter, text, where] of questions) {
    const question = { record: 'access', filter: { ...ANY_RECORD, ...filter } };
    const page = (session) => session.page(question, null, 100);
    const started = await timed(page, () => new SqliteQuestions(folder));
    const questions = new SqliteQuestions(folder);
    await timed(page, () => questions, 1);
    const warm = await timed(page, () => questions);
    const sums = await timed(
      (session) => session.sums(question, ['day'], 31),
      () => questions,
    );
    await questions.close();
    const asked = (sql) => {
      const startedMs = performance.now();
      imported.prepare(sql).all();
      return `${Math.round(performance.now() - startedMs)} ms`;
    };
    const sql =
      where === null
        ? ['-', '-']
        : [
            asked(`SELECT * FROM log WHERE ${where} ORDER BY at DESC LIMIT 100`),
            asked(`SELECT substr(at, 1, 10) AS day, count(*) FROM log WHERE ${where} GROUP BY day`),
          ];
    rows.push([
      name,
      `${warm} ms`,
      `${started} ms`,
      `${sums} ms`,
      text === null ? '-' : `${grep(text)} ms`,
      ...sql,
    ]);
  }
  imported.close();
  process.stdout.write(
    `${total} reads in ${DAYS} days; of our answers the median of 5, by a thread that rested, and by a new one each\n\n`,
  );
  for (const row of rows) process.stdout.write(`| ${row.join(' | ')} |\n`);
  await exportAll();
}

async function timed(act, make, count = 5) {
  const times = [];
  for (let time = 0; time < count; time += 1) {
    const questions = make();
    const startedMs = performance.now();
    const session = await questions.open(new AbortController().signal);
    await act(session);
    times.push(performance.now() - startedMs);
    await session[Symbol.asyncDispose]();
  }
  return Math.round(times.sort((one, other) => one - other)[count >> 1]);
}

/** None is no failure of grep. */
function grep(text) {
  const startedMs = performance.now();
  spawnSync('grep', ['-cF', text, join(folder, 'nginx.log')]);
  return Math.round(performance.now() - startedMs);
}

async function exportAll() {
  const until = new Date(FIRST_DAY + Math.min(DAYS, Math.ceil((DAYS * 1_000_000) / total)) * DAY_MS);
  const question = { record: 'access', filter: { ...ANY_RECORD, until } };
  const questions = new SqliteQuestions(folder);
  const before = process.memoryUsage.rss();
  const session = await questions.open(new AbortController().signal);
  const [startedMs, { user, system }] = [performance.now(), process.cpuUsage()];
  let [lines, most] = [0, 0];
  for await (const piece of session.export(question, 'jsonl')) {
    lines += piece.split('\n').length - 1;
    most = Math.max(most, process.memoryUsage.rss());
  }
  await session[Symbol.asyncDispose]();
  await questions.close();
  const seconds = ((performance.now() - startedMs) / 1000).toFixed(1);
  const used = process.cpuUsage({ user, system });
  const mebibytes = (bytes) => Math.round(bytes / 1024 / 1024);
  process.stdout.write(
    `\n${lines - 1} rows as JSON Lines: ${seconds} s, ${((used.user + used.system) / 1e6).toFixed(1)} s of processor; the process grew from ${mebibytes(before)} to ${mebibytes(most)} MiB\n`,
  );
}
