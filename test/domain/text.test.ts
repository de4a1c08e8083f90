import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import {
  escapeHtml,
  escapeJson,
  escapeLine,
  escapeTerminal,
  isPlain,
  quoted,
} from '../../src/domain/text.ts';

const HOSTILE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u;

const text = fc
  .array(
    fc.oneof(
      fc.string({ unit: 'binary', maxLength: 8 }),
      fc.constantFrom(
        '\r\n',
        '\u0085',
        '\u2028',
        '\u2029',
        '\u001b[2J',
        '\u202e',
        '\u200b',
        '\ufeff',
        '\u{e0041}',
      ),
      fc.constantFrom(
        '"',
        '\\',
        '\\"',
        '\\n',
        '<script>',
        '&amp;',
        "'",
        '\u007f',
        '\u009b',
        '\ud800',
        'plain',
      ),
    ),
    { maxLength: 8 },
  )
  .map((parts) => parts.join(''));

/** What a reader of the log makes of an escaped line. */
function unescapeLine(line: string): string {
  return line.replace(/\\(?:u([0-9a-f]{4})|(.))/gs, (_, hex?: string, character?: string) => {
    return hex === undefined ? (character ?? '') : String.fromCharCode(Number.parseInt(hex, 16));
  });
}

describe("other people's text", () => {
  test('in JSON it means the same and has nothing that steers a terminal or breaks a line', () => {
    fc.assert(
      fc.property(text, fc.jsonValue(), (one, value) => {
        const json = JSON.stringify({ [one]: [one, value] });
        const escaped = escapeJson(json);
        assert.doesNotMatch(escaped, HOSTILE);
        assert.deepEqual(JSON.parse(escaped), JSON.parse(json));
      }),
    );
  });

  test('in a log it stays in its line and between its quotes, and can be read back', () => {
    fc.assert(
      fc.property(text, (one) => {
        const escaped = escapeLine(one);
        assert.doesNotMatch(escaped, HOSTILE);
        assert.match(escaped, /^(?:[^"\\]|\\["\\]|\\u[0-9a-f]{4})*$/su);
        assert.equal(unescapeLine(escaped), one);
      }),
    );
  });

  test('on a terminal it has nothing that steers, and is else as it was', () => {
    fc.assert(
      fc.property(text, (one) => {
        assert.doesNotMatch(escapeTerminal(one), HOSTILE);
        if (!HOSTILE.test(one)) assert.equal(escapeTerminal(one), one);
      }),
    );
  });

  test('in a page it opens no element, ends no attribute and names no entity of its own', () => {
    fc.assert(
      fc.property(text, (one) => {
        const escaped = escapeHtml(one);
        assert.doesNotMatch(escaped, /[<>"']/);
        assert.doesNotMatch(escaped, HOSTILE);
        assert.doesNotMatch(escaped, /&(?!(?:amp|lt|gt|quot|#39);)/);
      }),
    );
  });

  test('a page shows the text that was given', () => {
    assert.equal(
      escapeHtml(`<a href="x">'&amp;'</a>`),
      '&lt;a href=&quot;x&quot;&gt;&#39;&amp;amp;&#39;&lt;/a&gt;',
    );
    assert.equal(escapeHtml('team/äpp@sha256=0f ✓'), 'team/äpp@sha256=0f ✓');
    assert.equal(escapeHtml('a\u202eb\nc'), 'a\ufffdb\ufffdc');
  });
});

describe('a text quoted in a message', () => {
  test('is short, on one line and without a hostile character', () => {
    fc.assert(
      fc.property(text, (one) => {
        assert.doesNotMatch(quoted(one), HOSTILE);
        if (one.length <= 64) assert.equal(JSON.parse(quoted(one)), one);
      }),
    );
    assert.equal(quoted('x'.repeat(64)), `"${'x'.repeat(64)}"`);
    assert.equal(quoted('x'.repeat(65)), `"${'x'.repeat(64)}…"`);
  });
});

test('plain text has no control characters but line feeds and tabs, and no half characters', () => {
  for (const plain of ['leaked', 'first\n\tsecond', 'schlüssel 🔑', '\u202e']) assert.ok(isPlain(plain));
  for (const other of ['a\0', '\r\n', '\u001b[2J', '\u0085', '\ud83d'])
    assert.ok(!isPlain(other), JSON.stringify(other));
});
