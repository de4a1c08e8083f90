// A test that hangs fails with its name: scripts/run-tests.mjs with scripts/hang-watch.mjs ahead of each file.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const SCRIPTS = fileURLToPath(new URL('../../scripts', import.meta.url));
const LIMIT_MS = 1500;

const folder = mkdtempSync(join(tmpdir(), 'lookaside-hang-'));
after(() => rmSync(folder, { recursive: true }));

/** Runs files with these contents, as many at a time, the first one first: 0.test.mjs. */
function runTests(concurrency: number, ...contents: readonly string[]) {
  return runProcesses(concurrency, writeTests(contents));
}

function writeTests(contents: readonly string[]): readonly string[] {
  return contents.map((content, index) => {
    const file = join(folder, `${index}.test.mjs`);
    writeFileSync(file, `import { before, describe, test } from 'node:test';\n${content}`);
    return file;
  });
}

function runProcesses(concurrency: number, processes: readonly string[]) {
  const runner = ['--import', join(SCRIPTS, 'hang-watch.mjs'), join(SCRIPTS, 'run-tests.mjs')];
  // what this test is itself a part of is not for the runner that it starts
  const { NODE_TEST_CONTEXT: _, ...env } = process.env;
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [...runner, `${concurrency}`, ...processes],
    {
      env: { ...env, TEST_LIMIT_MS: `${LIMIT_MS}` },
      encoding: 'utf8',
      timeout: 60_000,
    },
  );
  return { status, output: stdout + stderr };
}

const KEPT = "import { createServer } from 'node:net';\ncreateServer().listen(0, '127.0.0.1');\n";
const HANGS = [
  [
    'when it waits for ever',
    `${KEPT}test('good', () => {});\ndescribe('those', () => test('waits', () => new Promise(() => {})));`,
    '"waits" hangs',
  ],
  ['when it never lets go of the thread', "test('turns', () => { for (;;); });", '"turns" hangs'],
  [
    'when what it left behind keeps the process running',
    `${KEPT}test('leaves', () => {});`,
    'none runs, and the last that did is "leaves"',
  ],
  [
    'when it never begins',
    `${KEPT}before(() => new Promise(() => {}));\ntest('waited for', () => {});`,
    'none runs, and the last that did is none at all',
  ],
] as const;

describe('a test that hangs fails with its name, and the others go on', () => {
  let status: number | null;
  let output: string;
  before(() => {
    const contents = HANGS.map(([, content]) => content);
    ({ status, output } = runTests(HANGS.length, ...contents, "test('one more', () => {});"));
  });

  for (const [index, [what, , said]] of HANGS.entries()) {
    test(what, () => {
      // once, twice or three times the limit, as the load of the machine is and goes
      const warning = new RegExp(
        `${index}\\.test\\.mjs has begun or ended for (?:1\\.5|3|4\\.5) s: ${said}$`,
        'm',
      );
      assert.match(output, warning);
    });
  }
  test('in the end', () => {
    assert.equal(status, 1, output);
    assert.match(output, /✔ one more/);
    assert.match(output, new RegExp(`^ℹ fail ${HANGS.length}$`, 'm'));
  });
});

test('files run in the order that is given, and the exit status is 0 when all pass', () => {
  const { status, output } = runTests(1, "test('of z', () => {});", "test('of a', () => {});");
  assert.equal(status, 0, output);
  assert.ok(output.indexOf('of z') < output.indexOf('of a') && output.includes('of z'), output);
  assert.match(output.trimEnd(), /ℹ duration_ms [0-9.]+$/);
});

describe('files that share a process', () => {
  const PRINTS_ITS_PROCESS = "console.log('process', process.pid);";
  const shared = (...contents: readonly string[]) => runProcesses(1, [writeTests(contents).join(delimiter)]);

  test('run one after the other, each with its own hooks', () => {
    const hooks = (name: string) =>
      `beforeEach((t) => console.log('${name} before', t.name));\n${PRINTS_ITS_PROCESS}\n`;
    const { status, output } = shared(
      `import { beforeEach } from 'node:test';\n${hooks('A')}test('of a', () => {});`,
      `import { beforeEach } from 'node:test';\nawait null;\n${hooks('B')}test('of b', () => {});`,
    );
    assert.equal(status, 0, output);
    assert.deepEqual(output.match(/[AB] before .*/g), ['A before of a', 'B before of b'], output);
    assert.equal(new Set(output.match(/process [0-9]+/g)).size, 1, output);
    assert.ok(output.indexOf('✔ of a') < output.indexOf('✔ of b') && output.includes('✔ of a'), output);
    assert.match(output, /^ℹ pass 2$/m);
  });

  test('fail where one test fails, or one file cannot be loaded, and the others go on', () => {
    const { status, output } = shared(
      "test('fails', () => { throw new Error('as it should'); });",
      "throw new Error('not loaded');",
      "test('goes on', () => {});",
    );
    assert.equal(status, 1, output);
    assert.match(output, /✖ fails/);
    assert.match(output, /as it should/);
    assert.match(output, /✖ .*1\.test\.mjs/);
    assert.match(output, /not loaded/);
    assert.match(output, /✔ goes on/);
  });

  test('end with the name of one that hangs', () => {
    const { status, output } = shared(
      "test('good', () => {});",
      `${KEPT}test('waits', () => new Promise(() => {}));`,
    );
    assert.equal(status, 1, output);
    assert.match(output, /has begun or ended for [0-9.]+ s: .*"waits".* hangs$/m);
  });
});
