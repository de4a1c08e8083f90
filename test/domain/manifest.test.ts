import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { digestedBytes } from '../../src/domain/manifest.ts';
import { signedSchema1 } from './signed-schema1.ts';

const PAYLOAD = '{\n   "schemaVersion": 1,\n   "name": "team/app",\n   "tag": "v1"\n}';

function digestOf(manifest: string): string {
  return createHash('sha256')
    .update(digestedBytes(Buffer.from(manifest)))
    .digest('hex');
}

const plain = (text: string) => createHash('sha256').update(text).digest('hex');

function assertRefused(manifest: string, why: RegExp): void {
  assert.throws(() => digestOf(manifest), { code: 'CONFIG_INVALID', message: why });
}

const AS_THEY_ARE: readonly (readonly [what: string, manifest: string])[] = [
  ['an OCI manifest', '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json"}'],
  ['a manifest with signatures of another schema', '{"schemaVersion":2,"signatures":[{}]}'],
  ['a schema 1 without signatures', PAYLOAD],
  ['a schema 1 whose signatures are null', '{"schemaVersion":1,"signatures":null}'],
  [
    'an OCI manifest that says it is of schema 1 and signed',
    '{"schemaVersion":1,"mediaType":"application/vnd.oci.image.manifest.v1+json","signatures":[{}]}',
  ],
  ['a manifest of a kind yet to come', '{"mediaType":"application/vnd.example+json"}'],
];

for (const [what, manifest] of AS_THEY_ARE) {
  test(`the digest of ${what} is that of its bytes`, () => {
    assert.equal(digestOf(manifest), plain(manifest));
  });
}

test('the digest of a signed schema 1 is that of its payload, whoever has signed that and how often', () => {
  assert.equal(digestOf(signedSchema1(PAYLOAD)), plain(PAYLOAD));
  assert.equal(digestOf(signedSchema1(PAYLOAD, { signatures: 2 })), plain(PAYLOAD));
  assert.equal(digestOf(`${signedSchema1(PAYLOAD)}\n`), plain(PAYLOAD));
});

test('a schema 1 that says other things than the payload it has signed is refused', () => {
  // one byte of it, and all the rest in what containers/image puts behind it
  const header = { formatLength: 1, formatTail: Buffer.from(PAYLOAD.slice(1)).toString('base64url') };
  const other = signedSchema1('{"schemaVersion": 1,\n"name": "evil"\n}', { header });
  assertRefused(other, /says other things than what it has signed/);
});

const signed = signedSchema1(PAYLOAD);

const REFUSED: readonly (readonly [what: string, manifest: string, why: RegExp])[] = [
  ['that is no JSON', '<html></html>', /not strict JSON: "<" at character 1/],
  ['that is no object', '[]', /not a JSON object/],
  ['with two versions', signed.replace('"name"', '"schemaVersion": 2, "name"'), /"schemaVersion" twice/],
  ['whose version is written in capitals', signed.replace('schemaV', 'SchemaV'), /"SchemaVersion"/],
  ['whose signatures begin with a long s', signed.replace('"signatures"', '"ſignatures"'), /"ſignatures"/],
  ['whose type is a number', '{"mediaType":1}', /mediaType is not a string/],
  ['whose version is a text', '{"schemaVersion":"1","signatures":[]}', /schemaVersion is not a number/],
  ['without any signature in its list', '{"schemaVersion":1,"signatures":[]}', /signatures is empty/],
  ['whose signatures are an object', '{"schemaVersion":1,"signatures":{}}', /signatures is not a list/],
  ['whose signature is a text', '{"schemaVersion":1,"signatures":[""]}', /not a JSON object/],
  ['without a protected header', '{"schemaVersion":1,"signatures":[{}]}', /no protected in base64url/],
  ['whose protected header is no base64url', signed.replace('"protected":"', '"protected":"+'), /base64url/],
  ['whose payload is longer than itself', signedSchema1(PAYLOAD, { header: { formatLength: 9999 } }), /9999/],
  ['whose payload is of no length', signedSchema1(PAYLOAD, { header: { formatLength: 0 } }), /formatLength/],
  [
    'whose payload is of half a byte',
    signedSchema1(PAYLOAD, { header: { formatLength: 1.5 } }),
    /formatLength/,
  ],
  ['whose payload has no tail', signedSchema1(PAYLOAD, { header: { formatTail: '' } }), /no formatTail/],
  [
    'whose signatures are for different payloads',
    signedSchema1(PAYLOAD, { signatures: 2, header: { formatLength: 20 } }),
    /different payloads/,
  ],
];

for (const [what, manifest, why] of REFUSED) {
  test(`a manifest ${what} is refused`, () => {
    assertRefused(manifest, why);
  });
}
