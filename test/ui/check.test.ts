// Check a pull: the form, what it says of an image, and what visitors are not told.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Withdrawn } from '../../src/domain/tombstone.ts';
import type { PageServices } from '../../src/ui/services.ts';
import { HEX, IMAGE, key, servePages, signature } from './scene.ts';

const GONE: Withdrawn = {
  number: 1,
  signatureSha256: 'cd'.repeat(32),
  reason: 'the-reason-visitors-may-not-see',
  withdrawnAt: new Date('2026-11-20T09:00:00Z'),
  withdrawnBy: 'the-boss',
  until: null,
} as unknown as Withdrawn;

const services = (withdrawn: readonly Withdrawn[] = []): Partial<PageServices> => ({
  mirrors: { ofImage: async () => null } as unknown as PageServices['mirrors'],
  withdrawals: { ofImage: async () => withdrawn },
});

describe('the page Check a pull', () => {
  test('a verified image is told as such, with what only the client knows and the way to set it up', async () => {
    await using pages = await servePages({ signatures: [signature()], keys: [key()], services: services() });
    const { status, text } = await pages.get('check?image=registry.example%2Fteam%2Fapp%3Av1');
    assert.equal(status, 200);
    assert.match(text, /class="note good".*This server has what a client needs/s);
    assert.match(text, /lookaside doctor registry\.example\/team\/app:v1 --server http/);
    assert.match(
      text,
      /skopeo inspect --format &#39;\{\{\.Digest\}\}&#39; docker:\/\/registry\.example\/team\/app:v1/,
    );
    assert.ok(text.includes('href="./set-up?registry=registry.example%2Fteam%2Fapp"'));
    assert.ok(text.includes(`href="./images/${IMAGE}"`));
  });

  test('an image that was never signed is refused in words, with what to do', async () => {
    await using pages = await servePages({ services: services() });
    const { text } = await pages.get(`check?image=team/app@sha256:${HEX}`);
    assert.match(
      text,
      /class="note wrong".*Clients that want a signature refuse it.*No signature of team\/app@sha256/s,
    );
    assert.match(text, /To do:.*lookaside push/s);
    assert.doesNotMatch(text, /A tag may have moved/, 'a digest is certain');
    assert.match(text, /Signed by cosign\?.*sigstoreSigned/s);
  });

  test('a copy that is pulled by its own name is told as such; who may list nothing learns no other name', async () => {
    const stored = { signatures: [signature()], keys: [key()], services: services() };
    const path = 'check?image=mirror.internal%3A5000%2Fteam%2Fapp%3Av1';
    await using pages = await servePages(stored);
    const { text } = await pages.get(path);
    assert.match(
      text,
      /class="note wrong".*Clients refuse it under this name.*registry\.example\/team\/app:v1/s,
    );
    assert.match(text, /To do:.*remapIdentity/s);
    await using closed = await servePages({ ...stored, settings: { listing: false } });
    const { text: unlisted } = await closed.get(path);
    assert.match(unlisted, /Clients refuse it under this name/);
    const [note = ''] = /<div class="note wrong".*?<\/div>/s.exec(unlisted) ?? [];
    assert.doesNotMatch(note, /registry\.example/);
  });

  test('why something was withdrawn, only auditors are told', async () => {
    await using pages = await servePages({ services: services([GONE]) });
    const path = `check?image=team/app@sha256:${HEX}`;
    const visitor = await pages.get(path);
    assert.match(visitor.text, /was withdrawn/);
    assert.doesNotMatch(visitor.text, /the-reason-visitors-may-not-see|the-boss/);
    const records = {
      session: async <T>(_about: unknown, _asker: unknown, act: (session: unknown) => Promise<T>) =>
        act({ unsigned: async () => ({ rows: [], found: 0, dropped: 0, gaps: [] }) }),
    } as unknown as PageServices['records'];
    await using asked = await servePages({ services: { ...services([GONE]), records } });
    assert.doesNotMatch((await asked.get(path, await asked.logIn('reader'))).text, /the-reason-visitors/);
    assert.match(
      (await asked.get(path, await asked.logIn('auditor'))).text,
      /the-reason-visitors-may-not-see/,
    );
  });

  test('an empty form, what is no image, and hostile text', async () => {
    const hostile = 'x'.repeat(10_240);
    await using pages = await servePages({
      signatures: [signature({ dockerReference: `r.example/team/app:v1"><script>\u202e${hostile}` })],
      keys: [key({ userIds: [`<script>${hostile}`] })],
      services: services(),
    });
    assert.equal((await pages.get('check')).status, 200);
    for (const text of ['"><script>alert(1)</script>\u202e', "a'; reboot", hostile.slice(0, 3000)]) {
      const { status, text: page } = await pages.get(`check?image=${encodeURIComponent(text)}`);
      assert.ok(status === 400 || status === 200, text.slice(0, 20));
      assert.equal(page.match(/<script/g)?.length, 1);
    }
    const { text } = await pages.get(`check?image=sha256:${HEX}`);
    assert.equal(text.match(/<script/g)?.length, 1);
    assert.ok(text.length < 20_000 && !text.includes('\u202e'), String(text.length));
  });
});
