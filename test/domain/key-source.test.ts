import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { addressesOf, hkpUrl, keySourceText, parseKeySource, wkdUrls } from '../../src/domain/key-source.ts';

test('a source of keys is wkd or the URL of a key server, and nothing else', () => {
  for (const [text, url] of [
    ['hkp://keys.example.com', 'http://keys.example.com:11371'],
    ['hkp://keys.example.com:80/', 'http://keys.example.com'],
    ['hkps://keys.example.com/', 'https://keys.example.com'],
    ['http://127.0.0.1:8000/lookaside', 'http://127.0.0.1:8000/lookaside'],
    ['wkd', 'wkd'],
  ] as const) {
    const source = parseKeySource(text);
    assert.equal(source === null ? null : keySourceText(source), url, text);
  }
  for (const text of [
    '',
    'WKD',
    'keys.example.com',
    'ldap://x',
    'hkp://',
    'https://u@x',
    'https://x?a',
    'https://x#a',
  ]) {
    assert.equal(parseKeySource(text), null, text);
  }
  assert.equal(hkpUrl('https://x', 'AB'), 'https://x/pks/lookup?op=get&options=mr&search=0xAB');
});

test('a Web Key Directory is asked under the names that its draft gives for an address', () => {
  const [address] = addressesOf(['Joe Doe <Joe.Doe@Example.ORG>'], 4);
  assert.ok(address !== undefined);
  const hash = createHash('sha1').update('joe.doe').digest();
  assert.deepEqual(wkdUrls(address, hash), [
    'https://openpgpkey.example.org/.well-known/openpgpkey/example.org/hu/iy9q119eutrkn8s1mk4r39qejnbu3n5q?l=Joe.Doe',
    'https://example.org/.well-known/openpgpkey/hu/iy9q119eutrkn8s1mk4r39qejnbu3n5q?l=Joe.Doe',
  ]);
});

test('only what is an address of a domain is asked for, each once, and of few', () => {
  const userIds = [
    'a@x.example',
    'A <A@X.example>',
    'b <b@localhost>',
    '<c@10.0.0.1>',
    'd <d@x.example/..>',
    '<e@[::1]>',
  ];
  assert.deepEqual(addressesOf(userIds, 4), [{ local: 'A', domain: 'x.example' }]);
  const many = Array.from({ length: 9 }, (_, at) => `u${at}@x.example`);
  assert.equal(addressesOf(many, 4).length, 4);
});
