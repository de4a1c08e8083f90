import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { parseAccessFile, writeAccessFile } from '../../src/compose/access-file.ts';
import { isLookasideError } from '../../src/domain/errors.ts';

const A = 'AB'.repeat(20);
const WHOLE = `# who may sign what
version: 1
keys:
  - {fingerprint: ${A}, retired: true}
signers:
  - name: ci
    description: "yes: no"
    oidc:
      - issuer: https://issuer.example
        claims: {sub: x, ref_protected: "true"}
    grants:
      - repositories: ['team/*', team/app]
        keys: ['${A}']
tokens:
  - {name: ci-1, signer: ci}
`;

const refused = (text: string, message: RegExp) =>
  assert.throws(
    () => parseAccessFile(text, 'access.yaml'),
    (error) => {
      assert.ok(isLookasideError(error, 'CONFIG_INVALID'), String(error));
      assert.match(error.message, message);
      return true;
    },
    text.slice(0, 100),
  );

describe('a file of who may sign what', () => {
  test('is read, with what it does not say as not said', () => {
    const rules = parseAccessFile(WHOLE, 'access.yaml');
    assert.deepEqual(rules, {
      keys: [{ fingerprint: A, certificate: null, retired: true }],
      signers: [
        {
          name: 'ci',
          description: 'yes: no',
          disabled: null,
          oidc: [{ issuer: 'https://issuer.example', claims: { ref_protected: 'true', sub: 'x' } }],
          grants: [{ repositories: ['team/*', 'team/app'], fingerprints: [A], tags: [] }],
        },
      ],
      tokens: [{ name: 'ci-1', role: 'uploader', signer: 'ci' }],
    });
    assert.deepEqual(parseAccessFile(writeAccessFile(rules), 'again'), rules);
    assert.deepEqual(parseAccessFile('{"version":1}', 'json'), { keys: null, signers: null, tokens: null });
  });

  test('is written so that hostile text stays text', () => {
    const description = '- "a": &b *c !!js/function >\n  x\u2028# y';
    const rules = {
      keys: null,
      tokens: null,
      signers: [{ name: 'ci', description, disabled: true, oidc: [], grants: [] }],
    };
    assert.deepEqual(parseAccessFile(writeAccessFile(rules), 'again'), rules);
  });

  test('is refused with line and column for what is not known', () => {
    const lines = (changed: string, by: string) => WHOLE.replace(changed, by);
    for (const [text, message] of [
      [
        lines('description:', 'descripton:'),
        /^access\.yaml, line 7, column 5: a signer has no member "descripton"; known are name, description/,
      ],
      [lines('version: 1', 'version: 2'), /line 2, column 10: .*wanted version: 1/],
      [lines('version: 1\n', ''), /wanted version: 1/],
      [lines('  - name: ci\n', '  - nam: ci\n'), /line 6, column 5: a signer has no member "nam"/],
      [lines('"true"', 'true'), /line 10, column 41: wanted a text; put it between quotes/],
      [lines('team/app]', '../x]'), /line 12, column 9: "\.\.\/x" is not a pattern of repositories/],
      [lines('https://issuer.example', 'http://issuer.example'), /line 9, column 9: .*is not an issuer/],
      [lines("['team/*', team/app]", 'team/app'), /line 12, column 23: wanted a list/],
      [lines('{name: ci-1', '{name: ci-1, role: root'), /the role is "root"; wanted admin/],
      [lines('keys:', 'keys: &a'), /anchors and aliases are not taken/],
      [lines('name: ci\n', 'name: !!binary ci\n'), /wanted a text/],
      [lines('name: ci\n', 'name: !x ci\n'), /tags are not taken|Unresolved tag/],
      [`${WHOLE}signers: []\n`, /line 16, column 1: it is not YAML: Map keys must be unique/],
      [`${WHOLE}---\nversion: 1\n`, /it is not YAML: .*multiple documents/],
      ['\t- x', /it is not YAML/],
      ['', /it is empty/],
      ['[]', /line 1, column 1: the file is not a map/],
      ['"x"', /the file is not a map/],
    ] as const)
      refused(text, message);
  });

  test('that would take all memory or time is refused', () => {
    const bomb = ['version: 1', 'signers:', '  - &a0 [x, x, x, x, x, x, x, x, x]'];
    for (let level = 1; level < 30; level += 1)
      bomb.push(
        `  - &a${level} [${Array(9)
          .fill(`*a${level - 1}`)
          .join(', ')}]`,
      );
    refused(bomb.join('\n'), /line 3, column \d+: anchors and aliases are not taken/);
    refused(`version: 1\nsigners: ${'['.repeat(100_000)}`, /nested too deeply|not YAML/);
    refused(`version: 1\nsigners: ${'{a: '.repeat(100_000)}`, /nested too deeply|not YAML/);
    refused('- '.repeat(100_000), /nested too deeply/);
    refused(Array.from({ length: 3000 }, (_, n) => `${' '.repeat(n)}a:`).join('\n'), /nested too deeply/);
    refused(`version: 1\n<<: {signers: []}\n`, /has no member "<<"/);
  });
});
