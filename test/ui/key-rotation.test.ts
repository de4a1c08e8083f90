// The page that says how far another key has taken a key's place.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Administration } from '../../src/domain/administration.ts';
import type { RotationPart } from '../../src/domain/rotation.ts';
import { FINGERPRINT, HEX, key, servePages } from './scene.ts';

const NEXT = 'F'.repeat(40);

function administrationOf(parts: readonly RotationPart[], asked: string[]) {
  const keys = {
    async *rotation(old: string, next: string) {
      asked.push(`${old} ${next}`);
      yield* parts;
    },
  };
  return () => ({ keys }) as unknown as Administration;
}

test('a rotation is shown as a part of the whole, with the first images that are left', async () => {
  const asked: string[] = [];
  const work = Array.from({ length: 60 }, (_, n) => ({
    site: 'default',
    image: `app${n}@sha256:${HEX}`,
    digest: `sha256:${HEX}`,
    reference: `registry.example/app${n}:<b>`,
  }));
  const parts = [
    { old: FINGERPRINT, new: NEXT, images: { old: 60, both: 180, new: 5 }, gaps: ['the index is not whole'] },
    { work },
    { end: { work: 60 } },
  ];
  await using pages = await servePages({
    keys: [key(), key({ fingerprint: NEXT, userIds: ['<i>Next'] })],
    services: { administration: administrationOf(parts, asked) },
  });
  const session = await pages.logIn('reader');
  const chosen = await pages.get(`keys/${FINGERPRINT}/rotation`, session);
  assert.equal(chosen.status, 200);
  assert.match(chosen.text, new RegExp(`<option value="${NEXT}">&lt;i&gt;Next`));
  assert.doesNotMatch(chosen.text, new RegExp(`<option value="${FINGERPRINT}"`));
  assert.deepEqual(asked, [], 'nothing is counted before the other key is known');
  const { text } = await pages.get(`keys/${FINGERPRINT}/rotation?to=${NEXT}`, session);
  assert.deepEqual(asked, [`${FINGERPRINT} ${NEXT}`]);
  assert.match(text, /180 of 240 images of the old key are signed by the new one too: 75 %/);
  assert.match(text, /width="750"/);
  assert.match(text, /the index is not whole/);
  assert.equal([...text.matchAll(/images\/app\d+@sha256/g)].length, 50);
  assert.match(text, /registry\.example\/app7:&lt;b&gt;/);
  // it counts, and lists images, for who is logged in alone, as the command does
  assert.equal((await pages.get(`keys/${FINGERPRINT}/rotation?to=${NEXT}`)).status, 303);
  assert.equal(asked.length, 1);
});

test('without another key the page says what to do', async () => {
  await using pages = await servePages({ keys: [key()] });
  const { text } = await pages.get(`keys/${FINGERPRINT}/rotation`, await pages.logIn('admin'));
  assert.match(text, /lookaside key add FILE/);
});
