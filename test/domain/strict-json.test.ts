import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { type JsonValue, readJson } from '../../src/domain/strict-json.ts';

const read = (text: string) => readJson(Buffer.from(text));

/** The value as JSON.parse gives it, for JSON without duplicates. */
function plain(value: JsonValue): unknown {
  switch (value.kind) {
    case 'object':
      return Object.fromEntries(value.members.map(({ name, value: content }) => [name, plain(content)]));
    case 'array':
      return value.items.map(plain);
    case 'null':
      return null;
    default:
      return value.value;
  }
}

const HALF_PAIR = /\p{Surrogate}/gu;

describe('strict JSON', () => {
  test('what JSON.stringify writes is read as the same value', () => {
    fc.assert(
      fc.property(
        fc.jsonValue({ maxDepth: 6, noUnicodeString: false }),
        fc.constantFrom(undefined, ' ', '\t', '\r\n'),
        (value, indent) => {
          const text = JSON.stringify(value, null, indent);
          assert.deepEqual(plain(read(text)), JSON.parse(text));
        },
      ),
    );
  });

  test('what it reads, JSON.parse reads too, whatever is changed in a text', () => {
    const text = '{"a":[1,-0.5e+3,"x\\u00e9\\n"],"b":{"c":null,"d":true}}';
    const patch = fc.record({
      at: fc.nat(text.length),
      drop: fc.nat(3),
      put: fc.oneof(fc.string({ maxLength: 3 }), fc.stringMatching(/^[{}[\],:"\\0-9eE.+\-tfnu ]{0,3}$/)),
    });
    let taken = 0;
    fc.assert(
      fc.property(patch, ({ at, drop, put }) => {
        const changed = text.slice(0, at) + put + text.slice(at + drop);
        let value: JsonValue;
        try {
          value = read(changed);
        } catch (error) {
          assert.ok(error instanceof SyntaxError, String(error));
          return;
        }
        taken += 1;
        const parsed: unknown = JSON.parse(changed, (_name, one) =>
          typeof one === 'string' ? one.replaceAll(HALF_PAIR, '\ufffd') : one,
        );
        assert.deepEqual(plain(value), parsed);
      }),
      // JSON.parse keeps half of a surrogate pair
      { numRuns: 3000, examples: [[{ at: 20, drop: 0, put: 'DA' }]] },
    );
    assert.ok(taken > 0);
  });

  test('members keep their order and their duplicates', () => {
    assert.deepEqual(read('{"b":1,"a":2,"\\u0062":3}'), {
      kind: 'object',
      members: [
        { name: 'b', value: { kind: 'number', value: 1, text: '1' } },
        { name: 'a', value: { kind: 'number', value: 2, text: '2' } },
        { name: 'b', value: { kind: 'number', value: 3, text: '3' } },
      ],
    });
  });

  const nested = (depth: number) => '['.repeat(depth) + ']'.repeat(depth);
  const members = (count: number) =>
    `{${Array.from({ length: count }, (_, position) => `"m${position}":0`).join(',')}}`;

  const TAKEN: readonly (readonly [title: string, text: string])[] = [
    ['all blanks of JSON around a value', ' \t\r\n1\n'],
    ['every escape', '"\\"\\\\\\/\\b\\f\\n\\r\\t\\u00Ef"'],
    ['a surrogate pair as two escapes', '"\\ud83d\\ude00"'],
    ['DEL and C1 controls in a string', '"\x7f\x85\u2028"'],
    ['NUL as an escape', '"\\u0000"'],
    ['minus zero', '-0'],
    ['a number that rounds to 0', '1e-400'],
    ['the largest double', '1.7976931348623157e308'],
    ['32 levels', nested(32)],
    ['256 members', members(256)],
  ];
  for (const [title, text] of TAKEN) {
    test(`${title}: taken`, () => assert.deepEqual(plain(read(text)), JSON.parse(text)));
  }

  const REFUSED: readonly (readonly [title: string, text: string, message: RegExp])[] = [
    ['nothing', '', /^the end at character 1, expected a JSON value$/],
    ['blanks alone', ' \n', /the end at character 3/],
    ['a byte order mark', '\ufeff{}', /a byte order mark at character 1/],
    ['a byte order mark inside', '{\ufeff}', /expected a member name/],
    ['a second value', '{}{}', /"\{" at character 3, expected nothing after/],
    ['a NUL after the value', '{}\0', /"\\u0000" at character 3/],
    ['a no-break space', '{}\u00a0', /at character 3/],
    ['a vertical tab', '\v{}', /expected a JSON value/],
    ['a comment', '{}// x', /"\/" at character 3/],
    ['a trailing comma in an object', '{"a":1,}', /"\}" at character 8, expected a member name/],
    ['a trailing comma in an array', '[1,]', /"\]" at character 4, expected a JSON value/],
    ['a leading comma', '[,1]', /expected a JSON value/],
    ['a missing comma', '[1 2]', /expected "," or "\]"/],
    ['a missing colon', '{"a" 1}', /expected ":" after a member name/],
    ['a missing value', '{"a":}', /expected a JSON value/],
    ['a name without quotes', '{a:1}', /expected a member name in double quotes/],
    ['single quotes', "{'a':1}", /expected a member name in double quotes/],
    ['an object that does not end', '{"a":1', /the end at character 7, expected "," or "\}"/],
    ['an array that does not end', '[1', /the end at character 3/],
    ['a bracket of the other kind', '[1}', /expected "," or "\]"/],
    ['a string that does not end', '"abc', /the end at character 5, expected a string/],
    ['a line feed in a string', '"a\nb"', /"\\n" at character 3/],
    ['a NUL in a string', '"a\0b"', /at character 3/],
    ['a tab in a name', '{"a\t":1}', /at character 4/],
    ['an unknown escape', '"\\x41"', /"x" at character 3, expected one of the escapes/],
    ['an escaped apostrophe', '"\\\'"', /expected one of the escapes/],
    ['a capital escape', '"\\N"', /expected one of the escapes/],
    ['a short unicode escape', '"\\u12"', /expected one of the escapes/],
    ['a unicode escape with a sign', '"\\u+123"', /expected one of the escapes/],
    ['a leading zero', '01', /"1" at character 2/],
    ['a plus sign', '+1', /expected a JSON value/],
    ['a bare minus', '-', /expected a JSON value/],
    ['a point without digits', '1.', /"\." at character 2/],
    ['a point at the front', '.5', /expected a JSON value/],
    ['an exponent without digits', '1e', /"e" at character 2/],
    ['hexadecimal', '0x10', /"x" at character 2/],
    ['NaN', 'NaN', /expected a JSON value/],
    ['Infinity', '-Infinity', /expected a JSON value/],
    ['a number over a double', '[1e309]', /the number "1e309" at character 2/],
    ['a capital literal', 'True', /expected a JSON value/],
    ['a literal with a tail', 'nullx', /"x" at character 5/],
    ['33 levels', nested(33), /nesting deeper than 32 at character 33/],
    ['100,000 levels', nested(100_000), /nesting deeper than 32/],
    ['257 members', members(257), /an object of more than 256 members/],
  ];
  for (const [title, text, message] of REFUSED) {
    test(`${title}: refused`, () => assert.throws(() => read(text), { name: 'SyntaxError', message }));
  }

  // what skopeo 1.9.3 reads; the names show that Go puts as many in as there are bytes
  const AS_GO: readonly (readonly [title: string, content: string | readonly number[], text: string])[] = [
    ['a high surrogate alone', 'a\\ud800b', 'a\ufffdb'],
    ['a low surrogate alone', 'a\\udc00b', 'a\ufffdb'],
    ['surrogates in the wrong order', '\\udc00\\ud800', '\ufffd\ufffd'],
    ['a high surrogate ahead of a pair', '\\ud83d\\ud83d\\ude00', '\ufffd😀'],
    ['a low surrogate behind a pair', '😀\\ude00', '😀\ufffd'],
    ['a high surrogate ahead of another escape', '\\ud83d\\n', '\ufffd\n'],
    ['a byte of Latin-1', [0xe9], '\ufffd'],
    ['a sequence cut short', [0xe2, 0x82], '\ufffd\ufffd'],
    ['a sequence cut short ahead of text', [0xf0, 0x9f, 0x98, 0x61], '\ufffd\ufffd\ufffda'],
    ['an overlong sequence', [0xc0, 0xaf], '\ufffd\ufffd'],
    ['an overlong sequence of three bytes', [0xe0, 0x9f, 0xbf], '\ufffd\ufffd\ufffd'],
    ['an encoded surrogate', [0xed, 0xa0, 0x80], '\ufffd\ufffd\ufffd'],
    ['a code point over U+10FFFF', [0xf4, 0x90, 0x80, 0x80], '\ufffd\ufffd\ufffd\ufffd'],
  ];
  for (const [title, content, text] of AS_GO) {
    test(`${title}: read as Go reads it, in a name too`, () => {
      const string = Buffer.concat([Buffer.from('"'), Buffer.from(content as string), Buffer.from('"')]);
      assert.deepEqual(readJson(string), { kind: 'string', value: text });
      const object = Buffer.concat([Buffer.from('{'), string, Buffer.from(':1}')]);
      assert.deepEqual(plain(readJson(object)), { [text]: 1 });
    });
  }

  test('each byte that is no part of UTF-8 becomes one U+FFFD, and no other is changed', () => {
    const bytes = fc.oneof(
      fc.uint8Array({ maxLength: 12 }),
      fc.string({ unit: 'binary', maxLength: 4 }).map((text) => Buffer.from(text)),
      fc.constantFrom([0xe2, 0x82], [0xf0, 0x9f, 0x98], [0xed, 0xa0, 0x80], [0xf4, 0x90]).map(Buffer.from),
    );
    fc.assert(
      fc.property(fc.array(bytes, { maxLength: 4 }), (parts) => {
        // without what ends a string or has no place in one
        const content = Buffer.concat(parts).filter((byte) => byte >= 0x20 && byte !== 0x22 && byte !== 0x5c);
        const string = Buffer.concat([Buffer.from('"'), content, Buffer.from('"')]);
        assert.deepEqual(readJson(string), { kind: 'string', value: byCodePoint(content) });
      }),
      { numRuns: 2000 },
    );
  });

  for (const [title, bytes] of [
    ['behind the value', [0x7b, 0x7d, 0xff]],
    ['ahead of the value', [0xff, 0x7b, 0x7d]],
    ['between a name and its value', [0x7b, 0x22, 0x22, 0xff, 0x3a, 0x31, 0x7d]],
  ] as const) {
    test(`a byte that is not UTF-8 ${title}: refused`, () => {
      assert.throws(() => readJson(Buffer.from(bytes)), {
        name: 'SyntaxError',
        message: /"\ufffd" at character/,
      });
    });
  }

  test('a string of a megabyte, plain or all escapes, is read', () => {
    for (const unit of ['a', '\\n', 'é']) {
      const text = `"${unit.repeat(1024 * 1024)}"`;
      assert.equal(plain(read(text)), JSON.parse(text));
    }
  });
});

/** As the code points that TextDecoder takes one by one. */
function byCodePoint(content: Uint8Array): string {
  if (content.length === 0) return '';
  for (const length of [1, 2, 3, 4]) {
    try {
      const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
      return decoder.decode(content.subarray(0, length)) + byCodePoint(content.subarray(length));
    } catch {
      // no code point of this length
    }
  }
  return `\ufffd${byCodePoint(content.subarray(1))}`;
}
