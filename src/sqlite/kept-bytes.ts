import { hash } from 'node:crypto';

/** Bytes of a signature as state.db keeps them; null for none. Throws when they are not those of the hash, which is in hex. */
export function checkKept(bytes: Buffer | null | undefined, sha256: string): Uint8Array | null {
  if (bytes == null) return null;
  if (hash('sha256', bytes) !== sha256) {
    throw new Error(`the bytes kept of ${sha256} are others: state.db is damaged`);
  }
  return bytes;
}
