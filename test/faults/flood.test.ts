// A flood of requests for what is not there: neither disk nor memory nor other readers suffer.
import assert from 'node:assert/strict';
import { readdir, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { needs } from '../clients/available.ts';
import { describeOutcome, run } from '../clients/command.ts';
import { startServer } from '../clients/server.ts';
import { openTempFolder } from '../clients/temp-folder.ts';
import { layImage, sha256Hex, signatureBytes } from '../store/lay.ts';
import { startAsking } from './asking.ts';
import { memoryOf } from './memory.ts';
import { percentile } from './percentile.ts';
import { count, isFull, promise } from './promise.ts';

const REQUESTS = count(1_000_000, 500);
const ROUND_SECONDS = count(60, 2);
const CONNECTIONS = 64;
const READ_PAUSE_MS = 20;
const WATCH_PAUSE_MS = 100;

const MIB = 1024 * 1024;
const DISK_BYTES = 64 * MIB;
const MEMORY_BYTES = 512 * MIB;
const READ_MS = 100;

promise(
  {
    id: 'P26',
    what: 'a flood of 404s fills neither disk nor memory, and others read as before',
    wanted: `${REQUESTS} requests: disk ≤ +64 MiB, memory ≤ 512 MiB, reads of others p99 ≤ ${READ_MS} ms`,
    ...needs('wrk'),
  },
  async (see) => {
    await using temp = await openTempFolder();
    const data = path.join(temp.path, 'data');
    const one = signatureBytes('one', 3000);
    const folder = await layImage(path.join(data, 'sigstore'), 'team/app', one);
    await using server = await startServer({ data });
    const beforeBytes = await sizeOf(data);

    const target = `/${folder}/signature-1`;
    await using asking = startAsking({ port: server.port, target, pauseMs: READ_PAUSE_MS });
    let isOver = false;
    let mostBytes = 0;
    const watching = (async () => {
      while (!isOver) {
        mostBytes = Math.max(mostBytes, (await memoryOf(server.pid)).residentBytes);
        await pause(WATCH_PAUSE_MS);
      }
    })();
    watching.catch(() => undefined); // met below
    let found = 0;
    for (let round = 1; found < REQUESTS; round += 1) found += await flood(server.url, temp.path, round);
    isOver = true;
    await watching;
    const reads = await asking.end();
    for (const { status, sha256 } of reads) assert.deepEqual([status, sha256], [200, sha256Hex(one)]);

    // what it has to write about them is written when it ends
    await server.stop();
    const grownBytes = (await sizeOf(data)) - beforeBytes;
    const p99Ms = percentile(
      reads.map(({ tookMs }) => tookMs),
      99,
    );
    see(
      `${found} answered with 404, disk +${toMib(grownBytes)} MiB, memory ${toMib(mostBytes)} MiB, p99 ${Math.round(p99Ms)} ms of ${reads.length} reads`,
    );
    assert.ok(grownBytes <= DISK_BYTES);
    assert.ok(mostBytes > 0 && mostBytes <= MEMORY_BYTES);
    if (isFull) assert.ok(p99Ms <= READ_MS);
  },
);

/** How many were answered with 404. Each is for an image of its own: what is remembered of one does not help with the next. */
async function flood(url: string, folder: string, round: number): Promise<number> {
  const script = path.join(folder, 'flood.lua');
  await writeFile(
    script,
    `local count, threads = 0, 0
function setup(thread)
  threads = threads + 1
  thread:set("number", threads)
end
function request()
  count = count + 1
  local digest = string.format("%032x%016x%016x", ${round}, number, count)
  return wrk.format("GET", "/flood/app-" .. count .. "@sha256=" .. digest .. "/signature-1")
end
function response(status)
  if status ~= 404 then wrk.thread:stop() end
end
`,
  );
  const surroundings = {
    env: { PATH: process.env.PATH ?? '' },
    deadlineMs: (ROUND_SECONDS + 60) * 1000,
  };
  const wrk = [
    'wrk',
    '-t2',
    `-c${CONNECTIONS}`,
    `-d${ROUND_SECONDS}s`,
    '--timeout',
    '30s',
    '-s',
    script,
    url,
  ] as const;
  const outcome = await run(wrk, surroundings);
  assert.equal(outcome.status, 0, describeOutcome(outcome));
  assert.doesNotMatch(outcome.stdout, /Socket errors/, describeOutcome(outcome));
  const [sent, refused] = [/([0-9]+) requests in/, /Non-2xx or 3xx responses: ([0-9]+)/].map((pattern) =>
    Number(pattern.exec(outcome.stdout)?.[1]),
  );
  assert.ok(sent !== undefined && sent > 0 && sent === refused, describeOutcome(outcome));
  return sent;
}

/** Of all files, as the disk counts them. */
async function sizeOf(folder: string): Promise<number> {
  const names = await readdir(folder, { recursive: true });
  const sizes = names.map(
    (name) =>
      stat(path.join(folder, name)).then(
        ({ blocks }) => blocks * 512,
        () => 0,
      ), // gone meanwhile
  );
  return (await Promise.all(sizes)).reduce((all, one) => all + one, 0);
}

function toMib(bytes: number): string {
  return (bytes / MIB).toFixed(1);
}
