// What a certificate says of its keys: every statement in it that its own primary key vouches for. Verified once;
// what follows from it depends on the time and is worked out when asked.
import { createHash } from 'node:crypto';
import { config, PublicKeyPacket, PublicSubkeyPacket, SignaturePacket } from 'openpgp';
import { CLOCK_LEAD_MS } from '../domain/limits.ts';
import { type Packet, TAG, walkPackets } from './packets.ts';
import {
  Fields,
  hex,
  MalformedPacket,
  type ReadSignature,
  readSignaturePacket,
  SIGNATURE_TYPE,
} from './signature-packet.ts';

type KeyPacket = PublicKeyPacket | PublicSubkeyPacket;

export interface KeyFacts {
  /** 40 upper-case hex digits. */
  readonly fingerprint: string;
  readonly createdAt: Date;
  /** Null when it is of an algorithm that OpenPGP.js cannot read. */
  readonly packet: KeyPacket | null;
  readonly revocations: readonly Revocation[];
}

export interface Revocation {
  readonly at: Date;
  /** False when the key was only replaced or retired: what it signed before stays good. */
  readonly isHard: boolean;
}

export interface SubkeyFacts extends KeyFacts {
  /** `isBacked`: the subkey has signed that it belongs to this primary key. */
  readonly bindings: readonly (SelfSignature & { readonly isBacked: boolean })[];
}

export interface CertificateFacts extends KeyFacts {
  readonly directSignatures: readonly SelfSignature[];
  readonly users: readonly {
    readonly certifications: readonly SelfSignature[];
    readonly revokedAt: Date | null;
  }[];
  readonly subkeys: readonly SubkeyFacts[];
}

type SelfSignature = Pick<ReadSignature, 'createdAt' | 'expiresSeconds' | 'keyExpiresSeconds' | 'keyFlags'>;

export interface KeyState {
  /** Null = never. */
  readonly expiresAt: Date | null;
  readonly maySign: boolean;
}

/** Public keys of version 4 in it by their fingerprints, primary key first; empty when it is no certificate of version 4. */
export function fingerprintsOf(certificate: Uint8Array): readonly string[] {
  const components = componentsOf(certificate);
  if (components === null) return [];
  return components
    .filter(({ tag }) => tag !== TAG.userId && tag !== TAG_ATTRIBUTE)
    .map(({ body }) => fingerprintOf(body));
}

/** Null when it is no certificate of version 4. */
export async function readCertificate(certificate: Uint8Array): Promise<CertificateFacts | null> {
  const [primary, ...others] = componentsOf(certificate) ?? [];
  if (primary === undefined) return null;
  const packet = await readKey(new PublicKeyPacket(), primary.body);
  const vouched = (component: Component, types: readonly number[], data: object) =>
    selfSignatures(component.signatures, packet, types, data);

  const key = asKey(primary.body);
  const users: CertificateFacts['users'][number][] = [];
  const subkeys: SubkeyFacts[] = [];
  for (const component of others) {
    if (component.tag === TAG.publicSubkey) {
      subkeys.push(await readSubkey(component, packet, key));
      continue;
    }
    const written = { write: () => component.body };
    const user = component.tag === TAG.userId ? { userID: written, key } : { userAttribute: written, key };
    const revocations = await vouched(component, [SIGNATURE_TYPE.certificationRevocation], user);
    users.push({
      certifications: await vouched(component, CERTIFICATIONS, user),
      revokedAt: latest(revocations)?.createdAt ?? null,
    });
  }
  return {
    ...keyFacts(primary.body, packet),
    revocations: revocationsOf(await vouched(primary, [SIGNATURE_TYPE.keyRevocation], { key })),
    directSignatures: await vouched(primary, [SIGNATURE_TYPE.directKey], { key }),
    users,
    subkeys,
  };
}

/**
 * The primary key as its newest self-signatures have it, a direct one ahead of those on user ids, as gpg does. Null
 * when nothing of its own vouches for it.
 */
