// scripts/with-node.mjs with the Node.js that runs here, for which it asks no registry.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { NOBODY } from '../faults/unprivileged.ts';

const ROOT = fileURLToPath(new URL('../../..', import.meta.url));
const [LINE = ''] = process.versions.node.split('.');

function withNode(...args: readonly string[]) {
  const argv = [join(ROOT, 'scripts/with-node.mjs'), ...args];
  return spawnSync(process.execPath, argv, { encoding: 'utf8' });
}

test('a command runs as nobody in a ready copy of the checkout, which is gone afterwards, and its status is ours', () => {
  const script = `
    node -p process.versions.node; id -u; pwd
    node -e "new (require('better-sqlite3'))(':memory:').close()" && test -f dist/src/main.js && rm -r src && exit 3`;
  const { status, stdout, stderr } = withNode(LINE, '--as-nobody', 'sh', '-c', script);
  assert.equal(status, 3, stdout + stderr);
  const [version, user, folder = ''] = stdout.split('\n');
  assert.equal(version, process.versions.node);
  assert.equal(user, String(process.getuid?.() === 0 ? NOBODY : process.getuid?.()));
  assert.notEqual(folder, ROOT.replace(/\/$/, ''));
  assert.equal(existsSync(folder), false);
  assert.ok(existsSync(join(ROOT, 'src/main.ts')));
});

test('in a folder that is named the copy stays, and the next call finds it as it was left', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'lookaside-with-node-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const first = withNode(LINE, '--in', folder, 'sh', '-c', 'test -f dist/src/main.js && echo left > left');
  assert.equal(first.status, 0, first.stdout + first.stderr);
  const second = withNode(LINE, '--in', folder, 'cat', 'left');
  assert.deepEqual([second.status, second.stdout], [0, 'left\n'], second.stderr);
  assert.doesNotMatch(second.stderr, /installing|building/);
});

test('what is no version, and a missing command, are told how to do better', () => {
  for (const args of [[], ['latest', 'true'], [LINE], [LINE, '--as-nobody'], [LINE, '--in', '/nowhere']]) {
    const { status, stderr } = withNode(...args);
    assert.equal(status, 1);
    assert.match(
      stderr,
      /^usage: node scripts\/with-node\.mjs VERSION \[--in FOLDER\] \[--as-nobody\] COMMAND …, VERSION like 24/,
    );
  }
});
