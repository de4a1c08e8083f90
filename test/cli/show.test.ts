// What lookaside show prints.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { formatSignatures } from '../../src/cli/show.ts';
import { FINGERPRINT, HEX, storedSignature, unvouched } from './stored.ts';

describe('show', () => {
  test('prints all that is known of each signature, one below the other', () => {
    const subkey = 'CD'.repeat(20);
    const text = formatSignatures(
      `team/app@sha256:${HEX}`,
      [
        storedSignature({ signingFingerprint: subkey, expiresAt: new Date('2027-01-01T00:00:00Z') }),
        unvouched({
          number: 2,
          state: 'unknown-key',
          reason: 'KEY_UNKNOWN',
          issuer: '0123456789ABCDEF',
          uploader: null,
          auditSeq: null,
        }),
      ],
      new Map([[FINGERPRINT, 'Alice <alice@example.com>']]),
    );
    const [head, first, second, ...rest] = text
      .split('\n\n')
      .map((block) => block.split('\n').map((line) => line.split(/ {2,}/)));
    assert.deepEqual(head, [['image', `team/app@sha256:${HEX}`]]);
    assert.deepEqual(first, [
      ['path', `/team/app@sha256=${HEX}/signature-1`],
      ['state', 'verified'],
      ['signed by', FINGERPRINT],
      ['user ID', 'Alice <alice@example.com>'],
      ['by its subkey', subkey],
      ['reference', 'registry.example/team/app:v1'],
      ['digest', `sha256:${HEX}`],
      ['creator', 'atomic 5.23.1'],
      ['signed', '2026-11-22T10:00:00.000Z'],
      ['expires', '2027-01-01T00:00:00.000Z'],
      ['stored', '2026-11-22T10:00:01.000Z'],
      ['uploaded by', 'alice'],
      ['audit event', '17'],
      ['form', 'binary'],
      ['size', '721 bytes'],
      ['sha256', HEX],
    ]);
    assert.deepEqual(second?.slice(1, 3), [
      ['state', 'unknown-key (KEY_UNKNOWN)'],
      ['names the key', '0123456789ABCDEF, which nothing vouches for'],
    ]);
    assert.deepEqual(rest, []);
  });

  test('escapes what others wrote', () => {
    const text = formatSignatures('a', [storedSignature({ creator: '\u001b]0;x\u0007\u202e' })], new Map());
    assert.match(text, /^creator +\\u001b\]0;x\\u0007\\u202e$/m);
  });
});
