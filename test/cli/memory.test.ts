import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { type MemorySources, memoryShortage, setBytesOfEach } from '../../src/cli/memory.ts';

const MIB = 1024 * 1024;
const GIB = 1024 * MIB;

/** MiB for each process of a server on a machine of 24 GiB, where V8 takes a heap of 4 GiB at most. */
function on(sources: Partial<MemorySources> & { readonly processes?: number }): number {
  const { processes = 1, machineBytes = 24 * GIB, limitBytes = 2 ** 64 } = sources;
  const { heapBytes = Math.min(4 * GIB, machineBytes / 2, (limitBytes || machineBytes) / 2) } = sources;
  return setBytesOfEach(processes, { machineBytes, limitBytes, heapBytes }) / MIB;
}

describe('the memory for sets', () => {
  test('is a sixteenth of the memory of the machine, and 256 MiB at most', () => {
    assert.equal(on({ machineBytes: 2 * GIB }), 128);
    assert.equal(on({ machineBytes: 3 * GIB }), 192);
    assert.equal(on({ machineBytes: 4 * GIB }), 256);
    assert.equal(on({}), 256);
  });

  test('is a sixteenth of a small machine too: all else takes most of the little that there is', () => {
    assert.equal(on({ machineBytes: GIB }), 64);
    assert.equal(on({ machineBytes: 512 * MIB }), 32);
    assert.equal(on({ machineBytes: 256 * MIB }), 16);
  });

  test('is that of the container or service where it has a limit', () => {
    assert.equal(on({ limitBytes: 2 * GIB }), 128);
    assert.equal(on({ limitBytes: 256 * MIB }), 16);
    assert.equal(on({ limitBytes: 0 }), 256); // no control groups
  });

  test('is less where V8 is given a smaller heap', () => {
    assert.equal(on({ heapBytes: GIB }), 128);
    assert.equal(on({ heapBytes: 128 * MIB }), 16);
  });

  test('is shared by all processes that answer reads, of which each has 64 MiB where there is room', () => {
    assert.equal(on({ processes: 2 }), 128);
    assert.equal(on({ processes: 8 }), 64);
    assert.equal(on({ processes: 8, machineBytes: 4 * GIB }), 32);
    assert.equal(on({ processes: 2, limitBytes: 512 * MIB }), 16);
  });

  test('is whole on this machine', () => {
    assert.ok(Number.isSafeInteger(setBytesOfEach(3)));
  });
});

test('less memory than the server is tested with is told, with how much there is and how much is wanted', () => {
  const of = (machineBytes: number, limitBytes: number) =>
    memoryShortage({ machineBytes, limitBytes, heapBytes: GIB });
  assert.equal(of(24 * GIB, 512 * MIB), null);
  assert.equal(of(512 * MIB, 0), null);
  assert.deepEqual(of(24 * GIB, 256 * MIB), { givenMiB: 256, wantedMiB: 512 });
  assert.deepEqual(of(384 * MIB, 2 ** 64), { givenMiB: 384, wantedMiB: 512 });
});
