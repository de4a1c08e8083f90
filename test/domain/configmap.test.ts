import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parse, parseAllDocuments } from 'yaml';
import { configMapsOf, configMapYaml } from '../../src/domain/configmap.ts';

const HEX = '0c8f'.repeat(16);

test('the signatures of a release are one ConfigMap, as library-go reads it', () => {
  const maps = configMapsOf(HEX, ['b3dH', 'YWJj']);
  assert.equal(maps.length, 1);
  const read = parse(configMapYaml(maps));
  assert.deepEqual(read, maps[0]);
  assert.equal(read.metadata.namespace, 'openshift-config-managed');
  assert.deepEqual(read.metadata.labels, { 'release.openshift.io/verification-signatures': '' });
  // as configmap.go of library-go looks for them
  const entries = Object.entries(read.binaryData).filter(([key]) => key.startsWith(`sha256-${HEX}`));
  assert.deepEqual(entries, [
    [`sha256-${HEX}-1`, 'b3dH'],
    [`sha256-${HEX}-2`, 'YWJj'],
  ]);
});

test('so many that one would be too large for oc apply are divided, and the numbers go on', () => {
  const maps = configMapsOf(
    HEX,
    Array.from({ length: 100 }, () => 'A'.repeat(7000)),
  );
  assert.equal(maps.length, 4);
  assert.equal(new Set(maps.map(({ metadata }) => metadata.name)).size, 4);
  for (const map of maps) assert.ok(JSON.stringify(map).length < 220 * 1024);
  const keys = maps.flatMap(({ binaryData }) => Object.keys(binaryData));
  assert.deepEqual(keys.at(-1), `sha256-${HEX}-100`);
  assert.equal(parseAllDocuments(configMapYaml(maps)).length, 4);
});
