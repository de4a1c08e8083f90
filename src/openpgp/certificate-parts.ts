// Takes a file of certificates apart without believing any of it: which packets stand where, not what they say.
import { MAX_CERTIFICATES } from '../domain/limits.ts';
import { readPacket, TAG } from './packets.ts';
import { SIGNATURE_TYPE } from './signature-packet.ts';

export interface UntrustedPart {
  readonly body: Uint8Array;
  /** Bodies of signature packets. */
  readonly signatures: Uint8Array[];
}

export interface UntrustedCertificate {
  readonly kind: 'certificate';
  readonly primary: UntrustedPart;
  /** The map's keys are the bytes of the user ID, as latin1. */
  readonly userIds: ReadonlyMap<string, UntrustedPart>;
  readonly subkeys: ReadonlyMap<string, UntrustedPart>;
  /** The names, as in the maps, of all user IDs and version 4 subkeys: also of those without any signature, which the maps lack. */
  readonly names: { readonly userIds: ReadonlySet<string>; readonly subkeys: ReadonlySet<string> };
  /** False when its last packet does not end where it says, or when bytes follow that are not a packet. */
  readonly isWhole: boolean;
  /** The primary key packet holds the secret key. */
  readonly isSecret: boolean;
  /** A subkey packet holds a secret key. */
  readonly hasSecretSubkey: boolean;
}

/** A signature without a certificate: what `gpg --gen-revoke` writes. */
export interface UntrustedRevocation {
  readonly kind: 'revocation';
  readonly signature: Uint8Array;
}

/**
 * The most packets in one block. A certificate of 4 MiB that is filled with certifications by strangers has some
 * 40,000 packets. The limit stops millions of empty ones.
 */
const MAX_PACKETS = 500_000;

/** Shorter than any signature that we check. */
const MIN_SIGNATURE_BYTES = 40;

/**
 * The certificates and bare revocations of a block in their order, at most MAX_CERTIFICATES + 1. Other packets before the
 * first key are left out. Reading stops at what cannot be read; a certificate that breaks off there is not whole.
 */
export function takeApart(block: Uint8Array): readonly (UntrustedCertificate | UntrustedRevocation)[] {
  const parts: (Draft | UntrustedRevocation)[] = [];
  let draft: Draft | null = null;
  let packets = 0;
  for (let at = 0; at < block.length; packets += 1) {
    const packet = packets === MAX_PACKETS ? null : readPacket(block, at);
    if (packet === null) {
      if (draft !== null) draft.isWhole = false;
      break;
    }
    at = packet.end;
    if (packet.tag === TAG.publicKey || packet.tag === TAG.secretKey) {
      if (parts.length > MAX_CERTIFICATES) break;
      draft = newDraft(packet.body, packet.tag === TAG.secretKey);
      parts.push(draft);
    } else if (draft !== null) {
      addPacket(draft, packet.tag, packet.body);
    } else if (packet.tag === TAG.signature && typeOf(packet.body) === SIGNATURE_TYPE.keyRevocation) {
      if (parts.length > MAX_CERTIFICATES) break;
      parts.push({ kind: 'revocation', signature: packet.body });
    }
  }
  return parts;
}

interface Draft extends UntrustedCertificate {
  readonly userIds: Map<string, UntrustedPart>;
  readonly subkeys: Map<string, UntrustedPart>;
  readonly names: { readonly userIds: Set<string>; readonly subkeys: Set<string> };
  isWhole: boolean;
  hasSecretSubkey: boolean;
  /** What the next signature belongs to; null when that is dropped. */
  current: Current | null;
}

interface Current {
  readonly body: Uint8Array;
  readonly parts: Map<string, UntrustedPart>;
  readonly types: ReadonlySet<number>;
  /** Null until its first signature: a part that nobody has signed is not kept. */
  part: UntrustedPart | null;
}

const KEY_TYPES: ReadonlySet<number> = new Set([SIGNATURE_TYPE.directKey, SIGNATURE_TYPE.keyRevocation]);
const USER_ID_TYPES: ReadonlySet<number> = new Set([
  ...SIGNATURE_TYPE.certification,
  SIGNATURE_TYPE.certificationRevocation,
]);
const SUBKEY_TYPES: ReadonlySet<number> = new Set([
  SIGNATURE_TYPE.subkeyBinding,
  SIGNATURE_TYPE.subkeyRevocation,
]);

