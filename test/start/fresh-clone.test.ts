// The README's commands, word for word, in a fresh clone of the committed repository, with one real `npm ci`. The tests
// build on each other in their order. The database's binary is not compiled once more: npm finds the one of this
// checkout, which the same scripts have compiled, where a company would put binaries of its own.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  appendFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { homedir, tmpdir } from 'node:os';
import { basename, delimiter, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath, pathToFileURL } from 'node:url';

const ROOT = fileURLToPath(new URL('../../..', import.meta.url));
const INSTALLING = /installing dependencies/;
const BUILDING = /building/;

const folder = mkdtempSync(join(tmpdir(), 'lookaside-start-'));
const clone = join(folder, 'lookaside');
const home = join(folder, 'home');
const started = new Set<ChildProcess>();
// also when this process is told to end in the middle of a test: npm would go on to compile
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => process.exit(1));
process.once('exit', endStarted);
let binaries: Binaries;

// A login's environment, without npm's additions. Port 0, because 8000 may be taken on the machine that tests.
const PATH = (process.env.PATH ?? '')
  .split(delimiter)
  .filter((entry) => !/node_modules\/\.bin$|node-gyp-bin$/.test(entry));
const ENV = {
  HOME: home,
  PATH: PATH.join(delimiter),
  LOOKASIDE_LISTEN: '127.0.0.1:0',
  // what this machine has downloaded before, as somebody has who clones a second time
  npm_config_cache: process.env.npm_config_cache ?? join(homedir(), '.npm'),
};

/** By a signal that npm start can pass on to the npm and the compilers that it has started. */
function endStarted(): void {
  for (const { pid } of started) if (pid !== undefined) process.kill(-pid, 'SIGTERM');
  started.clear();
}

/** Runs a command in the clone to its end. */
function inClone(command: string, args: readonly string[], env: NodeJS.ProcessEnv = ENV) {
  const { status, stdout, stderr } = spawnSync(command, args, { cwd: clone, env, encoding: 'utf8' });
  return { status, stdout, stderr, output: stdout + stderr };
}

/** What `npm run build` runs, without npm, which takes as long. */
function build() {
  return inClone('node', ['scripts/build.mjs']);
}

