// The servers that are measured, each a process with its threads or children, and the processor time that they have used.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { openSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { progressOf } from './progress.mjs';

export const MAIN = new URL('../dist/src/main.js', import.meta.url).pathname;
const DELAY = new URL('delay.mjs', import.meta.url).pathname;
const FLOOR = new URL('floor.mjs', import.meta.url).pathname;
const SERVER_CORE = '0';
const TICK_MS = 10; // of /proc: sysconf(_SC_CLK_TCK) is 100 on every Linux that Node.js runs on
const PAGE_BYTES = 4096;
const LINES_SHOWN = 5;
/** On a quiet machine the longest of these waits, for the scan of a million new images, takes some minutes. */
const MOST_WAIT_MS = 1_800_000;
/** What the log says of a scan that has ended. */
export const SCANNED = 'the tree was scanned';

const running = new Set();

/** What is added last is stopped first: nodes ahead of their database. */
export async function stopAll() {
  for (const server of [...running].reverse()) {
    await server.stop();
    running.delete(server);
  }
}

let isEnding = false;

/** As stopAll(), for good: nothing begins any more. */
export async function endAll() {
  isEnding = true;
  await stopAll();
}

/** Resolves at once, and never when the run is being ended. Call it before something begins, or is said to have failed. */
export function unlessEnding() {
  return isEnding ? new Promise(() => undefined) : Promise.resolve();
}

/** Stopped with all others. */
export function keep(server) {
  running.add(server);
}

/**
 * What a program prints that puts load on servers. A run that is ended stops it ahead of them: without them it would only fail.
 * @throws Error when it fails
 */
