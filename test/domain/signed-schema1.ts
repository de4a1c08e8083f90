// Manifests of Docker's signed schema 1, as libtrust puts signatures (JWS) into them. What is signed is not looked at by
// those who compute digests, so that nothing is signed here; the public key has to be one.
import { generateKeyPairSync } from 'node:crypto';

export interface Schema1Options {
  /** How many; default 1. */
  readonly signatures?: number;
  /** Members of the first one's protected header in place of the right ones. */
  readonly header?: { readonly formatLength?: number; readonly formatTail?: string };
}

/** `payload` ends in a line feed and a brace. */
export function signedSchema1(payload: string, { signatures = 1, header = {} }: Schema1Options = {}): string {
  const end = payload.lastIndexOf('\n}');
  const tail = payload.slice(end);
  const right = {
    formatLength: Buffer.byteLength(payload.slice(0, end)),
    formatTail: Buffer.from(tail).toString('base64url'),
    time: '2016-01-01T00:00:00Z',
  };
  const jwk = generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey.export({ format: 'jwk' });
  const list = Array.from({ length: signatures }, (_, i) => ({
    header: { jwk, alg: 'ES256' },
    signature: 'AAAA',
    protected: Buffer.from(JSON.stringify(i === 0 ? { ...right, ...header } : right)).toString('base64url'),
  }));
  return `${payload.slice(0, end)},\n   "signatures": ${JSON.stringify(list)}${tail}`;
}
