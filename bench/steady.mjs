// Clients that keep to a rate, in a process of their own, whatever the server does meanwhile: a request that is due and finds no free
// connection waits for one, and its time counts from when it was due. A load that waits for each answer before it asks again would ask
// nothing while the server stands still. Clients are on other machines as a rule, and here they share the processors with the server: so
// those that read have priority, if the system allows it, and tell how late they were by themselves. Prints one JSON value.
// Run: node bench/steady.mjs read URL NAMES RATE SECONDS | upload URL STAGING FROM COUNT RATE
import { readFileSync } from 'node:fs';
import { Agent, request } from 'node:http';
import { connect } from 'node:net';
import { setPriority } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { signedPath } from './material.mjs';

/**
 * As of the nodes of a cluster. Sixteen carry 8,000 reads a second only as long as each answer takes less than 2 ms; beyond that reads
 * pile up here, and what is measured is how many connections there are.
 */
const CONNECTIONS = 256;
/** Of a read: this process is new, and what it runs is compiled meanwhile. */
const WARM_UP_SECONDS = 1;
const PRIORITY = -10;
/** More are never due at once unless the server stands still for seconds: the run fails rather than fill the memory. */
const MOST_WAITING = 1_000_000;
/** Of how many is told that they took longer. */
const SLOW_MS = 5;

const [what, address, ...rest] = process.argv.slice(2);
const url = new URL(address);
const tookMs = [];
/** Of reads: from when each was due until it was sent, and how many of them had to wait for a free connection. */
const lateMs = [];
let waited = 0;
let hasPriority = false;

if (what === 'read') await read(rest[0], Number(rest[1]), Number(rest[2]));
else if (what === 'upload') await upload(rest[0], ...rest.slice(1).map(Number));
else throw new Error(`no clients that do ${what}`);

const slow = tookMs.filter((ms) => ms > SLOW_MS).length;
const at = (share, all = tookMs) => all[Math.min(all.length - 1, Math.floor(share * all.length))];
for (const all of [tookMs, lateMs]) all.sort((a, b) => a - b);
const latest = lateMs.length === 0 ? {} : { lateP99Ms: at(0.99, lateMs), waited, hasPriority };
process.stdout.write(
  JSON.stringify({ count: tookMs.length, p50Ms: at(0.5), p99Ms: at(0.99), mostMs: at(1), slow, ...latest }),
);

/** Calls `begin(dueMs)` at an even rate: each millisecond for all that have become due in it. */
async function keepTo(rate, count, begin) {
  const startedMs = performance.now();
  for (let begun = 0; begun < count; ) {
    const due = Math.min(count, Math.floor(((performance.now() - startedMs) / 1000) * rate));
    for (; begun < due; begun += 1) begin(startedMs + (1000 * (begun + 1)) / rate);
    await wait(1);
  }
}

/** signature-1 and signature-2 in turn, over connections that stay open: 200 and 404. */
async function read(file, rate, seconds) {
  const names = readFileSync(file, 'utf8').trimEnd().split('\n');
  const requests = names.map((name) =>
    Buffer.from(`GET ${name} HTTP/1.1\r\nHost: ${url.host}\r\nUser-Agent: steady\r\n\r\n`),
  );
  hasPriority = goAhead();
  const uncounted = Math.floor(rate * WARM_UP_SECONDS);
  const count = uncounted + Math.floor(rate * seconds);
  const waiting = [];
  const free = [];
  let first = 0;
  let answered = 0;
  let next = 2 * Math.floor((Math.random() * names.length) / 2);
  let done = () => {};
  const all = new Promise((resolve) => {
    done = resolve;
  });
  const begin = (socket) => {
    socket.number = first;
    socket.dueMs = waiting[first++];
    if (socket.number >= uncounted) lateMs.push(performance.now() - socket.dueMs);
    socket.wanted = next % 2 === 0 ? '200' : '404';
    socket.write(requests[next]);
    next = (next + 1) % requests.length;
  };
  for (let number = 0; number < CONNECTIONS; number += 1) {
    const socket = connect({ host: url.hostname, port: url.port, noDelay: true });
    let received = '';
    socket.setEncoding('latin1').on('data', (piece) => {
      received += piece;
      const end = received.indexOf('\r\n\r\n');
      if (end === -1) return;
      const length = Number(/\r\ncontent-length: ([0-9]+)/i.exec(received.slice(0, end))?.[1] ?? 0);
      if (received.length < end + 4 + length) return;
      if (received.slice(9, 12) !== socket.wanted)
        throw new Error(`${address} answered ${received.slice(0, 12)}, wanted ${socket.wanted}`);
      received = '';
      if (socket.number >= uncounted) tookMs.push(performance.now() - socket.dueMs);
      answered += 1;
      if (answered === count) done();
      if (first < waiting.length) begin(socket);
      else free.push(socket);
    });
    socket.on('close', () => {
      if (answered < count) throw new Error(`${address} has closed a connection`);
    });
    await new Promise((resolve) => socket.once('connect', resolve));
    free.push(socket);
  }
  await keepTo(rate, count, (dueMs) => {
    if (waiting.push(dueMs) - first > MOST_WAITING) throw new Error(`${address} answers no more`);
    const socket = free.shift(); // each in its turn, as the server closes what says nothing for seconds
    if (socket !== undefined) begin(socket);
    else if (waiting.length > uncounted) waited += 1;
  });
  await all;
  for (const socket of free) socket.destroy();
}

/** False: not allowed, as for all but administrators. Only this thread, on Linux. */
function goAhead() {
  try {
    setPriority(PRIORITY);
    return true;
  } catch {
    return false;
  }
}

async function upload(staging, from, count, rate) {
  const agent = new Agent({ keepAlive: true });
  const all = [];
  let next = from;
  await keepTo(rate, count, (dueMs) => {
    all.push(uploadOne(agent, staging, next, dueMs));
    next += 1;
  });
  await Promise.all(all);
  agent.destroy();
}

function uploadOne(agent, staging, number, dueMs) {
  const path = `${signedPath(number)}/signature-1`;
  const body = readFileSync(join(staging, path));
  const headers = {
    Authorization: `Bearer ${process.env.BENCH_TOKEN}`,
    'Content-Type': 'application/octet-stream',
    'Content-Length': body.length,
  };
  return new Promise((resolve, reject) => {
    const options = { agent, host: url.hostname, port: url.port, method: 'PUT', path: `/${path}`, headers };
    const asked = request(options, (res) => {
      res.resume().on('end', () => {
        if (res.statusCode !== 201) reject(new Error(`PUT ${path} was answered with ${res.statusCode}`));
        tookMs.push(performance.now() - dueMs);
        resolve();
      });
    });
    asked.on('error', reject);
    asked.end(body);
  });
}
