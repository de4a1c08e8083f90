import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { isLookasideError } from '../../src/domain/errors.ts';
import { ALGORITHMS } from '../../src/domain/image.ts';
import { parsePayload } from '../../src/domain/simple-signing.ts';
import { HEX, HEX_LENGTH } from './generators.ts';
import { DIGEST, HEX256, payload } from './payload.ts';

const without = (member: RegExp) => {
  const text = payload().replace(member, '');
  assert.notEqual(text, payload());
  return text;
};

const parse = (text: string) => parsePayload(Buffer.from(text)).claim;

const CLAIM = {
  algorithm: 'sha256',
  hex: HEX256,
  dockerReference: 'registry.example/team/app:v1',
  creator: 'atomic 5.34.2',
};

describe('payloads that are taken', () => {
  const bytes = (count: number) => 'x'.repeat(count);
  const TAKEN: readonly (readonly [title: string, text: string, claim?: Partial<typeof CLAIM> | object])[] = [
    ['as podman writes it', payload()],
    [
      'with members in another order',
      `{"optional":{},"critical":{"identity":{"docker-reference":"r"},"image":{"docker-manifest-digest":"${DIGEST}"},"type":"atomic container signature"}}`,
      { dockerReference: 'r', creator: null },
    ],
    ['with blanks around and inside', ` \r\n\t${payload().replaceAll(':{', ' : { ')}\n`],
    ['with an empty optional', payload({ optional: '{}' }), { creator: null }],
    [
      'with a creator alone, as Red Hat signs',
      payload({ optional: '{"creator":"Red Hat"}' }),
      { creator: 'Red Hat' },
    ],
    ['with an empty creator', payload({ optional: '{"creator":""}' }), { creator: '' }],
    [
      'with unknown members in optional',
      payload({ optional: '{"x":[{"y":null,"z":{}}],"Creator":1,"creator":"c"}' }),
      { creator: 'c' },
    ],
    [
      'with duplicates deep in an unknown member of optional',
      payload({ optional: '{"x":{"a":1,"a":2}}' }),
      { creator: null },
    ],
    ['with names that are escaped', payload().replace('"critical"', '"\\u0063ritical"')],
    ['with a type that is escaped', payload({ type: '"atomic\\u0020container signature"' })],
    [
      'with a member named __proto__ in optional',
      payload({ optional: '{"__proto__":{"creator":"x"}}' }),
      { creator: null },
    ],
    ['with a timestamp of 0', payload({ optional: '{"timestamp":0}' }), { creator: null }],
    ['with a timestamp of -0', payload({ optional: '{"timestamp":-0}' }), { creator: null }],
    ['with a timestamp before 1970', payload({ optional: '{"timestamp":-1}' }), { creator: null }],
    ['with a timestamp of 1.5e9', payload({ optional: '{"timestamp":1.5e9}' }), { creator: null }],
    ['with a timestamp of 1.0', payload({ optional: '{"timestamp":1.0}' }), { creator: null }],
    [
      'with the smallest timestamp',
      payload({ optional: '{"timestamp":-9223372036854775808}' }),
      { creator: null },
    ],
    [
      'with the largest timestamp that a double tells from 2^63',
      payload({ optional: '{"timestamp":9223372036854774784}' }),
      { creator: null },
    ],
    [
      'with a creator of 1 KiB',
      payload({ optional: `{"creator":"${bytes(1024)}"}` }),
      { creator: bytes(1024) },
    ],
    [
      'with a creator that is hostile text',
      payload({ optional: '{"creator":"\\u001b[2J\\u202e<script>"}' }),
      { creator: '\u001b[2J\u202e<script>' },
    ],
    [
      'with a creator outside the basic plane',
      payload({ optional: '{"creator":"\\ud83d\\ude00😀"}' }),
      { creator: '😀😀' },
    ],
    [
      'with half a surrogate pair in the creator',
      payload({ optional: '{"creator":"a\\ud800b"}' }),
      { creator: 'a\ufffdb' },
    ],
    [
      'with half a surrogate pair in the reference, which is no reference then',
      payload({ reference: '"registry.example/team/app\\ud800:v1"' }),
      { dockerReference: 'registry.example/team/app\ufffd:v1' },
    ],
    [
      'with a reference of 1 KiB',
      payload({ reference: `"${bytes(1024)}"` }),
      { dockerReference: bytes(1024) },
    ],
    ['with a reference that is no reference', payload({ reference: '"#!"' }), { dockerReference: '#!' }],
    ['with an empty reference', payload({ reference: '""' }), { dockerReference: '' }],
    [
      'of a sha384 digest',
      payload({ digest: `"sha384:${HEX.slice(0, 96)}"` }),
      { algorithm: 'sha384', hex: HEX.slice(0, 96) },
    ],
    ['of a sha512 digest', payload({ digest: `"sha512:${HEX}"` }), { algorithm: 'sha512', hex: HEX }],
    [
      'with 256 members in optional',
      payload({ optional: `{${Array.from({ length: 256 }, (_, n) => `"m${n}":0`).join(',')}}` }),
      { creator: null },
    ],
    [
      'nested 32 levels deep',
      payload({ optional: `{"x":${'['.repeat(30)}${']'.repeat(30)}}` }),
      { creator: null },
    ],
  ];
  for (const [title, text, claim = {}] of TAKEN) {
    test(`a payload ${title}`, () => assert.deepEqual(parse(text), { ...CLAIM, ...claim }));
  }

  test('a claim is read back from its payload, whatever its texts and however it is written', () => {
    const text = fc.string({ unit: 'grapheme', maxLength: 60 });
    const claims = fc.constantFrom(...ALGORITHMS).chain((algorithm) =>
      fc.record(
        {
          algorithm: fc.constant(algorithm),
          hex: fc.string({
            unit: fc.constantFrom(...'0123456789abcdef'),
            minLength: HEX_LENGTH[algorithm],
            maxLength: HEX_LENGTH[algorithm],
          }),
          dockerReference: text,
          creator: fc.option(text),
        },
        { noNullPrototype: true },
      ),
    );
    const writings = fc.record({
      indent: fc.constantFrom(undefined, ' ', '\t', '\n'),
      isEscaped: fc.boolean(),
      timestamp: fc.option(fc.maxSafeInteger()),
      others: fc.dictionary(
        fc.string().filter((name) => name !== 'creator' && name !== 'timestamp'),
        fc.jsonValue({ maxDepth: 3 }),
      ),
    });
    fc.assert(
      fc.property(claims, writings, (claim, { indent, isEscaped, timestamp, others }) => {
        const { algorithm, hex, dockerReference, creator } = claim;
        const written = JSON.stringify(
          {
            optional: {
              ...others,
              ...(creator === null ? {} : { creator }),
              ...(timestamp === null ? {} : { timestamp }),
            },
            critical: {
              identity: { 'docker-reference': dockerReference },
              type: 'atomic container signature',
              image: { 'docker-manifest-digest': `${algorithm}:${hex}` },
            },
          },
          null,
          indent,
        );
        assert.deepEqual(parse(isEscaped ? escaped(written) : written), claim);
      }),
    );
  });
});

