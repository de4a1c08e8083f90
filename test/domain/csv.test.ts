// Comma-separated values.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { csvLine } from '../../src/domain/csv.ts';

/** As RFC 4180 has it. */
function parse(text: string): readonly string[] {
  const cells: string[] = [];
  const cell = /(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r\n)/y;
  for (;;) {
    const match = cell.exec(text) ?? assert.fail(text);
    cells.push(match[1]?.replaceAll('""', '"') ?? match[2] ?? '');
    if (match[3] === '\r\n') {
      assert.equal(cell.lastIndex, text.length);
      return cells;
    }
  }
}

test('a line holds what was put in, but for the apostrophe in front of what would calculate', () => {
  const text = fc.string({ unit: fc.constantFrom('a', '"', ',', '\n', '\r', ' ', '=', '-', '@', '\t', "'") });
  fc.assert(
    fc.property(fc.array(text, { minLength: 1 }), (cells) => {
      const escaped = cells.map((cell) => (/^[=\-@\t\r]/.test(cell) ? `'${cell}` : cell));
      assert.deepEqual(parse(csvLine(cells)), escaped);
    }),
  );
});

test('nothing that begins as a formula does so in the line', () => {
  for (const first of ['=', '+', '-', '@', '\t', '\r', '\uff1d', '\uff0b', '\uff0d', '\uff20']) {
    assert.match(csvLine([`${first}1+1`]), /^"?'/);
  }
});
