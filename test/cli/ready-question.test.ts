// The tables of ready questions on a terminal.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { tableText } from '../../src/cli/ready-question.ts';

test('a table leaves out columns that are empty or repeat what was asked about, and cuts a long User-Agent', () => {
  const table = {
    name: 'clients',
    title: 'Who got it',
    columns: ['address', 'token', 'image', 'agent', 'last'],
    rows: [
      ['192.0.2.1', null, 'team/app', 'x'.repeat(256), '2026-11-29T16:41:22.764Z'],
      ['192.0.2.2', null, 'team/app', '\u001b[31mred', null],
      ['', null, 'team/app', '', null],
    ],
    found: 4,
  };
  const lines = tableText(table, 'team/app').split('\n');
  assert.deepEqual(
    lines.map((line) => line.split(/ {2,}/)),
    [
      ['Who got it, the first 3 of 4'],
      ['ADDRESS', 'AGENT', 'LAST'],
      ['192.0.2.1', `${'x'.repeat(59)}…`, '2026-11-29T16:41:22Z'],
      ['192.0.2.2', '\\u001b[31mred', '-'],
      ['-', '-', '-'],
    ],
  );
  assert.match(tableText(table, 'team/other').split('\n')[1] ?? '', /^ADDRESS +IMAGE +AGENT +LAST$/);
  assert.equal(tableText({ ...table, rows: [], found: 0 }, null), 'Who got it: none');
});

test('a table names sites where there are others than the usual one', () => {
  const table = (site: string) => ({
    name: 'images',
    title: 'Images',
    columns: ['image', 'site'],
    rows: [
      ['team/app', 'default'],
      ['team/web', site],
    ],
    found: 2,
  });
  assert.deepEqual(tableText(table('default'), null).split(/\s+/), [
    'Images',
    'IMAGE',
    'team/app',
    'team/web',
  ]);
  assert.match(tableText(table('rh'), null), /^IMAGE +SITE\nteam\/app +default\nteam\/web +rh$/m);
});
