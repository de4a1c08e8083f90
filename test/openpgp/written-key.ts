// One key in both writers: certificates as one of them writes them, messages as the other.
import type { WrittenKey } from './certificate-writer.ts';
import type { WriterKey } from './packet-writer.ts';

export function writtenKey(key: WriterKey): WrittenKey {
  const { body, algorithm, fingerprint, keyId, createdAt } = key;
  return {
    body,
    algorithm,
    fingerprint,
    keyId,
    hash: 'sha256',
    createdAt: createdAt.getTime() / 1000,
    sign: (hash, content) => numbersOf(key.sign(hash, content)),
  };
}

/** The multiprecision integers one after the other. */
export function numbersOf(written: Uint8Array): readonly Uint8Array[] {
  const bytes = Buffer.from(written);
  const numbers: Uint8Array[] = [];
  for (let at = 0; at < bytes.length; ) {
    const end = at + 2 + Math.ceil(bytes.readUInt16BE(at) / 8);
    numbers.push(bytes.subarray(at + 2, end));
    at = end;
  }
  return numbers;
}