export function primaryStateAt(primary: CertificateFacts, now: Date): KeyState | null {
  const direct = latest(validAt(primary.directSignatures, now));
  const users = primary.users
    .map(({ certifications, revokedAt }) => latest(validAt(certifications, now), revokedAt))
    .filter((signature) => signature !== null);
  if (direct === null && users.length === 0) return null;
  const flags = direct?.keyFlags ?? latest(users.filter(({ keyFlags }) => keyFlags !== null))?.keyFlags;
  const seconds =
    direct?.keyExpiresSeconds ??
    latest(users.filter(({ keyExpiresSeconds }) => keyExpiresSeconds !== null))?.keyExpiresSeconds;
  return {
    expiresAt: laterBy(primary.createdAt, seconds ?? null),
    maySign: flags == null || (flags & FLAG_SIGN) !== 0, // without flags a primary key may do everything
  };
}

/** As its newest binding has it; null when there is none. */
export function subkeyStateAt({ createdAt, bindings }: SubkeyFacts, now: Date): KeyState | null {
  const binding = latest(validAt(bindings, now));
  if (binding === null) return null;
  return {
    expiresAt: laterBy(createdAt, binding.keyExpiresSeconds),
    maySign: ((binding.keyFlags ?? 0) & FLAG_SIGN) !== 0 && binding.isBacked,
  };
}

/** The end of a period of `seconds`; null = never. */
export function laterBy(start: Date, seconds: number | null): Date | null {
  return seconds === null ? null : new Date(start.getTime() + seconds * 1000);
}

const TAG_ATTRIBUTE = 17;
const CERTIFICATIONS: readonly number[] = [0x10, 0x11, 0x12, 0x13];
const FLAG_SIGN = 0x02;
/** Superseded, and no longer used (RFC 9580, section 5.2.3.31). No reason given may be any. */
const SOFT_REASONS: readonly (number | null)[] = [1, 3];

// every MD5 and unknown critical part is refused by these defaults; SHA-1 is taken, which old release keys have
const CONFIG = { ...config, knownNotations: [] };

interface Component {
  readonly tag: number;
  readonly body: Uint8Array;
  readonly signatures: Uint8Array[];
}

/** A primary key, then user ids, attributes and subkeys, each with the signatures that follow it; null for anything else. */
function componentsOf(certificate: Uint8Array): readonly Component[] | null {
  const packets = walkPackets(certificate);
  if (packets === null || packets[0]?.tag !== TAG.publicKey || packets[0].body[0] !== 4) return null;
  const components: Component[] = [];
  let signatures: Uint8Array[] = [];
  for (const packet of packets) {
    if (packet.tag === TAG.signature) signatures.push(packet.body);
    else signatures = []; // those of a packet that is not ours to judge go nowhere
    if (isComponent(packet, components.length === 0)) components.push({ ...packet, signatures });
  }
  return components;
}

function isComponent({ tag, body }: Packet, isFirst: boolean): boolean {
  if (tag === TAG.publicKey) return isFirst;
  return tag === TAG.userId || tag === TAG_ATTRIBUTE || (tag === TAG.publicSubkey && body[0] === 4);
}

async function readSubkey(component: Component, primary: KeyPacket | null, key: AsKey): Promise<SubkeyFacts> {
  const packet = await readKey(new PublicSubkeyPacket(), component.body);
  const data = { key, bind: asKey(component.body) };
  const of = (type: number) => selfSignatures(component.signatures, primary, [type], data);
  const bindings = (await of(SIGNATURE_TYPE.subkeyBinding)).map(async (binding) => ({
    ...binding,
    isBacked: await isBacked(binding, packet, data),
  }));
  return {
    ...keyFacts(component.body, packet),
    revocations: revocationsOf(await of(SIGNATURE_TYPE.subkeyRevocation)),
    bindings: await Promise.all(bindings),
  };
}

