// How fast signatures are read, beside the servers that people use today, in the same run on the same machine.
// Needs wrk and python3; nginx is taken along if it is there. Run: npm run build && npm run bench
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';

const IMAGES = 1000;
const ROUNDS = Number(process.env.ROUNDS ?? 3);
const SECONDS = Number(process.env.SECONDS ?? 4);
const CONNECTIONS = 16;
const MAIN = new URL('../dist/src/main.js', import.meta.url).pathname;

const folder = mkdtempSync(join(tmpdir(), 'lookaside-bench-'));
const children = [];

try {
  layTree(join(folder, 'tree'));
  const servers = [await startLookaside(18_101), await startPython(18_102), await startNginx(18_103)].filter(
    (server) => server !== null,
  );
  const rows = [];
  for (const [scenario, { status, script }] of Object.entries(scenarios())) {
    const results = new Map(servers.map(({ name }) => [name, []]));
    // in turn, so that a machine that slows down slows down all of them
    for (let round = 0; round < ROUNDS; round += 1) {
      for (const { name, port } of servers) results.get(name).push(measure(name, port, script, status));
    }
    rows.push(...summarize(scenario, results));
  }
  console.table(rows);
} finally {
  for (const child of children) child.kill();
  rmSync(folder, { recursive: true, force: true });
}

function digest(number) {
  return createHash('sha256').update(String(number)).digest('hex');
}

function layTree(root) {
  const body = Buffer.concat([Buffer.from([0x89, 0x02, 0xbc]), Buffer.alloc(700, 'x')]);
  for (let number = 0; number < IMAGES; number += 1) {
    const image = join(root, `team/app@sha256=${digest(number)}`);
    mkdirSync(image, { recursive: true });
    body.writeUInt32BE(number, 10);
    writeFileSync(join(image, 'signature-1'), body);
  }
}

/** wrk's scripts: which paths are asked for. */
function scenarios() {
  const known = Array.from({ length: IMAGES }, (_, number) => `"${digest(number)}"`).join(',');
  const pick = `local known = {${known}}\nlocal at = 0\n`;
  const request = (path) =>
    `request = function() at = at % ${IMAGES} + 1\nreturn wrk.format("GET", ${path}) end\n`;
  const random = `request = function() local t = {}
for i = 1, 64 do t[i] = string.format("%x", math.random(0, 15)) end
return wrk.format("GET", "/team/app@sha256=" .. table.concat(t) .. "/signature-1") end\n`;
  return {
    'signature-1 of 1,000 images': {
      status: 200,
      script: pick + request('"/team/app@sha256=" .. known[at] .. "/signature-1"'),
    },
    'the 404 after it': {
      status: 404,
      script: pick + request('"/team/app@sha256=" .. known[at] .. "/signature-2"'),
    },
    'images that are not there': { status: 404, script: random },
  };
}

/** @throws when the server gives another answer than it should: a fast refusal is no result */
function measure(name, port, script, expected) {
  const file = join(folder, 'wrk.lua');
  writeFileSync(file, script);
  const args = [
    '-t1',
    `-c${CONNECTIONS}`,
    `-d${SECONDS}s`,
    '--latency',
    '-s',
    file,
    `http://127.0.0.1:${port}`,
  ];
  const { stdout, status } = spawnSync('wrk', args, { encoding: 'utf8' });
  const others = Number(/Non-2xx or 3xx responses: ([0-9]+)/.exec(stdout)?.[1] ?? 0);
  const all = Number(/([0-9]+) requests in/.exec(stdout)?.[1]);
  if (status !== 0 || others !== (expected === 200 ? 0 : all))
    throw new Error(`${name} does not answer ${expected}:\n${stdout}`);
  return {
    perSecond: Number(/Requests\/sec:\s+([0-9.]+)/.exec(stdout)[1]),
    p99Ms: toMs(/99%\s+([0-9.]+)(us|ms|s)/.exec(stdout)),
    errors: /Socket errors: (.*)/.exec(stdout)?.[1] ?? 'none',
  };
}

function toMs([, value, unit]) {
  return Number(value) * { us: 0.001, ms: 1, s: 1000 }[unit];
}

function summarize(scenario, results) {
  const median = (values) => values.sort((a, b) => a - b)[Math.floor(values.length / 2)];
  const ours = results.get('lookaside').map(({ perSecond }) => perSecond);
  return [...results].map(([server, runs]) => ({
    scenario,
    server,
    'requests/s': Math.round(median(runs.map(({ perSecond }) => perSecond))),
    'p99 ms': median(runs.map(({ p99Ms }) => p99Ms)),
    errors: runs.map(({ errors }) => errors).find((errors) => errors !== 'none') ?? 'none',
    'lookaside is × as fast': Number(
      median(runs.map(({ perSecond }, at) => ours[at] / perSecond)).toFixed(2),
    ),
  }));
}

async function startLookaside(port) {
  const args = [
    'serve',
    '--listen',
    `127.0.0.1:${port}`,
    '--root',
    join(folder, 'tree'),
    '--data',
    join(folder, 'd'),
  ];
  return start('lookaside', port, process.execPath, [MAIN, ...args], { PATH: process.env.PATH });
}

async function startPython(port) {
  const args = [
    '-m',
    'http.server',
    '--bind',
    '127.0.0.1',
    '--directory',
    join(folder, 'tree'),
    String(port),
  ];
  return start('python3 -m http.server', port, 'python3', args, process.env);
}

async function startNginx(port) {
  if (spawnSync('nginx', ['-v']).error) return null;
  const file = join(folder, 'nginx.conf');
  writeFileSync(
    file,
    `${process.getuid() === 0 ? 'user root; ' : ''}daemon off; worker_processes 1; pid ${folder}/nginx.pid; error_log /dev/null; events {}
http { access_log ${folder}/access.log; server { listen 127.0.0.1:${port}; root ${folder}/tree; } }`,
  );
  return start('nginx, 1 worker, access log', port, 'nginx', ['-c', file], process.env);
}

async function start(name, port, program, args, env) {
  children.push(spawn(program, args, { env, stdio: 'ignore' }));
  for (let attempt = 0; attempt < 100; attempt += 1) {
    if (await answers(port)) return { name, port };
    await wait(100);
  }
  throw new Error(`${name} does not listen on ${port}`);
}

function answers(port) {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => resolve(true));
    socket.on('connect', () => socket.end());
    socket.on('error', () => resolve(false));
  });
}
