import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  checkpointText,
  entryBundle,
  formatProof,
  parseCheckpoint,
  parseEntryBundle,
  parseProof,
  parseTilePath,
  tilePath,
  widthIn,
} from '../../src/domain/checkpoint.ts';

/** The example of C2SP tlog-checkpoint. */
const CHECKPOINT = `example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
`;

test('the example of the specification is read, and its text is written as it stands there', () => {
  const checkpoint = parseCheckpoint(CHECKPOINT);
  assert.ok(checkpoint !== null);
  const { origin, size } = checkpoint;
  assert.deepEqual({ origin, size }, { origin: 'example.com/behind-the-sofa', size: 20_852_163 });
  assert.ok(CHECKPOINT.startsWith(`${checkpointText(origin, checkpoint)}\n`));
});

test('what is no checkpoint is none', () => {
  for (const [from, to] of [
    ['20852163', '020852163'],
    ['20852163', '-1'],
    ['20852163', '99999999999999999999'],
    ['CsUY', 'Cs'],
    ['example.com/behind-the-sofa\n', '\n'],
    ['=\n\n', '=\n'],
  ] as const) {
    assert.equal(parseCheckpoint(CHECKPOINT.replace(from, to)), null, to);
  }
});

test('tiles have the paths of the specification, and no others', () => {
  const width = 256;
  assert.equal(tilePath({ level: 0, number: 1_234_067, width }), '0/x001/x234/067');
  assert.equal(tilePath({ level: 12, number: 5, width: 7 }), '12/005.p/7');
  assert.equal(tilePath({ level: null, number: 999, width }), 'entries/999');
  assert.equal(tilePath({ level: null, number: 1000, width: 1 }), 'entries/x001/000.p/1');
  for (const path of [
    '0/1',
    '0/x000/001',
    '00/001',
    '64/001',
    '0/001.p/0',
    '0/001.p/256',
    '0/001.p/01',
    '0/001/',
    '0/001.p',
    'data/001',
    '0/X001/001',
    '-1/001',
  ]) {
    assert.equal(parseTilePath(path), null, path);
  }
  fc.assert(
    fc.property(
      fc.record(
        {
          level: fc.option(fc.nat(63)),
          number: fc.nat(999_999_999_999),
          width: fc.integer({ min: 1, max: 256 }),
        },
        { noNullPrototype: true },
      ),
      (place) => assert.deepEqual(parseTilePath(tilePath(place)), place),
    ),
  );
});

test('tiles are as wide as the specification says of a tree of 70,000 and of one of 256', () => {
  assert.deepEqual(
    [widthIn(70_000, 0, 272), widthIn(70_000, 0, 273), widthIn(70_000, 0, 274)],
    [256, 112, 0],
  );
  assert.deepEqual([widthIn(70_000, 1, 0), widthIn(70_000, 1, 1), widthIn(70_000, 2, 0)], [256, 17, 1]);
  assert.deepEqual([widthIn(256, 0, 0), widthIn(256, 1, 0), widthIn(256, 2, 0)], [256, 1, 0]);
});

test('bundles give back their entries, and cut ones are found', () => {
  const entries = fc.array(fc.uint8Array({ maxLength: 600 }), { maxLength: 20 });
  fc.assert(
    fc.property(entries, fc.nat(), (given, cut) => {
      const bundle = entryBundle(given);
      assert.deepEqual(
        parseEntryBundle(bundle)?.map((entry) => [...entry]),
        given.map((entry) => [...entry]),
      );
      const shorter = parseEntryBundle(bundle.subarray(0, bundle.length === 0 ? 0 : cut % bundle.length));
      assert.ok(bundle.length === 0 || shorter === null || shorter.length < given.length);
    }),
  );
  assert.deepEqual([...entryBundle([Uint8Array.of(7, 8), new Uint8Array(0)])], [0, 2, 7, 8, 0, 0]);
});

test('a proof is read as it was written, and what is none is refused', () => {
  const proof = {
    index: 73_894,
    entry: new TextEncoder().encode('{"v":1}'),
    hashes: [new Uint8Array(32).fill(1), new Uint8Array(32).fill(2)],
    checkpoint: CHECKPOINT,
  };
  const text = formatProof(proof);
  assert.deepEqual(parseProof(text), proof);
  assert.ok(text.startsWith('c2sp.org/tlog-proof@v1\nextra eyJ2IjoxfQ==\nindex 73894\nAQEB'), text);
  for (const [from, to] of [
    ['@v1', '@v2'],
    ['extra', 'extra2'],
    ['index 73894', 'index 073894'],
    ['index ', 'index: '],
    ['AQEB', 'AQE'],
  ] as const) {
    assert.equal(parseProof(text.replace(from, to)), null, to);
  }
});