/** Without it anybody could adopt a stranger's signing subkey (RFC 9580, section 5.2.1.9). */
async function isBacked(
  { embeddedSignature }: ReadSignature,
  subkey: KeyPacket | null,
  data: object,
): Promise<boolean> {
  if (embeddedSignature === null) return false;
  const backing = await selfSignatures([embeddedSignature], subkey, [SIGNATURE_TYPE.keyBinding], data);
  return backing.length > 0;
}

/** Those of the given types that `key` has made over `data`. */
async function selfSignatures(
  bodies: readonly Uint8Array[],
  key: KeyPacket | null,
  types: readonly number[],
  data: object,
): Promise<readonly ReadSignature[]> {
  const made: ReadSignature[] = [];
  for (const body of bodies) {
    const signature = readQuietly(body);
    if (signature === null || key === null || !types.includes(signature.type)) continue;
    if (signature.notUnderstood === null && (await isMadeBy(key, signature, data))) made.push(signature);
  }
  return made;
}

function readQuietly(body: Uint8Array): ReadSignature | null {
  try {
    const signature = readSignaturePacket(body);
    return 'unsupportedVersion' in signature ? null : signature;
  } catch (error) {
    if (error instanceof MalformedPacket) return null; // vouches for nothing
    throw error;
  }
}

/** Whether `key` has made the version 4 signature over `data`, in the shape that OpenPGP.js wants for its type. */
export async function isMadeBy(key: KeyPacket, signature: ReadSignature, data: object): Promise<boolean> {
  try {
    const packet = new SignaturePacket();
    packet.read(signature.body);
    // its own time: what that means is judged by us, in both clocks
    await packet.verify(key, signature.type, data, signature.createdAt, true, CONFIG);
    return true;
  } catch {
    return false; // OpenPGP.js throws plain errors for everything that is wrong: it vouches for nothing then
  }
}

async function readKey<Key extends KeyPacket>(packet: Key, body: Uint8Array): Promise<Key | null> {
  try {
    await packet.read(body);
    return packet;
  } catch {
    return null; // an algorithm or a shape that OpenPGP.js does not know
  }
}

function keyFacts(body: Uint8Array, packet: KeyPacket | null) {
  const fields = new Fields(body.subarray(1, 5));
  return {
    fingerprint: fingerprintOf(body),
    createdAt: new Date((body.length < 5 ? 0 : fields.number(4)) * 1000),
    packet,
  };
}

interface AsKey {
  readonly writeForHash: () => Uint8Array;
}

/** The key as signatures hash it: the bytes that are there, which OpenPGP.js would write anew. */
function asKey(body: Uint8Array): AsKey {
  const written = Buffer.concat([Buffer.of(0x99, body.length >> 8, body.length & 0xff), body]);
  return { writeForHash: () => written };
}

function fingerprintOf(body: Uint8Array): string {
  return hex(createHash('sha1').update(asKey(body).writeForHash()).digest());
}

// gpg too takes a key as revoked whatever the dates say
function revocationsOf(signatures: readonly ReadSignature[]): readonly Revocation[] {
  return signatures.map(({ createdAt, revocationReason }) => ({
    at: createdAt,
    isHard: !SOFT_REASONS.includes(revocationReason),
  }));
}

function validAt<Signature extends SelfSignature>(
  signatures: readonly Signature[],
  now: Date,
): readonly Signature[] {
  return signatures.filter(({ createdAt, expiresSeconds }) => {
    const expiresAt = laterBy(createdAt, expiresSeconds);
    return createdAt.getTime() <= now.getTime() + CLOCK_LEAD_MS && (expiresAt === null || expiresAt > now);
  });
}

/** The newest, unless something newer, or of the same second, revokes it. */
function latest<Signature extends { readonly createdAt: Date }>(
  signatures: readonly Signature[],
  revokedAt: Date | null = null,
): Signature | null {
  const newest = signatures.reduce<Signature | null>(
    (best, each) => (best === null || each.createdAt > best.createdAt ? each : best),
    null,
  );
  return newest === null || (revokedAt !== null && revokedAt >= newest.createdAt) ? null : newest;
}
