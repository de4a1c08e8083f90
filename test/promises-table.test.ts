// The table of `npm run faults` (scripts/promises.mjs), and the page that it stands in.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { sourcesBelow } from './imports.ts';

const scriptUrl = new URL('../../scripts/promises.mjs', import.meta.url).href;

/** What the expression gives, in which all functions of the script are known. */
function evaluate(expression: string): unknown {
  const code = `const { parseRows, missingRows, rowsOf, textTable, withRows, withTable } = await import(${JSON.stringify(scriptUrl)});
    process.stdout.write(JSON.stringify(${expression}));`;
  const { status, stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', code], {
    encoding: 'utf8',
  });
  assert.equal(status, 0, stderr);
  return JSON.parse(stdout);
}

const row = (id: string, what: string, seen: string, isKept: boolean) => ({
  id,
  what,
  wanted: '1',
  seen,
  isKept,
});

test('a promise has the row of its end, or that of its beginning when it never came to one', () => {
  const lines = [
    row('P12', 'full', 'not run', false),
    row('P2', 'order', 'not run', false),
    row('P12', 'full', '1', true),
  ].map((each) => JSON.stringify(each));
  assert.deepEqual(evaluate(`parseRows(${JSON.stringify(`${lines.join('\n')}\n`)})`), [
    row('P2', 'order', 'not run', false),
    row('P12', 'full', '1', true),
  ]);
});

test('a promise of the document without a row is a broken one', () => {
  const docs = '**P1** is kept.\n\n**P2** is not tested, unlike **P9**.\n';
  const rows = [row('P1', 'kept', '1', true)];
  assert.deepEqual(evaluate(`missingRows(${JSON.stringify(docs)}, ${JSON.stringify(rows)})`), [
    { id: 'P2', what: 'no test', wanted: 'a figure', seen: '', isKept: false },
  ]);
});

test('a row is replaced by the newer one about the same, and goes when no test shows it any more', () => {
  const others = [row('P1', 'old', '1', true), row('P2', 'as ever', '1', true), row('P3', 'gone', '1', true)];
  const rows = [row('P1', 'old', '2', false)];
  const registered = [row('P1', 'old', 'not run', false), row('P2', 'as ever', 'not run', false)];
  assert.deepEqual(
    evaluate(`withRows(${[others, rows, registered].map((each) => JSON.stringify(each)).join(', ')})`),
    [row('P2', 'as ever', '1', true), row('P1', 'old', '2', false)],
  );
});

test('the document keeps all but its table', () => {
  const docs = 'a\n<!-- the table: written by npm run faults -->\nold\n<!-- end of the table -->\nb\n';
  const rows = [row('P1', 'a | b', '1', true), row('P2', 'c', '', false)];
  assert.equal(
    evaluate(`withTable(${JSON.stringify(docs)}, 'today', ${JSON.stringify(rows)})`),
    `a
<!-- the table: written by npm run faults -->
today

| promise | what | wanted | seen |  |
| --- | --- | --- | --- | --- |
| P1 | a \\| b | 1 | 1 | kept |
| P2 | c | 1 |  | BROKEN |
<!-- end of the table -->
b
`,
  );
});

test('the rows of the table are read again, unless they were written another day or on another machine', () => {
  const docs = 'a\n<!-- the table: written by npm run faults -->\n<!-- end of the table -->\nb\n';
  const rows = [row('P1', 'a | b', '1', true), row('P2', 'c', '', false)];
  const read = (caption: string) =>
    `rowsOf(withTable(${JSON.stringify(docs)}, 'today', ${JSON.stringify(rows)}), ${JSON.stringify(caption)})`;
  assert.deepEqual(evaluate(read('today')), rows);
  assert.equal(evaluate(read('tomorrow')), null);
  assert.equal(evaluate(`rowsOf(${JSON.stringify(docs)}, 'today')`), null);
});

test('the page names each test of a promise in the paragraph of that promise, and no file that is not there', () => {
  const root = fileURLToPath(new URL('../..', import.meta.url));
  const docs = readFileSync(join(root, 'docs/reliability.md'), 'utf8');
  const tests = sourcesBelow(join(root, 'test'));
  const named = [...docs.matchAll(/^\*\*(P[0-9]+)\*\* (?:.+\n)+/gm)].flatMap(([paragraph, id]) =>
    [...paragraph.matchAll(/`test\/([^`]+)`/g)].map(([, file = '']) => ({ id, file })),
  );
  assert.deepEqual(
    named.filter(({ file }) => !tests.has(file)),
    [],
  );
  const reported = [...tests].flatMap(([file, text]) => {
    if (!/\/promise\.ts'/.test(text)) return [];
    const ids = new Set(Array.from(text.matchAll(/\bid: '(P[0-9]+)'/g), ([, id]) => id));
    return [...ids].map((id) => ({ id, file }));
  });
  assert.ok(reported.length > 40, String(reported.length));
  assert.deepEqual(
    reported.filter((each) => !named.some(({ id, file }) => id === each.id && file === each.file)),
    [],
  );
});
