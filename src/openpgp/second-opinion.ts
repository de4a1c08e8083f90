// OpenPGP.js checks a signature that our reading finds good. Two readers with different code must agree about the same
// bytes before anything counts as verified.
import { config, createMessage, PublicKeyPacket, PublicSubkeyPacket, SignaturePacket } from 'openpgp';
import type { PublicKey } from './public-key.ts';
import type { ReadSignature } from './signature-packet.ts';

/** No notation is known to us, so a critical one is refused. */
const CONFIG = { ...config, knownNotations: [] };

export interface Finding {
  readonly key: PublicKey;
  readonly isSubkey: boolean;
  readonly signature: ReadSignature;
  readonly content: Uint8Array;
}

/** Whether OpenPGP.js too finds that the key has made the version 4 signature over the content; it reads no version 3. */
export async function isConfirmed({ key, isSubkey, signature, content }: Finding): Promise<boolean> {
  try {
    const keyPacket = isSubkey ? new PublicSubkeyPacket() : new PublicKeyPacket();
    await keyPacket.read(key.body);
    const packet = new SignaturePacket();
    packet.read(signature.body);
    const [literal] = (await createMessage({ binary: content })).packets;
    if (literal === undefined) return false;
    // as of the signature's own time: we judge ourselves what holds then and now
    await packet.verify(keyPacket, signature.type, literal, signature.createdAt, true, CONFIG);
    return true;
  } catch {
    return false; // it throws plain errors for everything that it does not confirm
  }
}
