// Files of keys in which other versions than 4 stand, as GnuPG 2.5, RHEL 10.1 and old times have left them.
import {
  binding,
  FLAGS,
  makeKey,
  mpi,
  packet,
  simpleCertificate,
  subkeyPacket,
  subpacket,
  T0,
  TAGS,
  uint32,
} from './certificate-writer.ts';

const ED25519 = Buffer.from('092b06010401da470f01', 'hex');
const POINT = Buffer.alloc(32, 7);

/** The body of a key of version 5 or 6: the length of the material precedes it. */
const keyBody = (version: 5 | 6, algorithm: number, material: Uint8Array) =>
  Buffer.concat([
    Uint8Array.of(version),
    uint32(T0),
    Uint8Array.of(algorithm),
    uint32(material.length),
    material,
  ]);
const version5 = keyBody(5, 22, Buffer.concat([ED25519, mpi(Buffer.concat([Uint8Array.of(0x40), POINT]))]));
const version6 = keyBody(6, 27, POINT);
const version3 = Buffer.concat([
  Uint8Array.of(3),
  uint32(T0),
  Uint8Array.of(0, 0, 1),
  mpi(Buffer.alloc(256, 0x81)),
  mpi(Uint8Array.of(17)),
]);
const version4Unknown = Buffer.concat([Uint8Array.of(4), uint32(T0), Uint8Array.of(99), Buffer.alloc(50, 3)]);

const signature6 = packet(
  TAGS.signature,
  Buffer.concat([
    Uint8Array.of(6, 0x1f, 27, 8),
    uint32(6),
    subpacket(2, uint32(T0 + 1)),
    uint32(0),
    Uint8Array.of(0, 0, 16),
    Buffer.alloc(16 + 64, 1),
  ]),
);
const signature5 = packet(
  TAGS.signature,
  Buffer.concat([Uint8Array.of(5, 0x13, 22, 8), Buffer.alloc(60, 1)]),
);

const key = makeKey('rsa2048');
const plain = simpleCertificate(key);
const certificate6 = Buffer.concat([packet(TAGS.publicKey, version6), signature6]);

/** What each holds, and what GnuPG 2.2 makes of it. */
export const KEY_FILES: readonly {
  readonly what: string;
  readonly bytes: Uint8Array;
  /** How the obstacle is named; null: it is imported. */
  readonly obstacle: RegExp | null;
}[] = [
  { what: 'nothing else', bytes: plain, obstacle: null },
  {
    what: 'a subkey of version 5',
    bytes: followedBy(packet(TAGS.subkey, version5)),
    obstacle: /^GnuPG 2\.2 stops at a subkey of version 5 /,
  },
  {
    what: 'a subkey of version 6',
    bytes: followedBy(packet(TAGS.subkey, version6)),
    obstacle: /^GnuPG up to 2\.4 stops at a subkey of version 6 /,
  },
  {
    what: 'a subkey of version 3',
    bytes: followedBy(packet(TAGS.subkey, version3)),
    obstacle: /^GnuPG up to 2\.4 stops at a subkey of version 3 /,
  },
  {
    what: 'a certificate of version 6 behind it',
    bytes: followedBy(certificate6),
    obstacle: /a signature of version 6/,
  },
  {
    what: 'a certificate of version 6 ahead of it',
    bytes: Buffer.concat([certificate6, plain]),
    obstacle: /a signature of version 6/,
  },
  { what: 'a signature of version 6', bytes: followedBy(signature6), obstacle: /a signature of version 6/ },
  { what: 'a signature of version 5', bytes: followedBy(signature5), obstacle: /a signature of version 5/ },
  {
    what: 'a key of version 5 without a signature',
    bytes: followedBy(packet(TAGS.publicKey, version5)),
    obstacle: null,
  },
  {
    what: 'a key of version 3',
    bytes: Buffer.concat([packet(TAGS.publicKey, version3), plain]),
    obstacle: null,
  },
  {
    what: 'a subkey of an algorithm that nobody knows',
    bytes: followedBy(boundUnknown()),
    obstacle: null,
  },
  { what: 'padding', bytes: followedBy(packet(21, Buffer.alloc(20))), obstacle: null },
  { what: 'a subkey of its own', bytes: withSubkey(), obstacle: null },
];

export const KEY_FILES_FINGERPRINT = key.fingerprint;

function followedBy(more: Uint8Array): Uint8Array {
  return Buffer.concat([plain, more]);
}

/** For encryption: its owner has bound it, and we have no use for it. */
function boundUnknown(): Uint8Array {
  const subkey = { ...makeKey('ed25519'), body: version4Unknown };
  return Buffer.concat([subkeyPacket(subkey), binding(key, subkey, { flags: FLAGS.encrypt })]);
}

function withSubkey(): Uint8Array {
  const subkey = makeKey('ed25519');
  return followedBy(Buffer.concat([subkeyPacket(subkey), binding(key, subkey)]));
}
