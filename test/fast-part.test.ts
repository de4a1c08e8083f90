// `npm run test:fast` needs no other program and no root: no test of it reaches what looks for clients.
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { importsOf, sourcesBelow, targetOf } from './imports.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
/** needs() and hasPrivateHost() of this file are how a test asks for another program or for root. */
const CLIENTS = 'clients/available.ts';

const { isFast, layPath, LONGEST, longestFirst, processesFor } = await import(
  new URL('../../scripts/parts.mjs', import.meta.url).href
);
const sources = sourcesBelow(join(ROOT, 'test'));

/** The files from `file` to the one that it must not reach, each imported by the one before; null when it does not. */
function wayTo(forbidden: string, file: string, seen = new Set<string>()): readonly string[] | null {
  if (file === forbidden) return [file];
  if (seen.has(file)) return null;
  seen.add(file);
  for (const specifier of importsOf(sources.get(file) ?? '')) {
    const rest = specifier.startsWith('.') ? wayTo(forbidden, targetOf(file, specifier), seen) : null;
    if (rest !== null) return [file, ...rest];
  }
  return null;
}

test('no test of the fast part asks for a client or for root', () => {
  const fast = [...sources.keys()].filter((file) => file.endsWith('.test.ts') && isFast(`test/${file}`));
  assert.ok(fast.length > 50, `${fast.length} tests are fast`);
  const ways = fast.map((file) => wayTo(CLIENTS, file)).filter((way) => way !== null);
  const sentences = ways.map(
    (way) => `${way.join(' -> ')}: move what asks for it to test/clients or test/faults`,
  );
  assert.deepEqual(sentences, [], sentences.join('\n'));
});

test('the way to it is found through other files', () => {
  assert.deepEqual(wayTo(CLIENTS, 'clients/private-host.ts'), ['clients/private-host.ts', CLIENTS]);
  assert.ok((wayTo(CLIENTS, 'clients/readme.test.ts')?.length ?? 0) > 1);
});

test('clients, faults and start are no part of it, and names that begin alike are', () => {
  for (const file of [
    'test/clients/push.test.ts',
    'test/faults/reads.test.js',
    'test/start/fresh-clone.test.ts',
  ]) {
    assert.equal(isFast(file), false, file);
  }
  for (const file of ['test/config.test.ts', 'test/clients-none.test.ts', 'test/http/faults/a.test.ts']) {
    assert.equal(isFast(file), true, file);
  }
});

test('on its PATH are Node.js and sh, and no client', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'lookaside-parts-'));
  t.after(() => rmSync(folder, { recursive: true }));
  layPath(join(folder, 'bin'));
  const names = readdirSync(join(folder, 'bin'));
  for (const name of ['node', 'sh']) assert.ok(names.includes(name), name);
  for (const name of ['gpg', 'skopeo', 'openssl', 'curl', 'npm', 'git', 'unshare']) {
    assert.ok(!names.includes(name), name);
  }
});

test('the longest files begin first, and each of them is there', () => {
  const named = new Set([...sources.keys()].map((file) => `test/${file}`.replace(/\.test\.ts$/, '')));
  const gone = LONGEST.filter((file: string) => !named.has(file));
  assert.deepEqual(gone, [], 'LONGEST of scripts/parts.mjs names files that are not there');
  const [first, second] = LONGEST;
  assert.deepEqual(
    longestFirst(['test/a.test.js', `${second}.test.js`, `${first}.test.js`, 'test/b.test.js']),
    [`${first}.test.js`, `${second}.test.js`, 'test/a.test.js', 'test/b.test.js'],
  );
});

test('fast files of one folder share a process, but for the longest and those that look at their process', () => {
  const named = (name: string) => `test/${name}.test.js`;
  const texts = new Map([[named('files/b'), "readdir('/proc/self/fd')"]]);
  const inProcesses = (...names: readonly string[]) =>
    processesFor(names.map(named), (path: string) => texts.get(path) ?? '');
  assert.deepEqual(
    inProcesses('store/append', 'files/a', 'files/b', 'files/c', 'http/a', 'faults/a', 'faults/b'),
    [['store/append'], ['files/a', 'files/c'], ['files/b'], ['http/a'], ['faults/a'], ['faults/b']].map(
      (names) => names.map(named),
    ),
  );
  const many = Array.from({ length: 100 }, (_, index) => `files/${index}`);
  const processes: readonly (readonly string[])[] = inProcesses(...many);
  assert.deepEqual(processes.flat(), many.map(named));
  assert.ok(processes.length > 5 && processes.length < 20, `${processes.length} processes`);
});
