// Ready answers as HTML and CSV: what clients and signers made up stays text.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { answerCsv, answerHtml } from '../../src/domain/answer-text.ts';
import type { ReadyAnswer } from '../../src/domain/ready-question.ts';

const HOSTILE = '=cmd|"<script>alert(1)</script>\u001b[2J\r\nnext,line';

const ANSWER: ReadyAnswer = {
  question: 'report',
  subject: '2026-11',
  since: null,
  until: null,
  answeredAt: new Date('2026-12-01T00:00:00.000Z'),
  facts: [{ name: 'reads', value: 3 }],
  tables: [
    {
      name: 'clients',
      title: 'Clients',
      columns: ['agent', 'requests'],
      rows: [
        [HOSTILE, 3],
        [null, 1],
      ],
      found: 9,
    },
    {
      name: 'reads',
      title: 'Reads by day',
      columns: ['day', 'requests'],
      rows: [
        ['2026-11-02', 10],
        ['2026-11-01', 5],
      ],
      found: 2,
    },
    { name: 'checkpoint', title: 'Checkpoint', columns: ['line'], rows: [['log <x>'], ['7']], found: 2 },
  ],
  dropped: 7,
  gaps: ['the day <b> is damaged'],
};

test('a page needs nothing else, runs nothing, and shows its plots', () => {
  const html = answerHtml(ANSWER);
  assert.doesNotMatch(html, /<script|https?:|src=|<b>/);
  assert.ok(!html.includes('\u001b'));
  assert.match(html, /=cmd\|&quot;&lt;script&gt;/);
  assert.match(html, /7 reads of that time could not be recorded/);
  assert.match(html, /The first 2 of 9\./);
  // the older day stands left of the newer one, half as high
  const bars = [
    ...html.matchAll(
      /<rect x="([^"]+)" y="[^"]+" width="[^"]+" height="([^"]+)" fill="[^"]+"><title>([^<]+)/g,
    ),
  ];
  assert.deepEqual(
    bars.map(([, , , title]) => title),
    ['2026-11-01: 5', '2026-11-02: 10'],
  );
  const [left, right] = bars;
  assert.ok(Number(left?.[1]) < Number(right?.[1]));
  assert.equal(Number(left?.[2]) * 2, Number(right?.[2]));
  assert.match(html, /<pre>log &lt;x&gt;\n7<\/pre>/);
});

test('CSV has a line for each cell, and no cell that a spreadsheet would calculate', () => {
  const lines = answerCsv(ANSWER).split('\r\n');
  assert.deepEqual(lines.slice(0, 2), ['table,row,column,value', 'facts,1,reads,3']);
  assert.equal(
    lines[2],
    `clients,1,agent,"'=cmd|""<script>alert(1)</script>\\u001b[2J\\u000d\\u000anext,line"`,
  );
  assert.equal(lines.length, 1 + 1 + 4 + 4 + 2 + 1);
});