/** The same JSON with every letter of its strings as an escape. */
function escaped(json: string): string {
  return json.replace(/"(?:[^"\\]|\\.)*"/g, (literal) => {
    const units = [...literal.slice(1, -1).matchAll(/\\u[0-9a-f]{4}|\\.|[^\\]/gs)].map(([unit]) => unit);
    return `"${units.map((unit) => (unit.length > 1 ? unit : escapeUnits(unit))).join('')}"`;
  });
}

function escapeUnits(unit: string): string {
  return `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`;
}

describe('payloads that are refused', () => {
  const long = 'x'.repeat(1025);
  const REFUSED: readonly (readonly [title: string, text: string, message: RegExp])[] = [
    ['that is empty', '', /not strict JSON: the end at character 1/],
    ['that is no JSON', 'hello', /not strict JSON: "h" at character 1/],
    ['with a byte order mark', `\ufeff${payload()}`, /a byte order mark/],
    ['with trailing data', `${payload()}x`, /"x" at character \d+, expected nothing after/],
    ['with a NUL behind it', `${payload()}\0`, /expected nothing after/],
    ['twice', payload() + payload(), /expected nothing after/],
    ['that ends early', payload().slice(0, -1), /the end at character/],
    ['in an array', `[${payload()}]`, /the payload is an array, expected an object/],
    ['that is null', 'null', /the payload is null, expected an object/],
    ['that is a string', '"critical"', /the payload is the string "critical"/],
    ['that is a number', '1', /the payload is 1, expected an object/],
    ['that is true', 'true', /the payload is true/],
    ['without members', '{}', /the payload has no member "critical"/],
    [
      'without optional',
      without(/,"optional".*(?=\}$)/),
      /the payload has no member "optional", expected "critical", "optional"/,
    ],
    ['without critical', '{"optional":{}}', /no member "critical"/],
    ['with a null optional', payload({ optional: 'null' }), /optional is null, expected an object/],
    ['with an array as optional', payload({ optional: '[]' }), /optional is an array/],
    ['with a string as optional', payload({ optional: '""' }), /optional is the string ""/],
    [
      'with an unknown member',
      payload({ inTop: ',"x":1' }),
      /the payload has the member "x", expected "critical", "optional" alone/,
    ],
    ['with a member in other case', payload().replace('"critical"', '"Critical"'), /the member "Critical"/],
    [
      'with critical twice',
      payload({ inTop: ',"critical":{}' }),
      /the payload has the member "critical" twice, expected once/,
    ],
    ['with critical twice, once escaped', payload({ inTop: ',"\\u0063ritical":{}' }), /"critical" twice/],
    ['with optional twice', payload({ inTop: ',"optional":{}' }), /"optional" twice/],
    ['with critical null', '{"critical":null,"optional":{}}', /critical is null, expected an object/],
    ['with critical an array', '{"critical":[],"optional":{}}', /critical is an array/],
    [
      'without a type',
      without(/"type":"[^"]*",/),
      /critical has no member "type", expected "type", "image", "identity"/,
    ],
    ['without an image', without(/"image":\{[^}]*\},/), /critical has no member "image"/],
    ['without an identity', without(/,"identity":\{[^}]*\}/), /critical has no member "identity"/],
    [
      'with an unknown member in critical',
      payload({ inCritical: ',"x":1' }),
      /critical has the member "x", expected "type", "image", "identity" alone/,
    ],
    ['with __proto__ in critical', payload({ inCritical: ',"__proto__":1' }), /the member "__proto__"/],
    ['with an empty name in critical', payload({ inCritical: ',"":1' }), /the member ""/],
    ['with the type twice', payload({ inCritical: ',"type":1' }), /critical has the member "type" twice/],
    [
      'with the identity twice, once escaped',
      payload({ inCritical: ',"\\u0069dentity":{}' }),
      /"identity" twice/,
    ],
    ['with a type that is null', payload({ type: 'null' }), /critical.type is null, expected a string/],
    [
      'with a type in an array',
      payload({ type: '["atomic container signature"]' }),
      /critical.type is an array/,
    ],
    [
      'of another type',
      payload({ type: '"x"' }),
      /critical.type is "x", expected "atomic container signature"/,
    ],
    [
      'of a type in capitals',
      payload({ type: '"Atomic container signature"' }),
      /critical.type is "Atomic container/,
    ],
    [
      'of a type with a blank behind',
      payload({ type: '"atomic container signature "' }),
      /critical.type is "atomic/,
    ],
    [
      "of cosign's type",
      payload({ type: '"cosign container image signature"' }),
      /"cosign container image signature", a payload of cosign/,
    ],
    [
      'with an image that is a string',
      payload().replace(/"image":\{[^}]*\}/, '"image":"x"'),
      /critical.image is the string "x"/,
    ],
    [
      'with an image that is null',
      payload().replace(/"image":\{[^}]*\}/, '"image":null'),
      /critical.image is null/,
    ],
    [
      'with an empty image',
      payload().replace(/"image":\{[^}]*\}/, '"image":{}'),
      /critical.image has no member "docker-manifest-digest"/,
    ],
    [
      'with an unknown member in the image',
      payload({ inImage: ',"x":1' }),
      /critical.image has the member "x"/,
    ],
    [
      'with the digest twice',
      payload({ inImage: `,"docker-manifest-digest":"${DIGEST}"` }),
      /critical.image has the member "docker-manifest-digest" twice/,
    ],
    ['with a digest that is null', payload({ digest: 'null' }), /docker-manifest-digest is null/],
    ['with a digest that is a number', payload({ digest: '1' }), /docker-manifest-digest is 1/],
    ['with a digest in an array', payload({ digest: `["${DIGEST}"]` }), /docker-manifest-digest is an array/],
    [
      'with an empty digest',
      payload({ digest: '""' }),
      /docker-manifest-digest is "", expected sha256:, sha384: or sha512:/,
    ],
    ['with a digest without algorithm', payload({ digest: `"${HEX256}"` }), /docker-manifest-digest is/],
    [
      'with a digest in upper case',
      payload({ digest: `"sha256:${HEX256.toUpperCase()}"` }),
      /lower-case hex digits/,
    ],
    [
      'with a digest one digit short',
      payload({ digest: `"${DIGEST.slice(0, -1)}"` }),
      /lower-case hex digits/,
    ],
    ['with a digest one digit long', payload({ digest: `"${DIGEST}0"` }), /lower-case hex digits/],
    [
      'with a digest that is no hex',
      payload({ digest: `"sha256:${'g'.repeat(64)}"` }),
      /lower-case hex digits/,
    ],
    ['with a sha512 digest of 64 digits', payload({ digest: `"sha512:${HEX256}"` }), /lower-case hex digits/],
    [
      'with an unknown algorithm',
      payload({ digest: `"sha1:${HEX.slice(0, 40)}"` }),
      /expected sha256:, sha384: or/,
    ],
    ['with an algorithm in capitals', payload({ digest: `"SHA256:${HEX256}"` }), /expected sha256:/],
    ['with a line feed behind the digest', payload({ digest: `"${DIGEST}\\n"` }), /lower-case hex digits/],
    [
      'with a digest that climbs',
      payload({ digest: '"sha256:../../../../etc/passwd"' }),
      /is "sha256:\.\.\/\.\./,
    ],
    [
      'with an identity that is null',
      payload().replace(/"identity":\{[^}]*\}/, '"identity":null'),
      /critical.identity is null/,
    ],
    [
      'with an empty identity',
      payload().replace(/"identity":\{[^}]*\}/, '"identity":{}'),
      /critical.identity has no member/,
    ],
    [
      'with an unknown member in the identity',
      payload({ inIdentity: ',"x":1' }),
      /critical.identity has the member "x"/,
    ],
    [
      'with the reference twice',
      payload({ inIdentity: ',"docker-reference":"r"' }),
      /critical.identity has the member "docker-reference" twice/,
    ],
    [
      'with a reference that is null',
      payload({ reference: 'null' }),
      /docker-reference is null, expected a string/,
    ],
    ['with a reference that is an object', payload({ reference: '{}' }), /docker-reference is an object/],
    [
      'with a reference over 1 KiB',
      payload({ reference: `"${long}"` }),
      /docker-reference has 1025 bytes, expected at most 1024/,
    ],
    ['with a creator that is a number', payload({ optional: '{"creator":1}' }), /optional.creator is 1/],
    ['with a creator that is null', payload({ optional: '{"creator":null}' }), /optional.creator is null/],
    [
      'with a creator in an array',
      payload({ optional: '{"creator":["a"]}' }),
      /optional.creator is an array, expected a string/,
    ],
    [
      'with a creator over 1 KiB',
      payload({ optional: `{"creator":"${long}"}` }),
      /creator has 1025 bytes, expected at most 1024/,
    ],
    [
      'with a creator over 1 KiB in UTF-8',
      payload({ optional: `{"creator":"${'é'.repeat(513)}"}` }),
      /creator has 1026 bytes/,
    ],
    [
      'with the creator twice',
      payload({ optional: '{"creator":"a","creator":"b"}' }),
      /optional has the member "creator" twice/,
    ],
    [
      'with an ignored member twice',
      payload({ optional: '{"x":1,"x":1}' }),
      /optional has the member "x" twice/,
    ],
    [
      'with an ignored member twice, once escaped',
      payload({ optional: '{"x":1,"\\u0078":1}' }),
      /optional has the member "x" twice/,
    ],
    [
      'with a timestamp of 0.5',
      payload({ optional: '{"timestamp":0.5}' }),
      /timestamp is 0.5, expected a whole number/,
    ],
    [
      'with a timestamp that is a string',
      payload({ optional: '{"timestamp":"1"}' }),
      /timestamp is the string "1"/,
    ],
    ['with a timestamp that is null', payload({ optional: '{"timestamp":null}' }), /timestamp is null/],
    ['with a timestamp that is true', payload({ optional: '{"timestamp":true}' }), /timestamp is true/],
    [
      'with a timestamp of 2^63 - 1, which a double rounds up',
      payload({ optional: '{"timestamp":9223372036854775807}' }),
      /whole number of seconds within 64 bits/,
    ],
    ['with a timestamp of 1e19', payload({ optional: '{"timestamp":1e19}' }), /within 64 bits/],
    ['with a timestamp of -1e19', payload({ optional: '{"timestamp":-1e19}' }), /within 64 bits/],
    ['with a timestamp of 1e400', payload({ optional: '{"timestamp":1e400}' }), /the number "1e400"/],
    ['with 1e400 in an ignored member', payload({ optional: '{"x":[1e400]}' }), /the number "1e400"/],
    ['with a broken ignored member', payload({ optional: '{"x":[1,}' }), /not strict JSON/],
    [
      'with an unknown escape in an ignored member',
      payload({ optional: '{"x":"\\q"}' }),
      /one of the escapes/,
    ],
    [
      'with two members of optional whose names are halves of a surrogate pair',
      payload({ optional: '{"\\ud800":1,"\\udc00":2}' }),
      /optional has the member "\ufffd" twice/,
    ],
    [
      'with a member of optional named by half a surrogate pair and one named U+FFFD',
      payload({ optional: '{"\\ud800":1,"\ufffd":2}' }),
      /optional has the member "\ufffd" twice/,
    ],
    [
      'with half a surrogate pair in the digest',
      payload({ digest: `"${DIGEST.slice(0, -1)}\\ud800"` }),
      /lower-case hex digits/,
    ],
    [
      'with half a surrogate pair in the type',
      payload({ type: '"atomic\\ud800container signature"' }),
      /critical.type is "atomic\ufffdcontainer signature"/,
    ],
    [
      'with half a surrogate pair in the name of critical',
      payload().replace('"critical"', '"critical\\ud800"'),
      /the member "critical\ufffd"/,
    ],
    ['with a raw line feed in a string', payload({ optional: '{"creator":"a\nb"}' }), /"\\n" at character/],
    [
      'with 257 members in optional',
      payload({ optional: `{${Array.from({ length: 257 }, (_, n) => `"m${n}":0`).join(',')}}` }),
      /more than 256 members/,
    ],
    [
      'nested 33 levels deep',
      payload({ optional: `{"x":${'['.repeat(31)}${']'.repeat(31)}}` }),
      /nesting deeper than 32/,
    ],
  ];
  for (const [title, text, message] of REFUSED) {
    test(`a payload ${title}`, () => {
      assert.throws(() => parse(text), { name: 'LookasideError', code: 'PAYLOAD_INVALID', message });
    });
  }

  test('a payload that has a byte behind it which is not UTF-8', () => {
    const content = Buffer.concat([Buffer.from(payload()), Buffer.of(0xff)]);
    assert.throws(() => parsePayload(content), {
      code: 'PAYLOAD_INVALID',
      message: /expected nothing after/,
    });
  });

  test('every refusal says what to do', () => {
    for (const text of ['', '{}', payload({ type: '"x"' })])
      assert.throws(() => parse(text), { message: /; sign again with podman, skopeo standalone-sign or/ });
  });

  test('whatever is changed in a payload, it is a claim or PAYLOAD_INVALID', () => {
    const original = Buffer.from(payload());
    const part = fc.oneof(
      fc.uint8Array({ maxLength: 4 }),
      fc
        .constantFrom('"', '\\u', '{', '}', ',"type":', 'null', '\ud83d', ':')
        .map((text) => Buffer.from(text)),
    );
    const change = fc.record({ at: fc.nat(original.length), drop: fc.nat(8), put: part });
    fc.assert(
      fc.property(fc.array(change, { minLength: 1, maxLength: 4 }), (changes) => {
        const content = changes.reduce(
          (bytes: Uint8Array, { at, drop, put }) =>
            Buffer.concat([bytes.subarray(0, at), put, bytes.subarray(at + drop)]),
          original,
        );
        assertClaimOrRefusal(content);
      }),
      { numRuns: 5000 },
    );
  });

  test('any bytes are a claim or PAYLOAD_INVALID', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), assertClaimOrRefusal), { numRuns: 2000 });
  });
});

function assertClaimOrRefusal(content: Uint8Array): void {
  try {
    const { algorithm, hex } = parsePayload(content).claim;
    assert.match(`${algorithm}:${hex}`, /^sha(?:256:[0-9a-f]{64}|384:[0-9a-f]{96}|512:[0-9a-f]{128})$/);
  } catch (error) {
    assert.ok(isLookasideError(error, 'PAYLOAD_INVALID'), String(error));
  }
}
