import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { imageKey } from '../../src/domain/image.ts';
import type { BatchPart } from '../../src/domain/receipt.ts';
import { createWholeImages, imageOfName, partNames } from '../../src/service/whole-images.ts';
import { folderOf } from '../store/lay.ts';
import { SITE } from '../store/open-store.ts';

const APPS = ['team/a', 'team/b', 'team/c'];

function keyOf(app: string): string {
  const [name] = partNames(SITE, [named(app)]);
  const image = imageOfName(name);
  assert.ok(image !== null);
  return imageKey(image);
}

function named(app: string | null): BatchPart {
  return { bytes: Buffer.from(''), fileName: app === null ? null : `${folderOf(app)}/signature-1` };
}

test('each image is given once, with all its parts in order, and as soon as no later part can belong to it', () => {
  const part = fc.record({
    app: fc.constantFrom(...APPS),
    isNamed: fc.boolean(),
    isRefused: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(part, { maxLength: 12 }), (parts) => {
      const names = partNames(
        SITE,
        parts.map(({ app, isNamed }) => named(isNamed ? app : null)),
      );
      const whole = createWholeImages<number>(names);
      const given = new Map<string, { readonly at: number; readonly items: readonly number[] }>();
      for (const [position, { app, isRefused }] of parts.entries()) {
        const examined = isRefused ? null : { image: keyOf(app), item: position };
        for (const items of whole.next(examined)) {
          const owner = parts[items[0] ?? -1]?.app ?? '';
          assert.equal(given.has(owner), false);
          given.set(owner, { at: position, items });
        }
      }
      for (const app of APPS) {
        const wanted = parts.flatMap((one, position) =>
          one.app === app && !one.isRefused ? [position] : [],
        );
        assert.deepEqual(given.get(app)?.items ?? [], wanted);
        if (wanted.length === 0) continue;
        const last = parts.findLastIndex((one) => !one.isNamed || one.app === app);
        assert.equal(given.get(app)?.at, last);
      }
    }),
  );
});

test('a part whose name is refused keeps no image waiting', () => {
  const tooLong: BatchPart = {
    bytes: Buffer.from(''),
    fileName: `${'c/'.repeat(1900)}sha256=${'a'.repeat(64)}/signature-1`,
  };
  const names = partNames(SITE, [named('team/a'), tooLong]);
  assert.deepEqual(
    names.map(({ kind }) => kind),
    ['image', 'refused'],
  );
  assert.throws(() => imageOfName(names[1]), { code: 'PATH_INVALID' });
  const whole = createWholeImages<string>(names);
  assert.deepEqual(whole.next({ image: keyOf('team/a'), item: 'one' }), [['one']]);
  assert.deepEqual(whole.next(null), []);
});
