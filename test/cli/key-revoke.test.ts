// What lookaside key revoke prints before and after it does anything.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatImpact, formatRevoked } from '../../src/cli/key-revoke.ts';
import { showKey } from '../../src/service/keys.ts';
import { keyOf } from '../service/signature-memory.ts';

const FPR = 'AB'.repeat(20);
const impact = {
  key: {
    fingerprint: FPR,
    userIds: ['evil\u001b[2J'],
    state: 'valid' as const,
    signatures: 3,
    images: 2,
    broken: 2,
    refused: 0,
    gaps: [],
  },
  broken: [{ site: 'default', image: `team/\u202eapp@sha256:${'0'.repeat(64)}` }],
};

test('key revoke lists the images that are left without a verified signature, how many more, and what --withdraw does', () => {
  const text = formatImpact(impact, { withdraw: false });
  assert.match(
    text,
    new RegExp(
      `^The key ${FPR} \\(evil\\\\u001b\\[2J\\) is valid\\. 3 signatures of 2 images verified by it\\.$`,
      'm',
    ),
  );
  assert.match(
    text,
    /^No other verified signature: 2 images, which clients .* once they know of the revocation:$/m,
  );
  assert.match(text, /^ {2}team\/\\u202eapp@sha256:0{64}$/m);
  assert.match(text, /^ {2}… and 1 more; --dry-run lists all$/m);
  assert.match(text, /goes on being served, as key-revoked; --withdraw takes it away\.$/);
  const withdrawing = formatImpact(impact, { withdraw: true });
  assert.match(withdrawing, /clients do not get the 3 signatures by it any more, .* cannot be undone\.$/);
  const refused = { ...impact, key: { ...impact.key, refused: 4 } };
  assert.match(
    formatImpact(refused, { withdraw: true }),
    /^4 more signatures that name it are refused already, .*the 3 signatures by it any more, nor those of the 4 that it has made, and/ms,
  );
  const harmless = formatImpact({ key: { ...impact.key, broken: 0 }, broken: [] }, { withdraw: false });
  assert.match(harmless, /^Each of these images has another verified signature\.$/m);
  const unused = { ...impact.key, signatures: 0, images: 0, broken: 0 };
  const nothing = formatImpact({ key: unused, broken: [] }, { withdraw: false });
  assert.match(nothing, /^No image loses a verified signature\.$/m);
  assert.doesNotMatch(nothing, /these images/);
});

test('key revoke says whether clients can learn of it from the certificate', () => {
  const at = new Date('2026-11-29T10:00:00Z');
  const revocation = { at, by: 'carol', reason: 'leaked', auditSeq: 7, withdraws: true };
  const shownKey = (isInCertificate: boolean) =>
    showKey({ ...keyOf(FPR), revokedAt: at, revocation: { ...revocation, isInCertificate } }, at);
  const done = { changed: true, withdrawn: 3, left: [] };
  assert.match(
    formatRevoked({ key: shownKey(false), ...done }),
    /is revoked\. .*\n3 signatures withdrawn\.\nIts certificate does not say so: clients that have the key go on trusting it/,
  );
  assert.match(
    formatRevoked({ key: shownKey(true), ...done, changed: false, withdrawn: null }),
    /was revoked already since 2026-11-29T10:00:00\.000Z\.\nClients learn of it from its certificate/,
  );
});
