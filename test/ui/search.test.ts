// The search box: what it takes a text for, and where it leads.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FINGERPRINT, HEX, IMAGE, key, servePages, signature } from './scene.ts';

const STORED = { signatures: [signature()], keys: [key()] };

const STRAIGHT: readonly (readonly [text: string, to: string, as: string])[] = [
  [`sha256:${HEX}`, `./images/${IMAGE}`, 'a digest'],
  [HEX.toUpperCase(), `./images/${IMAGE}`, 'a digest'],
  ['registry.example/team/app:v1', `./images/${IMAGE}`, 'a reference with a tag'],
  [`docker://registry.example/team/app@sha256:${HEX}`, `./images/${IMAGE}`, 'a reference with a digest'],
  ['team/app', './repositories/team/app', 'a repository'],
  [`/team/app@sha256=${HEX}/signature-1`, `./images/${IMAGE}`, 'a path of this server'],
  [`https://sig.example/cut/team/app@sha256=${HEX}/`, `./images/${IMAGE}`, 'a path of this server'],
  [FINGERPRINT.toLowerCase(), `./keys/${FINGERPRINT}`, 'a fingerprint'],
  [FINGERPRINT.replace(/(.{4})/g, '$1 '), `./keys/${FINGERPRINT}`, 'a fingerprint'],
  [`0x${FINGERPRINT.slice(-16)}`, `./keys/${FINGERPRINT}`, 'a key ID'],
  [`0x${FINGERPRINT.slice(-8)}`, `./keys/${FINGERPRINT}`, 'a key ID'],
  ['release@EXAMPLE', `./keys/${FINGERPRINT}`, 'a part of a user ID'],
];

test('a search goes straight to the one thing, and says what it understood', async () => {
  await using pages = await servePages(STORED);
  for (const [text, to, as] of STRAIGHT) {
    const { status, headers } = await pages.get(`search?q=${encodeURIComponent(text)}`);
    assert.equal(status, 303, text);
    const [path, query = ''] = (headers.get('location') ?? '').split('?', 2);
    assert.equal(path, to, text);
    assert.equal(new URLSearchParams(query).get('as'), as, text);
    const page = await pages.get(`${to.slice(2)}?${query}`);
    assert.match(page.text, new RegExp(`understood as ${as}`), text);
  }
});

test('what finds nothing is told with what it means and what to do', async () => {
  await using pages = await servePages();
  const expected = [
    [`registry.example/team/app@sha256:${HEX}`, /A signature was required, but no signature exists/],
    [`/team/app@sha256=${HEX}/signature-1`, /No signature is stored for this image/],
    [FINGERPRINT, /lookaside key add/],
    ['192.0.2.7', /lookaside access query/],
    [
      'registry.example/team/app:v9',
      /no signature says this name.*href="\.\/check\?image=registry\.example%2Fteam%2Fapp%3Av9"/s,
    ],
    [`"><script>${'x'.repeat(9000)}\u202e`, /Nothing is stored under that name/],
    ['%', /Nothing is stored under that name/],
  ] as const;
  for (const [text, said] of expected) {
    const { status, text: page } = await pages.get(`search?q=${encodeURIComponent(text).slice(0, 6000)}`);
    assert.equal(status, 404, text.slice(0, 80));
    assert.match(page, said, text.slice(0, 80));
    assert.equal(page.match(/<script/g)?.length, 1);
  }
});

test('a search that finds nothing while the index is being built says so', async () => {
  const repositories = { page: async () => ({ repositories: [], next: null, isComplete: false }) };
  await using pages = await servePages({ services: { repositories } });
  for (const text of [`registry.example/team/app@sha256:${HEX}`, 'team/nothing', '%'])
    assert.match((await pages.get(`search?q=${encodeURIComponent(text)}`)).text, /The index is being built/);
  for (const text of [FINGERPRINT, '192.0.2.7']) // neither is looked for in the index
    assert.doesNotMatch((await pages.get(`search?q=${text}`)).text, /being built/);
});

test('an address leads who may audit straight to its reads, and others to the command', async () => {
  await using pages = await servePages();
  for (const role of ['auditor', 'admin'] as const) {
    const { status, headers } = await pages.get('search?q=192.0.2.0/24', await pages.logIn(role));
    assert.equal(status, 303);
    assert.match(headers.get('location') ?? '', /^\.\/access\?address=192\.0\.2\.0%2F24&/);
  }
  const { text } = await pages.get('search?q=192.0.2.0/24', await pages.logIn('reader'));
  assert.match(text, /lookaside access query --address 192\.0\.2\.0\/24/);
});

test('several hits are a list, each a link', async () => {
  const other = '0F'.repeat(20);
  await using pages = await servePages({
    keys: [key(), key({ fingerprint: other, userIds: ['Other <other@example.com>'] })],
  });
  const { status, text } = await pages.get('search?q=example.com');
  assert.equal(status, 200);
  for (const fingerprint of [FINGERPRINT, other]) assert.ok(text.includes(`href="./keys/${fingerprint}"`));
});
