// What lookaside key add, list, show and remove print.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { formatExpiring, formatKey, formatKeys, formatRemoved, formatResults } from '../../src/cli/key.ts';
import type { ShownKey } from '../../src/domain/key.ts';

const FPR = 'AB'.repeat(20);
const SUBKEY = 'CD'.repeat(20);

const part = {
  fingerprint: SUBKEY,
  algorithm: 'rsa3072',
  state: 'expired',
  canSign: true,
  createdAt: new Date('2020-01-02T03:04:05Z'),
  expiresAt: new Date('2022-01-02T03:04:05Z'),
  revokedAt: null,
} as const;

const key: ShownKey = {
  ...part,
  fingerprint: FPR,
  state: 'valid',
  expiresAt: null,
  canSign: false,
  userIds: ['Alice <a@x>', 'evil\u001b[2J\u202e'],
  subkeys: [part],
  addedAt: new Date('2026-11-22T10:00:00Z'),
  changedAt: new Date('2026-11-22T11:00:00Z'),
  retiredAt: null,
  revocation: null,
};

describe('key add', () => {
  test('prints a line for each certificate, and under them why each refused one was', () => {
    const text = formatResults([
      {
        file: 'a.asc',
        result: {
          result: 'added',
          fingerprint: FPR,
          userIds: key.userIds,
          state: 'revoked',
          expiresAt: null,
          warnings: [{ code: 'SUBKEY_LEFT_OUT', message: 'left\u001b out' }],
        },
      },
      {
        file: '-',
        result: { result: 'refused', fingerprint: null, code: 'TOO_LARGE', message: 'too\u001b large' },
      },
    ]);
    assert.deepEqual(
      text.split('\n').map((line) => line.replace(/ {2,}/g, '|')),
      [
        'RESULT|FINGERPRINT|STATE|FILE|USER ID',
        `added|${FPR}|revoked|a.asc|Alice <a@x>`,
        'refused|-|TOO_LARGE|-',
        'a.asc: warning: SUBKEY_LEFT_OUT: left\\u001b out',
        '-: too\\u001b large',
      ],
    );
  });
});

describe('key list', () => {
  test('prints a line for each key', () => {
    assert.deepEqual(
      formatKeys([key])
        .split('\n')
        .map((line) => line.replace(/ {2,}/g, '|')),
      ['FINGERPRINT|ALGORITHM|STATE|EXPIRES|USER ID', `${FPR}|rsa3072|valid|-|Alice <a@x>`],
    );
  });

  test('says which keys are retired, beside their state', () => {
    const retired = { ...key, retiredAt: new Date('2026-11-23T10:00:00Z') };
    assert.match(formatKeys([retired]), / {2}valid, retired {2}/);
    assert.match(formatKey(retired), /^retired +2026-11-23T10:00:00.000Z$/m);
    assert.match(formatKey(key), /^retired +-$/m);
  });

  test('without keys says how to add one', () => {
    assert.match(formatKeys([]), /lookaside key add FILE/);
  });
});

describe('key show', () => {
  test('prints what is known of the key and its subkeys, with hostile text escaped', () => {
    const text = formatKey(key);
    assert.match(text, new RegExp(`^fingerprint +${FPR}$`, 'm'));
    assert.match(text, /^signs +by subkeys alone$/m);
    assert.match(text, /^created +2020-01-02$/m);
    assert.match(text, /^user ID +Alice <a@x>$/m);
    assert.match(text, /^user ID +evil\\u001b\[2J\\u202e$/m);
    assert.match(text, new RegExp(`^${SUBKEY} +rsa3072 +expired +yes +2020-01-02 +2022-01-02 +- +-$`, 'm'));
  });

  test('says what each part is for, why it was revoked, how much it signed, and who added the key', () => {
    const notes = {
      addedBy: 'carol\u001b',
      parts: [
        { fingerprint: FPR, uses: ['certify', 'sign'] as const, revocationReason: 'compromised' },
        { fingerprint: SUBKEY, uses: ['sign'] as const, revocationReason: null },
      ],
      signatures: [{ fingerprint: SUBKEY, signatures: 12 }],
    };
    const text = formatKey({ ...key, revokedAt: new Date('2026-11-29T00:00:00Z') }, notes);
    assert.match(text, /^usage +certify, sign$/m);
    assert.match(text, /^signatures +0$/m);
    assert.match(text, /^revoked +2026-11-29 \(compromised\)$/m);
    assert.match(text, /^added +2026-11-22T10:00:00\.000Z by carol\\u001b$/m);
    assert.match(text, new RegExp(`^${SUBKEY} .* +12$`, 'm'));
  });

  test('prints no table of subkeys where there are none', () => {
    assert.doesNotMatch(formatKey({ ...key, subkeys: [] }), /SUBKEY/);
  });
});

describe('key list --expiring', () => {
  const NOW = new Date('2026-11-29T12:00:00Z');

  test('prints the key that ends first on top, with the part that ends', () => {
    const subkey = { ...part, expiresAt: new Date('2026-12-01T00:00:00Z'), state: 'valid' } as const;
    const text = formatExpiring(
      [
        { ...key, fingerprint: SUBKEY, expiresAt: new Date('2026-12-20T12:00:00Z'), subkeys: [] },
        { ...key, subkeys: [subkey] },
      ],
      NOW,
    );
    const [titles, first, second, remedy] = text.split('\n');
    assert.match(titles ?? '', /^FINGERPRINT +EXPIRES +DAYS +WHAT +USER ID$/);
    assert.match(first ?? '', new RegExp(`^${FPR} +2026-12-01 +1 +subkey ${SUBKEY.slice(-16)} +Alice`));
    assert.match(second ?? '', new RegExp(`^${SUBKEY} +2026-12-20 +21 +key +Alice`));
    assert.match(remedy ?? '', /gpg --quick-set-expire/);
  });

  test('says so when none does', () => {
    assert.equal(formatExpiring([], NOW), 'No key expires within that time.');
  });
});

describe('key remove', () => {
  const removed = { fingerprint: FPR, userIds: key.userIds };

  test('says what becomes of the signatures that verified by the key, and how to take it back', () => {
    const cases: readonly [number | null, RegExp][] = [
      [
        0,
        /^No stored signature verified by it\. To take it back, add the key again with: lookaside key add FILE$/m,
      ],
      [
        1,
        /^1 stored signature verified by it; it goes on being served, and is shown as unknown-key\. To take/m,
      ],
      [
        2,
        /^2 stored signatures verified by it; they go on being served, and are shown as unknown-key\. To take/m,
      ],
      [
        null,
        /^The number of stored signatures that it verified is not known while index\.db is rebuilt\. They are still served/m,
      ],
    ];
    for (const [signatures, pattern] of cases)
      assert.match(formatRemoved({ ...removed, signatures }), pattern);
  });

  test('names the key by fingerprint and first user ID, with hostile text escaped', () => {
    const text = formatRemoved({ fingerprint: FPR, userIds: ['evil\u001b[2J'], signatures: 0 });
    assert.match(text, new RegExp(`^The key ${FPR} \\(evil\\\\u001b\\[2J\\) is removed\\. Uploads`));
  });
});
