// Load on a server, and what it cost the server. Every kind of load checks what it is answered.
import { setTimeout as wait } from 'node:timers/promises';
import { bytesOf, imagePath } from './material.mjs';
import { outputOfLoad } from './servers.mjs';

const LOAD_CORE = '1';
const CONNECTIONS = 16;
const CHECKED = 40;
/** A server closes what is idle, and the bench may have been busy for as long: a connection that was kept may just have ended. */
const ONCE = { headers: { Connection: 'close' } };
const CLIENTS = new URL('clients.mjs', import.meta.url).pathname;

/** Not written for each run: several wrk read it at the same time, and one that met an empty file gave no result. */
const NAMES = new URL('names.lua', import.meta.url).pathname;

/**
 * Reads over connections that stay open. `share404`: of the answers, 0.5 for signature-1 and -2 in turn, 1 for a flood. `restMs`: how
 * long the server is waited for behind them, where what it does then counts too.
 */
export async function loadReads(server, { names, seconds, share404, from = someImage(), restMs = 0 }) {
  const flags = [
    '-t1',
    `-c${CONNECTIONS}`,
    `-d${seconds}s`,
    '-s',
    NAMES,
    server.url,
    '--',
    names,
    String(from),
  ];
  const { said, cpuMs } = await costOf(server, 'wrk', flags, { restMs });
  const resultLine = /^RESULT (.*)$/m.exec(said);
  if (resultLine === null) throw new Error(`wrk did not end well:\n${said}`);
  const result = JSON.parse(resultLine[1]);
  const wanted = share404 * result.requests;
  if (result.broken > 0 || Math.abs(result.notFound - wanted) > CONNECTIONS + 0.02 * wanted) {
    throw new Error(
      `${server.name} gave wrong answers: ${result.notFound} of ${result.requests} were not found, wanted ${Math.round(wanted)}; ${result.broken} broke`,
    );
  }
  return {
    requests: result.requests,
    perSecond: (1000 * result.requests) / result.durationMs,
    cpuUs: (1000 * cpuMs) / result.requests,
    p50Ms: result.p50Ms,
    p99Ms: result.p99Ms,
  };
}

/** An even place, as signature-1 comes ahead of signature-2. */
function someImage() {
  return 2 * Math.floor(Math.random() * 1e6);
}

/** Whole pulls: a new connection, signature-1, signature-2, close. Each answer is compared byte for byte. */
export async function loadPulls(server, { images, seconds }) {
  const { said, cpuMs } = await costOf(server, process.execPath, [
    CLIENTS,
    'pull',
    server.url,
    String(images),
    String(seconds),
  ]);
  const { pulls, durationMs, p50Ms, p99Ms } = JSON.parse(said);
  return { perSecond: (1000 * pulls) / durationMs, cpuUs: (1000 * cpuMs) / pulls, p50Ms, p99Ms };
}

/** `count` uploads of one image each, `clients` at a time; each must be new. */
export async function loadUploads(server, { staging, token, from, count, clients, batch = 1 }) {
  const { said, cpuMs } = await costOf(
    server,
    process.execPath,
    [CLIENTS, 'upload', server.url, staging, String(from), String(count), String(clients), String(batch)],
    { env: { ...process.env, BENCH_TOKEN: token }, isPinned: false },
  );
  const { durationMs, p50Ms, p99Ms } = JSON.parse(said);
  return { perSecond: (1000 * count) / durationMs, cpuUs: (1000 * cpuMs) / count, p50Ms, p99Ms };
}

/** @throws when one of some images of the tree is answered with other bytes than it has, or has more than one */
export async function checkBytes(server, images) {
  for (let turn = 0; turn < CHECKED; turn += 1) {
    const number = Math.floor(Math.random() * images);
    const path = `/${imagePath(number)}`;
    const first = await fetch(`${server.url}${path}/signature-1`, ONCE);
    const bytes = Buffer.from(await first.arrayBuffer());
    if (first.status !== 200)
      throw new Error(`${server.name} answered ${path}/signature-1 with ${first.status}, wanted 200`);
    if (!bytes.equals(bytesOf(number)))
      throw new Error(
        `${server.name} answered ${path}/signature-1 with other bytes than the tree was made with`,
      );
    const second = await fetch(`${server.url}${path}/signature-2`, ONCE);
    await second.arrayBuffer();
    if (second.status !== 404)
      throw new Error(`${server.name} answered ${path}/signature-2 with ${second.status}, wanted 404`);
  }
}

/** What a program prints that puts load on the server, and the server's processor time meanwhile. */
async function costOf(server, program, args, { env = process.env, isPinned = true, restMs = 0 } = {}) {
  const beforeMs = server.cpuMs();
  const argv = isPinned ? ['taskset', '-c', LOAD_CORE, program, ...args] : [program, ...args];
  const said = await outputOfLoad(argv, env);
  await wait(restMs);
  return { said, cpuMs: server.cpuMs() - beforeMs };
}
