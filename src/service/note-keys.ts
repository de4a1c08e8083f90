// Keys that sign notes and verify them: Ed25519, and ML-DSA-44 where Node.js has it.
import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  hash,
  type KeyObject,
  sign,
  verify,
} from 'node:crypto';
import { LookasideError } from '../domain/errors.ts';
import type { Sha256 } from '../domain/merkle.ts';
import {
  COSIGNATURE_V1,
  cosignedMessage,
  ED25519,
  ML_DSA_44_COSIGNATURE,
  type NoteKey,
  type NoteSignature,
  noteKey,
  timestamped,
  type VerifySignature,
} from '../domain/signed-note.ts';

/** In one call without an object for each hash: of a log of a million events, these took a third of the time. */
export const sha256: Sha256 = (...pieces) => hash('sha256', Buffer.concat(pieces), 'buffer');

/** The public key in the form of X.509 is this, then the key. RFC 8410; RFC 9881 */
const SPKI_PREFIXES: ReadonlyMap<number, string> = new Map([
  [ED25519, '302a300506032b6570032100'],
  [COSIGNATURE_V1, '302a300506032b6570032100'],
  [ML_DSA_44_COSIGNATURE, '30820532300b06096086480165030403110382052100'],
]);

/** Whether this Node.js verifies signatures of that type. */
export function canVerify({ type, publicKey }: NoteKey): boolean {
  return publicKeyOf(type, publicKey) !== null;
}

export const verifySignature: VerifySignature = (type, publicKey, message, signature) => {
  const key = publicKeyOf(type, publicKey);
  return key !== null && verify(null, message, key, signature);
};

function publicKeyOf(type: number, publicKey: Uint8Array): KeyObject | null {
  const prefix = SPKI_PREFIXES.get(type);
  if (prefix === undefined) return null;
  try {
    const key = Buffer.concat([Buffer.from(prefix, 'hex'), publicKey]);
    return createPublicKey({ key, format: 'der', type: 'spki' });
  } catch {
    return null; // no key, or of a kind that this Node.js does not know
  }
}

export interface NoteSigner {
  readonly key: NoteKey;
  sign(text: string): NoteSignature;
  /** As a cosigner, at that time in seconds since 1970. */
  cosign(text: string, atSeconds: number): NoteSignature;
}

/** PKCS #8 in PEM. */
export function makePrivateKey(): string {
  return generateKeyPairSync('ed25519').privateKey.export({ format: 'pem', type: 'pkcs8' }).toString();
}

/** @throws LookasideError CONFIG_INVALID naming `file` when the text is no Ed25519 key */
export function noteSigner(
  pem: string,
  { name, type, file }: { readonly name: string; readonly type: number; readonly file: string },
): NoteSigner {
  const privateKey = parsePrivateKey(pem, file);
  const publicKey = createPublicKey(privateKey).export({ format: 'der', type: 'spki' }).subarray(-32);
  const key = noteKey(sha256, name, type, publicKey);
  const { id } = key;
  return {
    key,
    sign: (text) => ({ name, id, bytes: sign(null, Buffer.from(text, 'utf8'), privateKey) }),
    cosign(text, atSeconds) {
      const signature = sign(null, cosignedMessage(text, atSeconds), privateKey);
      return { name, id, bytes: timestamped(atSeconds, signature) };
    },
  };
}

function parsePrivateKey(pem: string, file: string): KeyObject {
  const wanted = 'wanted an Ed25519 key in PEM, -----BEGIN PRIVATE KEY----- …; put it back from a backup';
  try {
    const key = createPrivateKey(pem);
    if (key.asymmetricKeyType === 'ed25519') return key;
  } catch (error) {
    throw new LookasideError('CONFIG_INVALID', `${file} holds no private key that can be read; ${wanted}`, {
      cause: error,
    });
  }
  throw new LookasideError('CONFIG_INVALID', `${file} holds a key of another kind; ${wanted}`);
}
