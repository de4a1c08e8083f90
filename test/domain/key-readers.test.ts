// Which keys which clients read.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { KeyPart, KeyWarning } from '../../src/domain/key.ts';
import { KEY_READERS, type KeyReaderName, whyUnreadable } from '../../src/domain/key-readers.ts';

const part = (algorithm: string): KeyPart => ({
  fingerprint: 'A'.repeat(40),
  algorithm,
  createdAt: new Date(0),
  expiresAt: null,
  revokedAt: null,
  canSign: true,
});
const sha1: KeyWarning = { code: 'BOUND_BY_SHA1', message: 'by SHA-1' };

test('a key is left out for those who cannot read it, and for nobody else', () => {
  const cases: readonly [string, readonly string[], readonly KeyWarning[], readonly KeyReaderName[]][] = [
    ['rsa3072', [], [], []],
    ['rsa3072', ['rsa2048'], [sha1], ['sequoia']],
    ['ed25519', [], [], ['openshift']],
    ['nistp256', [], [], ['openshift']],
    ['rsa4096', ['ed25519'], [], ['openshift']],
  ];
  for (const [algorithm, subkeys, warnings, leftOutFor] of cases) {
    const key = { algorithm, subkeys: subkeys.map(part) };
    assert.deepEqual(
      KEY_READERS.filter((reader) => whyUnreadable(key, warnings, reader) !== null),
      leftOutFor,
      `${algorithm} ${subkeys}`,
    );
  }
});