/** Runs `npm start` until the server says where it listens; `stop` is SIGTERM and gives npm's exit status. */
async function npmStart(options: readonly string[] = [], listen = ENV.LOOKASIDE_LISTEN) {
  const startedAt = performance.now();
  // Its own process group, so that nothing outlives a failed test.
  const env = { ...ENV, ...binaries.env, LOOKASIDE_LISTEN: listen };
  const npm = spawn('npm', ['start', ...options], { cwd: clone, env, detached: true });
  started.add(npm);
  npm.once('close', () => started.delete(npm));
  let output = '';
  const url = await new Promise<string>((resolve, reject) => {
    const collect = (chunk: string) => {
      output += chunk;
      const match = /listening on (http:\/\/[^\s"',]+)/.exec(output);
      if (match?.[1] !== undefined) resolve(match[1]);
    };
    npm.stdout.setEncoding('utf8').on('data', collect);
    npm.stderr.setEncoding('utf8').on('data', collect);
    npm.once('error', reject);
    npm.once('close', (code) =>
      reject(new Error(`npm start ended (${code}) before it listened:\n${output}`)),
    );
  });
  const seconds = ((performance.now() - startedAt) / 1000).toFixed(2);
  const stop = async () => {
    const closed = once(npm, 'close', { signal: AbortSignal.timeout(20_000) });
    npm.kill('SIGTERM');
    const [code, signal] = await closed;
    return code ?? signal;
  };
  return { url, seconds, output: () => output, stop };
}

/** A mirror of better-sqlite3's binaries with one of them: the one that this test runs on. */
interface Binaries {
  readonly server: Server;
  /** What leads its installation there: https://github.com/prebuild/prebuild-install#custom-binaries */
  readonly env: Readonly<Record<string, string>>;
  readonly asked: readonly string[];
}

async function openBinaries(): Promise<Binaries> {
  const binary = 'build/Release/better_sqlite3.node';
  const packed = spawnSync('tar', ['-cz', '-C', join(ROOT, 'node_modules/better-sqlite3'), binary], {
    maxBuffer: 64 * 1024 ** 2,
  });
  assert.equal(packed.status, 0, String(packed.stderr));
  const asked: string[] = [];
  const server = createServer((request, response) => {
    asked.push(request.url ?? '');
    response.end(packed.stdout);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo; // it listens on TCP
  return { server, env: { npm_config_better_sqlite3_binary_host: `http://127.0.0.1:${port}` }, asked };
}

function fetchClone(): void {
  mkdirSync(home);
  if (existsSync(join(ROOT, '.git'))) {
    // The checkout may belong to somebody else, as in containers; git then asks to be told that it is safe.
    writeFileSync(join(home, '.gitconfig'), '[safe]\n\tdirectory = *\n');
    const { status, stderr } = spawnSync('git', ['clone', '--quiet', ROOT, clone], {
      env: ENV,
      encoding: 'utf8',
    });
    assert.equal(status, 0, stderr);
    return;
  }
  const made = ['node_modules', 'dist', 'data']; // what .gitignore names
  cpSync(ROOT, clone, { recursive: true, filter: (path) => !made.includes(basename(path)) });
}

describe('in a fresh clone', () => {
  before(async () => {
    fetchClone();
    binaries = await openBinaries();
  });
  after(() => {
    binaries?.server.close();
    endStarted();
    rmSync(folder, { recursive: true, force: true });
  });

  test('`npm start` alone installs, builds and serves until SIGTERM', async (t) => {
    const server = await npmStart();
    t.diagnostic(`first start: ${server.seconds} s`);
    assert.equal(binaries.asked.length, 1, 'the binary is installed, not compiled');
    for (const path of ['/', '/livez']) {
      const { status } = await fetch(new URL(path, server.url));
      assert.equal(status, 200, path);
    }
    const output = server.output();
    assert.match(output, INSTALLING);
    assert.match(output, BUILDING);
    assert.ok(existsSync(join(clone, 'data')), 'nothing lies under ./data');
    assert.match(output, /\bdata\b/);
    assert.match(output, /\blookaside: http:\/\//);
    assert.match(output, /\bsigstore: http:\/\//);
    assert.equal(await server.stop(), 0, server.output());
  });

  test('the second `npm start` installs and builds nothing, and its `-- --listen` reaches the server', async (t) => {
    const server = await npmStart(['--', '--listen', '127.0.0.1:0'], '127.0.0.1:1');
    t.diagnostic(`second start: ${server.seconds} s`);
    assert.doesNotMatch(server.output(), INSTALLING);
    assert.doesNotMatch(server.output(), BUILDING);
    assert.notEqual(new URL(server.url).port, '1');
    assert.equal(await server.stop(), 0, server.output());
  });

  test('`npx lookaside` is the command line', () => {
    const { status, output } = inClone('npx', ['lookaside', '--help']);
    assert.equal(status, 0, output);
    assert.match(output, /\bserve\b/);
  });

  test('dependencies that somebody installed by `npm ci` are taken as they are', () => {
    rmSync(join(clone, 'node_modules/.lookaside-installed'));
    const { status, output } = inClone('npm', ['run', 'build']);
    assert.equal(status, 0, output);
    assert.doesNotMatch(output, INSTALLING);
    assert.doesNotMatch(output, BUILDING);
  });

  test('deleted sources and tests leave no built files that would run on', () => {
    assert.ok(existsSync(join(clone, 'dist/src/domain/errors.js')));
    assert.ok(existsSync(join(clone, 'dist/test/start/fresh-clone.test.js')));
    // nearly all of them, which makes the builds that follow short
    for (const name of ['src', 'test']) rmSync(join(clone, name), { recursive: true });
    mkdirSync(join(clone, 'src'));
    writeFileSync(join(clone, 'src/main.ts'), 'export const isWhole = false;\n');
    const { status, output } = build();
    assert.equal(status, 0, output);
    assert.equal(existsSync(join(clone, 'dist/src/domain')), false);
    assert.equal(existsSync(join(clone, 'dist/test')), false);
  });

  test('an edited source is built again, once', () => {
    appendFileSync(join(clone, 'src/main.ts'), '// edited\n');
    const edited = build();
    assert.equal(edited.status, 0, edited.output);
    assert.match(edited.output, BUILDING);
    assert.doesNotMatch(edited.output, INSTALLING);
    assert.match(readFileSync(join(clone, 'dist/src/main.js'), 'utf8'), /edited/);
    assert.doesNotMatch(build().output, BUILDING);
  });

  test('a failed build is tried again, and never started', () => {
    const source = join(clone, 'src/broken.ts');
    writeFileSync(source, "export const wanted: number = 'text';\n");
    for (const script of ['build', 'start']) {
      const { status, output } = inClone('npm', ['run', script]);
      assert.notEqual(status, 0, script);
      assert.match(output, BUILDING);
      assert.doesNotMatch(output, /listening/);
    }
    rmSync(source);
    assert.equal(build().status, 0);
  });

  test('a filter that no test file matches is a failure', () => {
    const { status, stdout, stderr } = testsWithoutClients(['no-such-test'], {});
    assert.equal(status, 1);
    assert.equal(stdout, '');
    assert.match(stderr, /no test file has no-such-test in its path/);
  });

  test('with CI=true a missing client stops the tests before the first one runs', () => {
    const { status, stdout, stderr } = testsWithoutClients(['layers'], { CI: 'true' });
    assert.equal(status, 1);
    assert.equal(stdout, '');
    assert.match(stderr, /not on this machine: podman, skopeo, docker-registry, .*\(only on Debian/);
    assert.match(stderr, /with CI=true no test may be skipped/);
  });

  test('without CI a missing client is named with its reason, the rest runs, and the counts come last', () => {
    mkdirSync(join(clone, 'test'));
    writeFileSync(
      join(clone, 'test/one.test.ts'),
      "import { test } from 'node:test';\ntest('one', () => {});\n",
    );
    const { status, stdout, stderr } = testsWithoutClients(['one.test'], {});
    assert.equal(status, 0, stdout + stderr);
    assert.match(stderr, /not on this machine: podman, .*only on Debian.*; tests that need one are skipped/);
    const counts = ['tests', 'suites', 'pass', 'fail', 'cancelled', 'skipped', 'todo', 'duration_ms'];
    const last = stdout.trimEnd().split('\n').slice(-counts.length);
    assert.deepEqual(
      last.map((line) => line.split(' ')[1]),
      counts,
    );
    assert.equal(last[0], 'ℹ tests 1');
  });

  test('`npm run test:fast` runs what is in no folder of slow tests, without clients, and looks for none', () => {
    const slow = join(clone, 'test/clients');
    mkdirSync(slow);
    writeFileSync(join(slow, 'slow.test.ts'), "throw new Error('this one is not of the fast part');\n");
    writeFileSync(
      join(clone, 'test/one.test.ts'),
      `import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
test('one', () => {
  assert.equal(spawnSync('sh', ['-c', 'exit 3']).status, 3);
  assert.match(String(spawnSync('git', ['--version']).error), /ENOENT/);
});
`,
    );
    const { status, stdout, output } = inClone('npm', ['run', 'test:fast']);
    assert.equal(status, 0, output);
    assert.match(stdout, /^ℹ tests 1$/m);
    assert.doesNotMatch(output, /not on this machine/);
    rmSync(slow, { recursive: true });
  });

  test('a failed test is the exit status of `npm test`', () => {
    const source = join(clone, 'test/one.test.ts');
    writeFileSync(
      source,
      "import { test } from 'node:test';\ntest('one', () => {\n  throw new Error('no');\n});\n",
    );
    assert.equal(testsWithoutClients(['one.test'], {}).status, 1);
    rmSync(source);
  });

  test('a missing package or a database binary that does not load is noticed', async () => {
    const { isInstalled } = await import(pathToFileURL(join(clone, 'scripts/ready.mjs')).href);
    assert.equal(await isInstalled(clone), true);
    const stamp = join(clone, 'node_modules/.lookaside-installed');
    const record = join(clone, 'node_modules/.package-lock.json');
    const wholeRecord = readFileSync(record, 'utf8');
    const { packages, ...rest } = JSON.parse(wholeRecord);
    delete packages['node_modules/zod'];
    writeFileSync(record, JSON.stringify({ ...rest, packages }));
    rmSync(stamp);
    assert.equal(await isInstalled(clone), false);
    writeFileSync(record, wholeRecord);
    assert.equal(await isInstalled(clone), true);
    truncateSync(join(clone, 'node_modules/better-sqlite3/build/Release/better_sqlite3.node'), 4096);
    assert.equal(await isInstalled(clone), false);
  });
});

/** `npm test` of the clone on a machine that has Node.js and nothing else on its PATH. */
function testsWithoutClients(parts: readonly string[], env: Record<string, string>) {
  const bin = join(folder, 'bin');
  if (!existsSync(bin)) {
    mkdirSync(bin);
    symlinkSync(process.execPath, join(bin, 'node'));
  }
  return inClone('node', ['scripts/test.mjs', ...parts], { HOME: home, PATH: bin, ...env });
}
