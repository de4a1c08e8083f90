// One number for the stamps of an image's folder and its files, so that an index of a million images keeps eight bytes for each.
import type { Stats } from 'node:fs';
import type { QuickStamp } from '../domain/tree-walk.ts';

/** The hash has 45 bits, so that a changed image passes for an unchanged one in 1 of 35,000,000,000,000 cases. */
const HIGH_BITS = 0x1fff;
const FILES_AT_MOST = 255;

const double = new Float64Array(1);
const words = new Uint32Array(double.buffer);

/**
 * `files`: signature-1 and so on, all that the folder has; 255 at most. The device is left out, as its number may be another one after a
 * restart: the caller holds that against the root's. Times are of 0.25 µs here, which is finer than the clock that the kernel stamps with.
 */
export function quickStampOf(folder: Stats, files: readonly Stats[]): QuickStamp {
  if (files.length > FILES_AT_MOST) throw new RangeError(`a stamp of ${files.length} files`);
  const lanes = { low: 0, high: 0 };
  mixIn(lanes, folder);
  for (const file of files) mixIn(lanes, file);
  return ((lanes.high & HIGH_BITS) * 2 ** 32 + lanes.low) * 256 + files.length;
}

export function filesOf(stamp: QuickStamp): number {
  return stamp % 256;
}

interface Lanes {
  low: number;
  high: number;
}

function mixIn(lanes: Lanes, { ino, size, mtimeMs, ctimeMs }: Stats): void {
  mix(lanes, ino);
  mix(lanes, size);
  mix(lanes, mtimeMs);
  mix(lanes, ctimeMs);
}

// multiplications by odd constants and rotations, as xxHash has them
function mix(lanes: Lanes, value: number): void {
  double[0] = value;
  const [first = 0, second = 0] = words;
  let low = Math.imul(lanes.low ^ first, 0x9e3779b1);
  low = (low << 15) | (low >>> 17);
  low = Math.imul(low ^ second, 0x85ebca77);
  let high = Math.imul(lanes.high ^ second, 0xc2b2ae3d);
  high = (high << 13) | (high >>> 19);
  high = Math.imul(high ^ first, 0x27d4eb2f);
  lanes.low = (low ^ (low >>> 15) ^ (high >>> 7)) >>> 0;
  lanes.high = (high ^ (high >>> 16) ^ (low << 5)) >>> 0;
}
