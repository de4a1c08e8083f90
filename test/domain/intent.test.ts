// What is kept of an upload until it is whole: read back as it was written, or not at all.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { type Intent, intentText, parseIntent, type UploadIntent } from '../../src/domain/intent.ts';

const UPLOAD: UploadIntent = {
  kind: 'upload',
  image: {
    site: 'default',
    layout: 'repository',
    path: 'team/app',
    algorithm: 'sha256',
    hex: 'a'.repeat(64),
  },
  sha256: 'b'.repeat(64),
  uploader: 'ci',
  storedAt: new Date('2026-11-22T10:00:00.123Z'),
  remap: null,
  event: {
    at: new Date('2026-11-22T10:00:00.122Z'),
    action: 'upload',
    site: 'default',
    image: `team/app@sha256=${'a'.repeat(64)}`,
    signatureSha256: 'b'.repeat(64),
    fingerprint: 'C'.repeat(40),
    result: 'created',
    private: { actor: 'ci', address: '192.0.2.1', requestId: null, reason: 'ünïcode \u2028 "x"' },
    salt: 'd'.repeat(64),
  },
};

const { uploader: _u, storedAt: _s, remap: _r, ...rest } = UPLOAD;
const RESTORE: Intent = { ...rest, kind: 'restore', event: { ...UPLOAD.event, action: 'restore' } };
const RELEASE: Intent = {
  ...UPLOAD,
  image: { site: 'default', layout: 'release', path: '', algorithm: 'sha512', hex: '0'.repeat(128) },
};

describe('an intent', () => {
  test('that was written before there were remaps has none', () => {
    const { remap: _, ...older } = JSON.parse(intentText(UPLOAD));
    assert.deepEqual(parseIntent(JSON.stringify(older)), UPLOAD);
  });

  for (const intent of [UPLOAD, { ...UPLOAD, remap: 'mirror/quay=quay.io' }, RESTORE, RELEASE]) {
    test(`to ${intent.kind} into a ${intent.image.layout} layout is read back as it was`, () => {
      assert.deepEqual(parseIntent(intentText(intent)), intent);
    });
  }

  test('that is cut short anywhere is none', () => {
    const text = intentText(UPLOAD);
    for (let length = 0; length < text.length; length += 1) {
      assert.equal(parseIntent(text.slice(0, length)), null);
    }
  });

  const SPOILT: readonly [string, object][] = [
    ['another version', { v: 2 }],
    ['a folder outside the tree', { folder: `../x@sha256=${'a'.repeat(64)}` }],
    ['the private folder', { folder: `.lookaside/x@sha256=${'a'.repeat(64)}` }],
    ['a folder of no image', { folder: 'team/app' }],
    ['no SHA-256', { sha256: 'B'.repeat(64) }],
    ['an unknown kind', { kind: 'delete' }],
    ['no time', { storedAt: 'yesterday' }],
    ['an unknown member', { more: 1 }],
    ['an event of unknown action', { event: { ...UPLOAD.event, action: 'sing' } }],
  ];
  for (const [what, spoilt] of SPOILT) {
    test(`with ${what} is none`, () => {
      assert.equal(parseIntent(JSON.stringify({ ...JSON.parse(intentText(UPLOAD)), ...spoilt })), null);
    });
  }

  test('is never made of other text', () => {
    fc.assert(fc.property(fc.oneof(fc.string(), fc.json()), (text) => assert.equal(parseIntent(text), null)));
  });
});
