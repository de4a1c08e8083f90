// Reads an open file to its end, but never more than a bound, however much it grows meanwhile.
import { read } from 'node:fs';
import { promisify } from 'node:util';

const readPart = promisify(read);

/** All bytes of the file, or null when there are more than `mostBytes`. `expectedBytes`: about how many. */
export async function readAtMost(
  descriptor: number,
  expectedBytes: number,
  mostBytes: number,
): Promise<Uint8Array | null> {
  // one byte more than allowed, so that too much shows
  let buffer = Buffer.allocUnsafeSlow(Math.min(expectedBytes, mostBytes) + 1);
  let length = 0;
  for (;;) {
    const { bytesRead } = await readPart(descriptor, buffer, length, buffer.length - length, length);
    length += bytesRead;
    if (bytesRead === 0) return buffer.subarray(0, length);
    if (length > mostBytes) return null;
    if (length === buffer.length) {
      const larger = Buffer.allocUnsafeSlow(Math.min(buffer.length * 2, mostBytes + 1));
      buffer.copy(larger);
      buffer = larger;
    }
  }
}