export async function outputOfLoad([program, ...args], env = process.env) {
  await unlessEnding();
  const child = spawn(program, args, { env, stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = once(child, 'close');
  const load = {
    async stop() {
      child.kill();
      await ended;
    },
  };
  running.add(load);
  let said = '';
  child.stdout.setEncoding('utf8').on('data', (piece) => {
    said += piece;
  });
  const [code, signal] = await ended;
  running.delete(load);
  if (code !== 0)
    throw new Error(`${[program, ...args].slice(0, 4).join(' ')} ended with ${signal ?? code}:\n${said}`);
  return said;
}

/** A server of ours. `data`: its data directory, or null for a node over the PostgreSQL of the settings; `root`: a shared tree, or null for the data directory's own. */
export function startLookaside({
  data,
  root = null,
  port,
  tls = null,
  isPinned = true,
  args = [],
  settings = {},
  log = `${data}.log`,
}) {
  const flags = ['serve', '--listen', `127.0.0.1:${port}`];
  if (data !== null) flags.push('--data', data);
  if (root !== null) flags.push('--root', root);
  if (tls !== null) flags.push('--tls-cert', tls.cert, '--tls-key', tls.key);
  const env = { PATH: process.env.PATH, ...settings };
  return start({
    name: 'lookaside',
    port,
    isTls: tls !== null,
    isPinned,
    argv: [process.execPath, ...args, MAIN, ...flags],
    env,
    log,
    scans: data !== null,
  });
}

/** nginx as Debian sets it up: one worker on our core, each read in its log. */
export function startNginx({ folder, root, port, tls = null, isWritable = false, isPinned = true }) {
  const file = join(folder, `nginx-${port}.conf`);
  const user = process.getuid() === 0 ? 'user root;' : '';
  // a minute of it takes some hundred MiB
  rmSync(`${folder}/nginx-${port}-access.log`, { force: true });
  const ssl = tls === null ? '' : `ssl_certificate ${tls.cert}; ssl_certificate_key ${tls.key};`;
  const dav = isWritable ? 'dav_methods PUT; create_full_put_path on;' : '';
  writeFileSync(
    file,
    `${user} daemon off; worker_processes 1; pid ${folder}/nginx-${port}.pid; error_log ${folder}/nginx-${port}-errors.log crit;
events { worker_connections 1024; }
http {
  access_log ${folder}/nginx-${port}-access.log combined;
  sendfile on; tcp_nopush on; keepalive_requests 1000000000;
  client_body_temp_path ${folder}/nginx-${port}-bodies;
  server { listen 127.0.0.1:${port}${tls === null ? '' : ' ssl'}; ${ssl} root ${root}; ${dav} }
}
`,
  );
  return start({
    name: 'nginx',
    port,
    isTls: tls !== null,
    isPinned,
    argv: ['nginx', '-c', file],
    env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` },
    log: `${folder}/nginx-${port}.log`,
  });
}

/** The least that Node.js can do: see floor.mjs. */
export function startFloor({ folder, root, images, port }) {
  return start({
    name: 'node:http alone',
    port,
    isTls: false,
    isPinned: true,
    argv: [process.execPath, FLOOR, root, String(images), String(port)],
    env: { PATH: process.env.PATH },
    log: `${folder}/floor.log`,
  });
}

/** A long line to another server: see delay.mjs. */
export function startDelay({ folder, port, targetPort, delay }) {
  return start({
    name: 'delaying proxy',
    port,
    isTls: false,
    isPinned: false,
    argv: [process.execPath, DELAY, String(port), String(targetPort), String(delay)],
    env: { PATH: process.env.PATH },
    log: `${folder}/delay.log`,
  });
}

async function start({ name, port, isTls, isPinned, argv, env, log, scans = false }) {
  await unlessEnding();
  // it would be measured in the place of ours
  if (await answers(port))
    throw new Error(
      `another program listens on port ${port}, which ${name} needs; end it first: it may be another run of the bench`,
    );
  const output = openSync(log, 'a');
  const logStart = statSync(log).size;
  const [program, ...args] = isPinned ? ['taskset', '-c', SERVER_CORE, ...argv] : argv;
  const child = spawn(program, args, { env, stdio: ['ignore', output, output] });
  const startedMs = performance.now();
  const ended = once(child, 'exit');
  let hasScanned = !scans;
  const server = {
    name,
    port,
    isTls,
    startedMs,
    url: `${isTls ? 'https' : 'http'}://127.0.0.1:${port}`,
    cpuMs: () => cpuMsOfAll(child.pid),
    /** The CPU milliseconds of each of its threads that still run, by itself. */
    cpuMsOfThreads: () => new Map(processesOf(child.pid).flatMap(threadsOf)),
    rssBytes: () => processesOf(child.pid).reduce((sum, pid) => sum + rssOf(pid), 0),
    /** Whether the scan that its start sets going has ended; true of servers that have none. */
    hasScanned() {
      hasScanned ||= readFileSync(log).subarray(logStart).includes(SCANNED);
      return hasScanned;
    },
    hasEnded: () => child.exitCode !== null || child.signalCode !== null,
    signal: (name) => process.kill(child.pid, name),
    /** As a power cut of the process. */
    async kill() {
      running.delete(server);
      child.kill('SIGKILL');
      await ended;
    },
    async stop() {
      running.delete(server);
      if (child.exitCode === null && child.signalCode === null) child.kill('SIGTERM');
      await ended;
    },
  };
  running.add(server);
  for (let attempt = 0; attempt < 3000; attempt += 1) {
    if (child.exitCode !== null) throw new Error(`${name} has ended${lastOf(log)}`);
    if (await answers(port)) return server;
    await wait(20);
  }
  throw new Error(`${name} does not listen on ${port}${lastOf(log)}`);
}

/** The end of its output: the file goes with the run. */
function lastOf(log) {
  const lines = readFileSync(log, 'utf8').trimEnd().split('\n').slice(-LINES_SHOWN);
  return lines.join('') === '' ? ' without a word' : `; the last of its output:\n${lines.join('\n')}`;
}

/**
 * Waits until what a start sets going, a scan and the verification of what it found, has ended. Rest alone does not tell: on a busy
 * machine a server looks at rest while it gets none of the processor.
 */
export async function settle(server, { stillMs = 1000, mostMs = MOST_WAIT_MS } = {}) {
  const startedMs = performance.now();
  const say = progressOf('waiting until the server is at rest');
  for (let stillSinceMs = startedMs, before = server.cpuMs(); ; ) {
    await wait(250);
    if (server.hasEnded()) throw new Error(`${server.name} has ended`);
    say();
    const now = server.cpuMs();
    // twice a second something small is written even at rest
    if (now - before > 2 * TICK_MS || !server.hasScanned()) stillSinceMs = performance.now();
    before = now;
    if (performance.now() - stillSinceMs >= stillMs) return;
    if (performance.now() - startedMs >= mostMs) throw new Error(`${server.name} does not come to rest`);
  }
}

/** Waits for the end of the scan alone: verdicts on many new images take minutes more. */
export async function waitForScan(server) {
  const untilMs = performance.now() + MOST_WAIT_MS;
  const say = progressOf('waiting for the scan');
  while (!server.hasScanned()) {
    if (performance.now() > untilMs) throw new Error(`${server.name} does not end its scan`);
    if (server.hasEnded()) throw new Error(`${server.name} has ended`);
    await wait(100);
    say();
  }
}

/** The CPU milliseconds of the process, and of those that it has started and that still run. */
export function cpuMsOfAll(pid) {
  return processesOf(pid).reduce((sum, one) => sum + cpuMsOf(one), 0);
}

/** Of those that it had started and that have ended. */
export function cpuMsOfEnded(pid) {
  const fields = statOf(pid);
  return fields === null ? 0 : (Number(fields[13]) + Number(fields[14])) * TICK_MS;
}

/** The process and those that it has started: nginx has workers. */
function processesOf(pid) {
  const pids = [pid];
  for (const child of childrenOf(pid)) pids.push(...processesOf(child));
  return pids;
}

function childrenOf(pid) {
  try {
    return readdirSync(`/proc/${pid}/task`).flatMap((task) =>
      readFileSync(`/proc/${pid}/task/${task}/children`, 'utf8').split(' ').filter(Boolean).map(Number),
    );
  } catch {
    return []; // it has ended
  }
}

function threadsOf(pid) {
  try {
    return readdirSync(`/proc/${pid}/task`).map((task) => [task, cpuMsOf(`${pid}/task/${task}`)]);
  } catch {
    return []; // it has ended
  }
}

/** User and system time: of a process with all its threads, also those that have ended, or of `PID/task/TID` alone. */
function cpuMsOf(pid) {
  const fields = statOf(pid);
  return fields === null ? 0 : (Number(fields[11]) + Number(fields[12])) * TICK_MS;
}

function rssOf(pid) {
  const fields = statOf(pid);
  return fields === null ? 0 : Number(fields[21]) * PAGE_BYTES;
}

/** The fields of proc_pid_stat(5) from `state` on; the name before it may hold any character. */
function statOf(pid) {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return text.slice(text.lastIndexOf(')') + 2).split(' ');
  } catch {
    return null; // it has ended
  }
}

function answers(port) {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => {
      socket.destroy();
      resolve(true);
    });
    socket.on('error', () => resolve(false));
  });
}

/** Runs a command of ours to its end. @throws when it fails */
export function runCommand(args, options = {}) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, ...args], {
    encoding: 'utf8',
    maxBuffer: 256 * 1024 * 1024,
    env: { PATH: process.env.PATH, HOME: '/nonexistent' },
    ...options,
  });
  if (status !== 0)
    throw new Error(`lookaside ${args.join(' ')} ended with ${status}:\n${stderr}${stdout.slice(0, 2000)}`);
  return stdout;
}
