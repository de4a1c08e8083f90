// A flood of requests, for what is not there or with made-up names: neither disk nor memory nor other readers suffer.
import assert from 'node:assert/strict';
import { readdir, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { needs } from '../clients/available.ts';
import { describeOutcome, run } from '../clients/command.ts';
import { startServer } from '../clients/server.ts';
import { openTempFolder } from '../clients/temp-folder.ts';
import { layImage, signatureBytes } from '../store/lay.ts';
import { MIB, openBystander, UNHARMED } from './bystander.ts';
import { count, promise } from './promise.ts';

const REQUESTS = count(1_000_000, 500);
const ROUND_SECONDS = count(60, 2);
/** On a machine that is busy otherwise, the server may answer nothing for the two seconds of a short round. */
const MOST_SILENT_ROUNDS = 5;
const CONNECTIONS = 64;
const WATCH_PAUSE_MS = 100;

const DISK_BYTES = 64 * MIB;

const WANTED = `${REQUESTS} requests: disk ≤ +64 MiB, ${UNHARMED}`;

promise(
  {
    id: 'P26',
    what: 'a flood of 404s fills neither disk nor memory, and others read as before',
    wanted: WANTED,
    ...needs('wrk'),
  },
  // each is for an image of its own: what is remembered of one does not help with the next
  (see) =>
    keptInFlood(see, {
      status: 404,
      request: ({ round }) => `
  local digest = string.format("%032x%016x%016x", ${round}, number, count)
  return wrk.format("GET", "/flood/app-" .. count .. "@sha256=" .. digest .. "/signature-1")`,
    }),
);

promise(
  {
    id: 'P26',
    what: 'a flood of reads, each with an agent of its own, fills neither disk nor memory, and others read as before',
    wanted: WANTED,
    ...needs('wrk'),
  },
  (see) =>
    keptInFlood(see, {
      status: 200,
      request: ({ round, target }) => `
  return wrk.format("GET", "${target}", { ["User-Agent"] = "a-${round}-" .. number .. "-" .. count })`,
    }),
);

interface Flood {
  /** The status of every answer. */
  readonly status: number;
  /** The body of a Lua function. */
  readonly request: (of: { readonly round: number; readonly target: string }) => string;
}

async function keptInFlood(see: (figure: string) => void, { status, request }: Flood): Promise<void> {
  await using temp = await openTempFolder();
  const data = path.join(temp.path, 'data');
  const one = signatureBytes('one', 3000);
  const target = `/${await layImage(path.join(data, 'sigstore'), 'team/app', one)}/signature-1`;
  await using server = await startServer({ data });
  const beforeBytes = await sizeOf(data);

  await using bystander = openBystander(server, target, one);
  let isOver = false;
  let mostDiskBytes = 0;
  const watching = (async () => {
    while (!isOver) {
      mostDiskBytes = Math.max(mostDiskBytes, await sizeOf(data));
      await pause(WATCH_PAUSE_MS);
    }
  })();
  watching.catch(() => undefined); // met below
  let answered = 0;
  let silent = 0;
  for (let round = 1; answered < REQUESTS; round += 1) {
    const more = await flood(server.url, temp.path, { status, request: request({ round, target }) });
    answered += more;
    silent = more === 0 ? silent + 1 : 0;
    assert.ok(silent < MOST_SILENT_ROUNDS, `${silent} rounds without an answer, behind ${answered} answers`);
  }
  isOver = true;
  await watching;
  const unharmed = await bystander.end();
  // what it has to write about them is written when it ends
  await server.stop();
  mostDiskBytes = Math.max(mostDiskBytes, await sizeOf(data));
  const grownBytes = mostDiskBytes - beforeBytes;
  see(`${answered} answered with ${status}, disk +${toMib(grownBytes)} MiB at most, ${unharmed}`);
  assert.ok(grownBytes > 0 && grownBytes <= DISK_BYTES);
}

interface Round {
  readonly status: number;
  readonly request: string;
}

/** How many were answered, all with the status. */
async function flood(url: string, folder: string, { status, request }: Round): Promise<number> {
  const script = path.join(folder, 'flood.lua');
  await writeFile(
    script,
    `local count, threads = 0, 0
function setup(thread)
  threads = threads + 1
  thread:set("number", threads)
end
function request()
  count = count + 1${request}
end
function response(status)
  if status ~= ${status} then wrk.thread:stop() end
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
  const [sent = 0, others = 0] = [/([0-9]+) requests in/, /Non-2xx or 3xx responses: ([0-9]+)/].map(
    (pattern) => Number(pattern.exec(outcome.stdout)?.[1] ?? 0),
  );
  assert.equal(others, status === 200 ? 0 : sent, describeOutcome(outcome));
  return sent;
}

/** The size of all files, as the disk counts them. */
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
