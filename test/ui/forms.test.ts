// Who may send which form: the role is asked before anything else, and nothing is changed.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { ROLES, type Role } from '../../src/domain/ports.ts';
import type { BatchPart } from '../../src/domain/receipt.ts';
import type { Services } from '../../src/http/services.ts';
import { FINGERPRINT, key, servePages } from './scene.ts';

const formTokenIn = (text: string) => /name="form-token" value="([0-9a-f]{64})"/.exec(text)?.[1] ?? 'none';

/** Every address that takes a form, and for whom; whoever is added here without a role is an error. */
const FORMS: readonly (readonly [path: string, roles: readonly Role[]])[] = [
  ['tokens', ['admin']],
  ['tokens/ci/revoke', ['admin']],
  ['sessions/1/end', ['admin']],
  ['signers', ['admin']],
  ['signers/ci', ['admin']],
  ['signers/ci/disable', ['admin']],
  ['signers/ci/enable', ['admin']],
  ['signers/ci/remove', ['admin']],
  ['grants/1/remove', ['admin']],
  ['keys/add', ['admin']],
  [`keys/${FINGERPRINT}/retire`, ['admin']],
  [`keys/${FINGERPRINT}/unretire`, ['admin']],
  [`keys/${FINGERPRINT}/remove`, ['admin']],
  [`keys/${FINGERPRINT}/refresh`, ['admin']],
];

describe('a form', () => {
  test('is taken from a session of its role alone, and with the token of that session', async () => {
    // whatever service is asked fails the test with a 500
    await using pages = await servePages({ keys: [key()] });
    for (const role of ROLES) {
      const session = await pages.logIn(role);
      const own = formTokenIn((await pages.get('log-in', session)).text);
      for (const [path, roles] of FORMS) {
        assert.equal(
          (await pages.post(path, {}, session)).status,
          403,
          `${path} without its token, by ${role}`,
        );
        if (roles.includes(role)) continue;
        const { status, text } = await pages.post(path, { 'form-token': own }, session);
        assert.equal(status, 403, `${path} by ${role}`);
        assert.match(text, new RegExp(`has the role ${role}`));
      }
    }
    for (const [path] of FORMS) {
      const { status, headers } = await pages.post(path, {});
      assert.equal(status, 303, path);
      assert.match(headers.get('location') ?? '', /log-in$/);
    }
  });

  test('with files is refused before they are read when nobody is logged in', async () => {
    await using pages = await servePages();
    const { status, text } = await pages.send('upload', [['signature-1', 'bytes']]);
    assert.equal(status, 401);
    assert.match(text, /log in again/);
    const reader = await pages.logIn('reader');
    assert.equal((await pages.send('upload', [['signature-1', 'bytes']], reader)).status, 403);
    const uploader = await pages.logIn('uploader');
    const { status: refused } = await pages.send('upload?form-token=0', [['signature-1', 'bytes']], uploader);
    assert.equal(refused, 403);
  });
});

describe('a folder that is uploaded', () => {
  test('goes where claims say, the release layout where its folder says, and what is no signature stays out', async () => {
    const sent: BatchPart[] = [];
    const release = `sha256=${'ab'.repeat(32)}`;
    const uploader: Pick<Services['uploader'], 'uploadBatch'> = {
      async uploadBatch(parts) {
        sent.push(...parts);
        return parts.map((_, part) => ({
          part,
          result: 'refused' as const,
          code: 'KEY_UNKNOWN' as const,
          message: `no key <b>${part}</b>`,
        }));
      },
    };
    await using pages = await servePages({ http: { uploader: uploader as Services['uploader'] } });
    const session = await pages.logIn('uploader');
    const page = await pages.get('upload', session);
    const action = /action="\.\/(upload\?form-token=[0-9a-f]{64})"/.exec(page.text)?.[1] ?? '';
    const { status, text } = await pages.send(
      action,
      [
        [`staging/team/app@${release}/signature-10`, 'ten'],
        [`staging/team/app@${release}/signature-2`, 'two'],
        [`staging/${release}/signature-1`, 'release'],
        ['staging/manifest.json', '{}'],
      ],
      session,
    );
    assert.equal(status, 200);
    assert.deepEqual(
      sent.map(({ bytes, fileName }) => [Buffer.from(bytes).toString(), fileName]),
      [
        ['release', `${release}/signature-1`],
        ['two', null],
        ['ten', null],
      ],
    );
    assert.match(text, /No key &lt;b&gt;0&lt;\/b&gt;/);
    assert.match(text, /manifest\.json<\/th><td>.*left out/);
  });
});