function newDraft(body: Uint8Array, isSecret: boolean): Draft {
  return {
    kind: 'certificate',
    primary: { body, signatures: [] },
    isSecret,
    userIds: new Map(),
    subkeys: new Map(),
    names: { userIds: new Set(), subkeys: new Set() },
    isWhole: true,
    hasSecretSubkey: false,
    current: null,
  };
}

function addPacket(draft: Draft, tag: number, body: Uint8Array): void {
  switch (tag) {
    case TAG.signature:
      addSignature(draft, body);
      return;
    case TAG.userId:
      draft.names.userIds.add(nameOf(body));
      draft.current = { body, parts: draft.userIds, types: USER_ID_TYPES, part: null };
      return;
    case TAG.publicSubkey:
      if (body[0] === 4) draft.names.subkeys.add(nameOf(body));
      draft.current = { body, parts: draft.subkeys, types: SUBKEY_TYPES, part: null };
      return;
    case TAG.secretSubkey:
      draft.hasSecretSubkey = true;
      draft.current = null;
      return;
    case TAG.userAttribute:
      draft.current = null;
      return;
    default: // trust, marker and padding packets say nothing about a key
  }
}

function addSignature({ primary, current }: Draft, body: Uint8Array): void {
  if (body.length < MIN_SIGNATURE_BYTES) return;
  const type = typeOf(body);
  // a revocation is often just appended to the file of its key
  if (KEY_TYPES.has(type)) primary.signatures.push(body);
  else if (current?.types.has(type)) {
    current.part ??= partOf(current.parts, current.body);
    current.part.signatures.push(body);
  }
}

function partOf(parts: Map<string, UntrustedPart>, body: Uint8Array): UntrustedPart {
  const name = nameOf(body);
  const known = parts.get(name);
  if (known !== undefined) return known;
  const part = { body, signatures: [] };
  parts.set(name, part);
  return part;
}

function nameOf(body: Uint8Array): string {
  return Buffer.from(body.buffer, body.byteOffset, body.length).toString('latin1');
}

/** The signature's type; 0 for versions whose type we do not read. */
function typeOf(signature: Uint8Array): number {
  const [version, second = 0, third = 0] = signature;
  if (version === 4) return second;
  return version === 3 ? third : 0;
}

/** A part with its signatures: `known` are already registered, `fresh` are in the file. */
export interface MergedPart {
  readonly body: Uint8Array;
  /** Bodies of signature packets. */
  readonly known: readonly Uint8Array[];
  readonly fresh: readonly Uint8Array[];
}

export interface MergedCertificate {
  readonly primary: MergedPart;
  readonly userIds: readonly MergedPart[];
  readonly subkeys: readonly MergedPart[];
  /** How many user IDs and version 4 subkeys have no signature at all. They are no parts. */
  readonly unsigned: { readonly userIds: number; readonly subkeys: number };
}

/** `registered`: the registered certificate of the same primary key; null when there is none. */
export function merge(
  fresh: UntrustedCertificate,
  registered: UntrustedCertificate | null,
): MergedCertificate {
  return {
    primary: {
      body: fresh.primary.body,
      known: registered?.primary.signatures ?? [],
      fresh: fresh.primary.signatures,
    },
    userIds: mergeParts(fresh.userIds, registered?.userIds),
    subkeys: mergeParts(fresh.subkeys, registered?.subkeys),
    unsigned: {
      userIds: countUnsigned(fresh.names.userIds, fresh.userIds, registered?.userIds),
      subkeys: countUnsigned(fresh.names.subkeys, fresh.subkeys, registered?.subkeys),
    },
  };
}

type Parts = ReadonlyMap<string, UntrustedPart>;

function mergeParts(fresh: Parts, known: Parts = new Map()): readonly MergedPart[] {
  return [...new Map([...known, ...fresh])].map(([name, { body }]) => ({
    body,
    known: known.get(name)?.signatures ?? [],
    fresh: fresh.get(name)?.signatures ?? [],
  }));
}

function countUnsigned(names: ReadonlySet<string>, fresh: Parts, known: Parts = new Map()): number {
  return [...names].filter((name) => !fresh.has(name) && !known.has(name)).length;
}
