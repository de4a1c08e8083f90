import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type ImageId, imageFolder, parseImageName } from '../../src/domain/image.ts';
import type { View } from '../../src/domain/site.ts';
import { nameInView, viewed } from '../../src/domain/view.ts';

const DIGEST = `sha256:${'ab'.repeat(32)}`;
const image = (name: string): ImageId => {
  const parsed = parseImageName('m', name);
  assert.ok(parsed !== null);
  return parsed;
};

test('the name of an image in a view is the one that the view takes for it, and no other image has one', () => {
  const cases: readonly (readonly [Omit<View, 'layout'>, string, string | null])[] = [
    [{ strip: '', add: '' }, `ubi9/ubi@${DIGEST}`, `ubi9/ubi@${DIGEST}`],
    [{ strip: 'redhat', add: '' }, `ubi9/ubi@${DIGEST}`, `redhat/ubi9/ubi@${DIGEST}`],
    [{ strip: '', add: 'ubi9' }, `ubi9/ubi@${DIGEST}`, `ubi@${DIGEST}`],
    [{ strip: 'a/b', add: 'ubi9' }, `ubi9/ubi@${DIGEST}`, `a/b/ubi@${DIGEST}`],
    [{ strip: 'a', add: 'ubi9/ubi' }, `ubi9/ubi@${DIGEST}`, `a@${DIGEST}`],
    [{ strip: 'a', add: 'ubi8' }, `ubi9/ubi@${DIGEST}`, null],
    [{ strip: '', add: 'ubi9/ubi' }, `ubi9/ubi@${DIGEST}`, null],
  ];
  for (const [rewrite, stored, wanted] of cases) {
    const view: View = { layout: 'repository', ...rewrite };
    const name = nameInView(image(stored), view);
    assert.equal(name, wanted, JSON.stringify(rewrite));
    if (name === null) continue;
    const meant = viewed(image(name), view);
    assert.equal(meant && imageFolder(meant), imageFolder(image(stored)));
  }
  assert.equal(nameInView(image(DIGEST), { layout: 'release', strip: '', add: '' }), DIGEST);
});
