// The page that revokes a key: what breaks stands ahead of the question, and the form does what the command does.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Administration } from '../../src/domain/administration.ts';
import { LookasideError } from '../../src/domain/errors.ts';
import type { RevocationPart, WantedRevocation } from '../../src/domain/revocation.ts';
import { FINGERPRINT, HEX, IMAGE, key, servePages } from './scene.ts';

const formTokenIn = (text: string) => /name="form-token" value="([0-9a-f]{64})"/.exec(text)?.[1] ?? 'none';

function administrationOf(parts: readonly RevocationPart[], revoked: WantedRevocation[]) {
  const keys = {
    async *revocation() {
      yield* parts;
    },
    async revoke(_: string, wanted: WantedRevocation) {
      if (wanted.reason === '') throw new LookasideError('REQUEST_INVALID', 'a revocation needs a reason');
      revoked.push(wanted);
      return { key: null, changed: true, withdrawn: wanted.withdraw ? 3 : null, left: ['a file is damaged'] };
    },
  };
  return () => ({ keys }) as unknown as Administration;
}

const COUNTS = { fingerprint: FINGERPRINT, userIds: ['<i>R'], state: 'valid', refused: 0, gaps: [] } as const;

describe('the page that revokes a key', () => {
  test('lists the images that nobody accepts any more, the first fifty of them', async () => {
    const images = Array.from({ length: 60 }, (_, n) => ({
      site: 'default',
      image: `app${n}@sha256:${HEX}`,
    }));
    const parts = [{ ...COUNTS, signatures: 90, images: 80, broken: 60 }, { images }];
    await using pages = await servePages({
      keys: [key()],
      services: { administration: administrationOf(parts, []) },
    });
    const { text } = await pages.get(`keys/${FINGERPRINT}/revoke`, await pages.logIn('admin'));
    assert.match(text, /90 signatures of 80 images/);
    assert.match(text, /60 images have no other verified signature/);
    assert.match(text, /&lt;i&gt;R/);
    assert.equal([...text.matchAll(/images\/app\d+@sha256/g)].length, 50);
    assert.match(text, /And 10 more: <code>lookaside key revoke [0-9A-F]{40} --dry-run/);
    assert.equal((await pages.get(`keys/${FINGERPRINT}/revoke`, await pages.logIn('auditor'))).status, 403);
  });

  test('revokes with the reason, and withdraws where that is wanted; a refusal keeps what was entered', async () => {
    const revoked: WantedRevocation[] = [];
    const parts = [
      { ...COUNTS, signatures: 1, images: 1, broken: 1 },
      { images: [{ site: 'default', image: IMAGE }] },
      { end: { images: 1 } },
    ];
    await using pages = await servePages({
      keys: [key()],
      services: { administration: administrationOf(parts, revoked) },
    });
    const at = `keys/${FINGERPRINT}/revoke`;
    const cookie = await pages.logIn('admin');
    const token = formTokenIn((await pages.get(at, cookie)).text);
    const send = (fields: Record<string, string>) =>
      pages.post(at, { 'form-token': token, ...fields }, cookie);
    assert.equal((await send({ reason: 'lost', 'form-token': 'x' })).status, 403);
    const refused = await send({ reason: ' ', withdraw: 'yes' });
    assert.equal(refused.status, 422);
    assert.match(refused.text, /A revocation needs a reason/);
    assert.match(refused.text, /name="withdraw" value="yes" checked/);
    assert.deepEqual(revoked, []);
    const armour = ':-----BEGIN PGP PUBLIC KEY BLOCK-----';
    const { status, text } = await send({ reason: ' lost ', withdraw: 'yes', certificate: armour });
    assert.equal(status, 200);
    assert.match(text, /3 signatures are withdrawn/);
    assert.match(text, /withdrawn later by themselves: a file is damaged/);
    const [{ reason, withdraw, certificate } = assert.fail()] = revoked;
    assert.deepEqual([reason, withdraw, String(certificate)], ['lost', true, armour.slice(1)]);
    await send({ reason: 'lost' });
    assert.deepEqual(revoked[1], { reason: 'lost', withdraw: false, certificate: null });
  });
});
