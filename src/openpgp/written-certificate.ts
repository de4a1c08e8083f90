// The only way in which a certificate is written, so that the stored bytes are the same however it came.
import { inOrder } from './certificate-details.ts';
import type { Binding, CertificateFacts, Statement } from './certificate-facts.ts';
import { uint16 } from './fields.ts';
import { TAG } from './packets.ts';
import type { PublicKey } from './public-key.ts';
import { SUBPACKET } from './signature-packet.ts';

export function writeCertificate(facts: CertificateFacts): Uint8Array {
  const { key, revocation, direct, userIds, subkeys } = facts;
  const packets = [
    packet(TAG.publicKey, key.body),
    ...statements(key, revocation, direct),
    ...inOrder(userIds).flatMap(({ body, certification, revocation }) => [
      packet(TAG.userId, body),
      ...statements(key, certification, revocation),
    ]),
    ...subkeys.flatMap(({ key: subkey, binding, revocation }) => [
      packet(TAG.publicSubkey, subkey.body),
      ...statements(key, revocation),
      ...(binding === null ? [] : [packet(TAG.signature, writeBinding(binding, key, subkey))]),
    ]),
  ];
  return new Uint8Array(Buffer.concat(packets)); // has its own memory, because it is sent from thread to thread
}

function statements(maker: PublicKey, ...given: readonly (Statement | null)[]): readonly Uint8Array[] {
  return given.flatMap((statement) =>
    statement === null ? [] : [packet(TAG.signature, writeSignature(statement, maker))],
  );
}

function writeBinding(binding: Binding, primary: PublicKey, subkey: PublicKey): Uint8Array {
  const { backSignature } = binding;
  if (backSignature === null || backSignature.isHashed) return writeSignature(binding, primary);
  const embedded = subpacket(SUBPACKET.embeddedSignature, writeSignature(backSignature, subkey));
  return writeSignature(binding, primary, embedded);
}

/** The unhashed part holds only the maker's key ID, which gpg asks for, and the back-signature that was verified. */
function writeSignature(
  { signature: { version, hashedPart }, core }: Statement,
  maker: PublicKey,
  ...hints: readonly Uint8Array[]
): Uint8Array {
  if (version === 3) return core;
  const keyId = subpacket(SUBPACKET.issuerKeyId, maker.fingerprintBytes.subarray(-8));
  const unhashed = Buffer.concat([keyId, ...hints]);
  return Buffer.concat([hashedPart, uint16(unhashed.length), unhashed, core.subarray(hashedPart.length)]);
}

function subpacket(type: number, data: Uint8Array): Uint8Array {
  const length = data.length + 1;
  const head = length < 192 ? [length] : [((length - 192) >> 8) + 192, (length - 192) & 0xff];
  return Buffer.concat([Uint8Array.of(...head, type), data]);
}

/** Has the old header and a length of two bytes, which every program reads: none of our packets is longer. */
function packet(tag: number, body: Uint8Array): Uint8Array {
  return Buffer.concat([Uint8Array.of(0x81 | (tag << 2)), uint16(body.length), body]);
}
