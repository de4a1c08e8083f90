// The page that refreshes a key: whom it asks, what a file may bring, and what became of it.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { LookasideError } from '../../src/domain/errors.ts';
import type { KeyResult } from '../../src/domain/key.ts';
import type { KeySource } from '../../src/domain/key-source.ts';
import type { KeyService } from '../../src/service/keys.ts';
import type { PageServices } from '../../src/ui/services.ts';
import { FINGERPRINT, key, servePages } from './scene.ts';

const formTokenIn = (text: string) => /name="form-token" value="([0-9a-f]{64})"/.exec(text)?.[1] ?? 'none';
const AT = `keys/${FINGERPRINT}/refresh`;

const UPDATED = {
  ...{ result: 'updated', fingerprint: FINGERPRINT, userIds: ['Release'], state: 'valid' },
  ...{ expiresAt: new Date('2030-01-01T00:00:00Z'), warnings: [] },
} as unknown as KeyResult;

const sourcesOf = (sources: readonly KeySource[], asked: string[] = []): PageServices['keyRefresher'] => ({
  sources: () => sources,
  async refreshNow(name, actor) {
    asked.push(`${name} ${actor.name}`);
    return [
      { from: 'wkd', results: [], problem: 'example.com does not answer' },
      { from: 'https://keys.example.com', results: [UPDATED], problem: null },
      { from: 'https://other.example.com', results: [], problem: null },
    ];
  },
});

const SOURCES: readonly KeySource[] = [{ kind: 'wkd' }, { kind: 'hkp', url: 'https://keys.example.com' }];

describe('the page that refreshes a key', () => {
  test('asks whom the settings name, and says of each what it had', async () => {
    const asked: string[] = [];
    await using pages = await servePages({
      keys: [key()],
      services: { keyRefresher: sourcesOf(SOURCES, asked) },
    });
    const cookie = await pages.logIn('admin');
    const page = await pages.get(AT, cookie);
    assert.match(page.text, /<code>wkd<\/code><\/li><li><code>https:\/\/keys\.example\.com<\/code>/);
    assert.equal((await pages.post(AT, {}, cookie)).status, 403, 'a form of no page of ours');
    assert.deepEqual(asked, []);
    const { status, text } = await pages.post(AT, { 'form-token': formTokenIn(page.text) }, cookie);
    assert.equal(status, 200);
    assert.match(text, /Example\.com does not answer/);
    assert.match(text, /updated.*2030-01-01/s);
    assert.match(text, /It does not have this key/);
    assert.deepEqual(asked, [`${FINGERPRINT} the-admin`]);
    assert.equal((await pages.get(AT, await pages.logIn('auditor'))).status, 403);
    assert.ok((await pages.get(`keys/${FINGERPRINT}`, cookie)).text.includes(`${FINGERPRINT}/refresh"`));
  });

  test('says what to set where nobody is asked, and merges what is pasted into this key alone', async () => {
    const merged: (readonly string[])[] = [];
    let ignored = 0;
    const refresh: KeyService['refresh'] = async (bytes, names) => {
      const text = Buffer.from(bytes).toString();
      if (text === 'no key') throw new LookasideError('REQUEST_INVALID', 'this holds no key');
      merged.push([text, ...names]);
      return { results: ignored === 0 ? [UPDATED] : [], ignored };
    };
    const keys = { find: async () => key(), list: async () => [key()], refresh };
    const services = { keyRefresher: sourcesOf([]), keys: keys as unknown as KeyService };
    await using pages = await servePages({ services });
    const cookie = await pages.logIn('admin');
    const { text } = await pages.get(AT, cookie);
    assert.match(text, /It asks nobody. Set <code>LOOKASIDE_KEY_REFRESH<\/code>/);
    const token = formTokenIn(text);
    const send = (pasted: string) => pages.post(AT, { 'form-token': token, key: pasted }, cookie);
    assert.match((await send('newer')).text, /updated/);
    assert.deepEqual(merged, [['newer', FINGERPRINT]]);
    const refused = await send('no key');
    assert.deepEqual([refused.status, /This holds no key/.test(refused.text)], [422, true]);
    ignored = 1;
    const { text: others } = await send('of another');
    assert.match(others, /not in what was pasted, and nothing was changed/);
    assert.match(others, /1 certificate of other keys left out/);
  });
});
