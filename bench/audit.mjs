// `npm run bench -- audit`: what questions to the record of reads cost, beside grep over the access lines of nginx for the same reads.
//   --rows N        reads in all, over 30 days; 10,000,000 unless told, which takes minutes and 3 GB
//   --folder DIR    keeps the record and the lines for the next run
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { appendFileSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

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
const folder = flags.folder ?? mkdtempSync(join(tmpdir(), 'lookaside-audit-'));
mkdirSync(folder, { recursive: true });
try {
  await fill();
  await ask();
} finally {
  if (flags.folder === undefined) rmSync(folder, { recursive: true, force: true });
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
    process.stderr.write(`\rday ${day + 1} of ${DAYS}`);
  }
  const startedMs = performance.now();
  await databases.access.closeDays(new Date(FIRST_DAY + (DAYS + 1) * DAY_MS));
  process.stderr.write(
    `\r${DAYS} days got their indexes in ${Math.round(performance.now() - startedMs)} ms\n`,
  );
  await databases.close();
  writeFileSync(done, '');
}

async function ask() {
  const { image, address, signatureSha256 } = readOf(3, 1234, Math.ceil(total / DAYS));
  const place = { layout: 'repository', path: image.path };
  const week = { since: new Date(FIRST_DAY + 7 * DAY_MS), until: new Date(FIRST_DAY + 14 * DAY_MS) };
  const questions = [
    ['a week', week, null],
    ['one image', { image: { digest: { algorithm: 'sha256', hex: image.hex }, place } }, image.hex],
    ['a folder of repositories', { repository: 'team-7' }, 'GET /team-7/'],
    ['one address', { address }, `${address} `],
    [
      'a network',
      { address: `${address.split('.').slice(0, 3).join('.')}.0/26` },
      `${address.split('.').slice(0, 3).join('.')}.`,
    ],
    ['one signature', { signature: signatureSha256 }, null],
  ];
  const rows = [['question', 'first page', 'sum by day', 'grep over the lines']];
  for (const [name, filter, text] of questions) {
    const question = { record: 'access', filter: { ...ANY_RECORD, ...filter } };
    const page = await timed((session) => session.page(question, null, 100));
    const sums = await timed((session) => session.sums(question, ['day'], 31));
    rows.push([name, `${page} ms`, `${sums} ms`, text === null ? '-' : `${grep(text)} ms`]);
  }
  process.stdout.write(
    `${total} reads in ${DAYS} days; each answer with the start of its thread, median of 5\n\n`,
  );
  for (const row of rows) process.stdout.write(`| ${row.join(' | ')} |\n`);
  await exportAll();
}

function openSession() {
  return new SqliteQuestions(folder).open(new AbortController().signal);
}

async function timed(act) {
  const times = [];
  for (let time = 0; time < 5; time += 1) {
    const startedMs = performance.now();
    const session = await openSession();
    await act(session);
    times.push(performance.now() - startedMs);
    await session[Symbol.asyncDispose]();
  }
  return Math.round(times.sort((one, other) => one - other)[2]);
}

function grep(text) {
  const startedMs = performance.now();
  execFileSync('grep', ['-cF', text, join(folder, 'nginx.log')]);
  return Math.round(performance.now() - startedMs);
}

async function exportAll() {
  const until = new Date(FIRST_DAY + Math.min(DAYS, Math.ceil((DAYS * 1_000_000) / total)) * DAY_MS);
  const question = { record: 'access', filter: { ...ANY_RECORD, until } };
  const session = await openSession();
  const startedMs = performance.now();
  let [lines, most] = [0, 0];
  for await (const piece of session.export(question, 'jsonl')) {
    lines += piece.split('\n').length - 1;
    most = Math.max(most, process.memoryUsage().rss);
  }
  await session[Symbol.asyncDispose]();
  const seconds = ((performance.now() - startedMs) / 1000).toFixed(1);
  process.stdout.write(
    `\n${lines - 1} rows as JSON Lines: ${seconds} s, ${Math.round(most / 1024 / 1024)} MiB at most in the whole process\n`,
  );
}
