import assert from 'node:assert/strict';
import { test } from 'node:test';
import { requireManifest } from '../../src/domain/manifest.ts';

const check = (manifest: string) => requireManifest(Buffer.from(manifest));

const OCI = 'application/vnd.oci.image.manifest.v1+json';

const TAKEN: readonly (readonly [what: string, manifest: string])[] = [
  ['an OCI manifest', `{"schemaVersion":2,"mediaType":"${OCI}"}`],
  ['a manifest with signatures of another schema', '{"schemaVersion":2,"signatures":[{}]}'],
  [
    'an OCI manifest that says it is of schema 1',
    `{"schemaVersion":1,"mediaType":"${OCI}","signatures":[{}]}`,
  ],
  ['a manifest of a kind yet to come', '{"mediaType":"application/vnd.example+json"}'],
];

for (const [what, manifest] of TAKEN) {
  test(`${what} is one that all clients read alike`, () => check(manifest));
}

const SCHEMA_1: readonly (readonly [what: string, manifest: string])[] = [
  ['signed', '{"schemaVersion":1,"name":"team/app","signatures":[{"protected":"e30"}]}'],
  ['without signatures', '{"schemaVersion":1,"name":"team/app"}'],
  ['whose signatures are null', '{"schemaVersion":1,"signatures":null}'],
  [
    'with a type that says so',
    '{"schemaVersion":1,"mediaType":"application/vnd.docker.distribution.manifest.v1+prettyjws"}',
  ],
];

for (const [what, manifest] of SCHEMA_1) {
  test(`Docker's schema 1, ${what}, is refused by name, with what to do`, () => {
    assert.throws(() => check(manifest), {
      code: 'CONFIG_INVALID',
      message: /of Docker’s schema 1, .*; expected schema 2 or OCI\. Convert .*skopeo copy --format v2s2 /,
    });
  });
}

const signed = '{"schemaVersion":1,"name":"team/app","signatures":[{}]}';

const REFUSED: readonly (readonly [what: string, manifest: string, why: RegExp])[] = [
  ['that is no JSON', '<html></html>', /not strict JSON: "<" at character 1/],
  ['that is no object', '[]', /not a JSON object/],
  ['with two versions', signed.replace('"name"', '"schemaVersion": 2, "name"'), /"schemaVersion" twice/],
  ['whose version is written in capitals', signed.replace('schemaV', 'SchemaV'), /"SchemaVersion"/],
  ['whose signatures begin with a long s', signed.replace('"signatures"', '"ſignatures"'), /"ſignatures"/],
  ['whose type is a number', '{"mediaType":1}', /mediaType is not a string/],
  ['whose version is a text', '{"schemaVersion":"1","signatures":[]}', /schemaVersion is not a number/],
];

for (const [what, manifest, why] of REFUSED) {
  test(`a manifest ${what} is refused`, () => {
    assert.throws(() => check(manifest), { code: 'CONFIG_INVALID', message: why });
  });
}
