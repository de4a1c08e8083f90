// Every key of Debian's keyrings, as gpg and as we understand it: whether it can sign, until when, by which parts.
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { KeyDetails, KeyPart } from '../../src/domain/key.ts';
import type { CleanedCertificate } from '../../src/domain/ports.ts';
import { cleanCertificates } from '../../src/openpgp/certificates.ts';
import { readPacket, TAG, walkPackets } from '../../src/openpgp/packets.ts';
import { fingerprintOf, MIN_RSA_BITS } from '../../src/openpgp/public-key.ts';
import { type ReadSignature, readSignaturePacket } from '../../src/openpgp/signature-packet.ts';
import { type Argv, run, succeed } from '../clients/command.ts';
import type { Difference } from './report.ts';

interface GpgPart {
  readonly fingerprint: string;
  /** The number of the public-key algorithm. */
  readonly algorithm: number;
  readonly bits: number;
  readonly curve: string;
  /** Seconds since 1970; null = never. */
  readonly expires: number | null;
  readonly isRevoked: boolean;
  readonly canSign: boolean;
}

interface GpgKey extends GpgPart {
  readonly subkeys: GpgPart[];
}

/** A certificate's packets for each primary key in a keyring. */
export function splitKeyring(bytes: Uint8Array): readonly Uint8Array[] {
  const starts: number[] = [];
  for (let at = 0; at < bytes.length; ) {
    const packet = readPacket(bytes, at);
    if (packet === null) throw new Error(`no packet begins at byte ${at} of the keyring`);
    if (packet.tag === TAG.publicKey) starts.push(at);
    at = packet.end;
  }
  return starts.map((start, position) => bytes.subarray(start, starts[position + 1] ?? bytes.length));
}

/** Keys that gpg imports in one home: it writes all anew for each. */
const KEYS_AT_ONCE = 20;

/** All that gpg lists of these certificates once it has imported them. */
async function keysOfGpg(
  certificates: readonly Uint8Array[],
  scratch: string,
): Promise<ReadonlyMap<string, GpgKey>> {
  const keys = new Map<string, GpgKey>();
  for (let from = 0; from < certificates.length; from += KEYS_AT_ONCE) {
    const listing = await listingOf(certificates.slice(from, from + KEYS_AT_ONCE), scratch);
    for (const [fingerprint, key] of parseListing(listing)) keys.set(fingerprint, key);
  }
  return keys;
}

async function listingOf(certificates: readonly Uint8Array[], scratch: string): Promise<string> {
  const [home, file] = [path.join(scratch, 'keys-home'), path.join(scratch, 'keys')];
  await rm(home, { recursive: true, force: true });
  await mkdir(home, { mode: 0o700 });
  await writeFile(file, Buffer.concat(certificates));
  const gpg: Argv = ['gpg', '--homedir', home, '--batch', '--no-tty', '--trust-model', 'always'];
  const surroundings = { env: { PATH: process.env.PATH ?? '', LC_ALL: 'C', HOME: scratch } };
  await run([...gpg, '--no-auto-check-trustdb', '--import', file], surroundings); // it ends with 2 when it skips one
  return succeed([...gpg, '--with-colons', '--with-subkey-fingerprint', '--list-keys'], surroundings);
}

/** Source: GnuPG's doc/DETAILS, "Format of the --list-keys output". */
function parseListing(listing: string): ReadonlyMap<string, GpgKey> {
  const keys = new Map<string, GpgKey>();
  let last: GpgKey | null = null;
  let record: readonly string[] = [];
  for (const line of listing.split('\n')) {
    const fields = line.split(':');
    if (fields[0] === 'pub' || fields[0] === 'sub') record = fields;
    if (fields[0] !== 'fpr') continue;
    const part = partOf(record, fields[9] ?? '');
    if (record[0] === 'pub') {
      last = { ...part, subkeys: [] };
      keys.set(part.fingerprint, last);
    } else last?.subkeys.push(part);
  }
  return keys;
}

function partOf(record: readonly string[], fingerprint: string): GpgPart {
  const [, validity = '', bits, algorithm, , , expires = ''] = record;
  return {
    fingerprint,
    algorithm: Number(algorithm),
    bits: Number(bits),
    curve: record[16] ?? '',
    expires: expires === '' ? null : Number(expires),
    isRevoked: validity === 'r',
    canSign: (record[11] ?? '').includes('s'),
  };
}

const RSA = new Set([1, 3]);
const MAX_RSA_BITS = 8192;
const CURVES = new Set(['ed25519', 'nistp256', 'nistp384', 'nistp521']);

/** Whether it is of the kinds that no client of today verifies with, or that can be forged; docs/uploading.md names those that are taken. */
function isRefusedKind({ algorithm, bits, curve }: GpgPart): boolean {
  if (RSA.has(algorithm)) return bits < MIN_RSA_BITS || bits > MAX_RSA_BITS;
  return !CURVES.has(curve);
}

/** Where we and gpg differ about one certificate; empty when we agree. */
function compare(
  gpg: GpgKey | undefined,
  ours: CleanedCertificate,
  certificate: Uint8Array,
): readonly Omit<Difference, 'about'>[] {
  if (gpg === undefined) {
    if (ours.kind === 'refused') return [];
    return [{ what: 'gpg has not imported it, and we accept it', explanation: null }];
  }
  const own = ownCertifications(certificate);
  return ours.kind === 'refused'
    ? compareRefused(gpg, ours.code, own)
    : compareDetails(gpg, ours.details, own);
}

function compareRefused(
  gpg: GpgKey,
  code: string,
  own: readonly OwnCertification[],
): readonly Omit<Difference, 'about'>[] {
  const signing = [gpg, ...gpg.subkeys].filter(({ canSign, isRevoked }) => canSign && !isRevoked);
  return [{ what: `we refuse it: ${code}`, explanation: whyRefused(gpg, signing, own) }];
}

function whyRefused(
  gpg: GpgKey,
  signing: readonly GpgPart[],
  own: readonly OwnCertification[],
): string | null {
  if (isRefusedKind(gpg)) return 'its primary key is of a kind that is refused (DSA, short RSA)';
  if (signing.length === 0) return 'no part of it can sign';
  if (signing.every(isRefusedKind)) return 'all parts of it that can sign are of kinds that are refused';
  if (own.every(({ hash }) => BROKEN_HASHES.has(hash)))
    return 'all its user IDs are bound with MD5 or RIPEMD-160';
  return null;
}

function compareDetails(
  gpg: GpgKey,
  ours: KeyDetails,
  own: readonly OwnCertification[],
): readonly Omit<Difference, 'about'>[] {
  const differences: Omit<Difference, 'about'>[] = [];
  const differ = (what: string, explanation: string | null = null) => differences.push({ what, explanation });
  if (gpg.isRevoked !== (ours.revokedAt !== null))
    differ(`revoked: gpg ${gpg.isRevoked}, we ${!gpg.isRevoked}`);
  if (!gpg.isRevoked && gpg.expires !== secondsOf(ours.expiresAt))
    differ(`expires: gpg ${gpg.expires}, we ${secondsOf(ours.expiresAt)}`);
  if (gpg.canSign !== ours.canSign && !isRefusedKind(gpg))
    differ(`the primary key can sign: gpg ${gpg.canSign}`, whyOtherUse(gpg, own));
  const known = new Map(ours.subkeys.map((subkey) => [subkey.fingerprint, subkey]));
  for (const subkey of gpg.subkeys.filter(({ canSign }) => canSign)) {
    const own = known.get(subkey.fingerprint);
    known.delete(subkey.fingerprint);
    if (own === undefined) {
      const explanation = isRefusedKind(subkey)
        ? 'a signing subkey of a kind that is refused is left out'
        : null;
      differ(`gpg alone has the signing subkey ${subkey.fingerprint}`, explanation);
    } else compareSubkey(gpg, subkey, own, differ);
  }
  for (const subkey of known.values())
    if (subkey.canSign) differ(`we alone have the signing subkey ${subkey.fingerprint}`);
  return differences;
}

function whyOtherUse(gpg: GpgKey, own: readonly OwnCertification[]): string | null {
  const isMixed = own.some(({ maySign }) => maySign) && own.some(({ maySign }) => !maySign);
  return gpg.canSign && isMixed
    ? 'its user IDs disagree on whether the primary key may sign, and readers go by different ones: we take the stricter'
    : null;
}

const BROKEN_HASHES: ReadonlySet<number> = new Set([1, 3]);

/** What the primary key itself says last beside a user ID. */
interface OwnCertification {
  /** The number of the hash algorithm. */
  readonly hash: number;
  readonly maySign: boolean;
}

/** The newest of each user ID, by what its packets say; nothing is verified here. */
function ownCertifications(certificate: Uint8Array): readonly OwnCertification[] {
  const [primary, ...packets] = walkPackets(certificate) ?? [];
  const fingerprint = primary === undefined ? null : fingerprintOf(primary.body);
  const newest: { at: number; certification: OwnCertification }[] = [];
  let isUserId = false;
  for (const { tag, body } of packets) {
    if (tag !== TAG.signature) {
      isUserId = tag === TAG.userId;
      if (isUserId) newest.push({ at: 0, certification: { hash: 0, maySign: false } });
      continue;
    }
    const signature = readSignaturePacket(body);
    const last = newest.at(-1);
    if (!isUserId || last === undefined || !('createdAt' in signature) || !isByKey(signature, fingerprint))
      continue;
    const at = signature.createdAt.getTime();
    if (signature.type === CERTIFICATION_REVOCATION) newest.pop();
    else if (at > last.at) {
      last.at = at;
      last.certification = {
        hash: signature.hashAlgorithm,
        maySign: ((signature.keyFlags ?? 0) & 0x02) !== 0,
      };
    }
  }
  return newest.flatMap(({ at, certification }) => (at === 0 ? [] : [certification]));
}

const CERTIFICATION_REVOCATION = 0x30;

function isByKey({ issuers }: ReadSignature, fingerprint: string | null): boolean {
  return issuers.some(
    (issuer) => fingerprint?.endsWith(Buffer.from(issuer).toString('hex').toUpperCase()) ?? false,
  );
}

function compareSubkey(
  primary: GpgKey,
  gpg: GpgPart,
  ours: KeyPart,
  differ: (what: string, explanation?: string | null) => void,
): void {
  const { fingerprint } = gpg;
  // gpg lists each part of a revoked key as revoked
  if (!primary.isRevoked && gpg.isRevoked !== (ours.revokedAt !== null))
    differ(`subkey ${fingerprint} revoked: gpg ${gpg.isRevoked}`);
  if (!gpg.isRevoked && gpg.expires !== secondsOf(ours.expiresAt))
    differ(`subkey ${fingerprint} expires: gpg ${gpg.expires}, we ${secondsOf(ours.expiresAt)}`);
}

function secondsOf(at: Date | null): number | null {
  return at === null ? null : at.getTime() / 1000;
}

export interface KeyAgreement {
  readonly keyring: string;
  readonly keys: number;
  readonly accepted: number;
  readonly differences: readonly Difference[];
}

/** Each keyring in the folder (`*.gpg`). */
export async function compareKeyrings(folder: string, scratch: string): Promise<readonly KeyAgreement[]> {
  const files = (await readdir(folder)).filter((name) => name.endsWith('.gpg')).sort();
  const rows: KeyAgreement[] = [];
  for (const name of files) rows.push(await compareKeyring(path.join(folder, name), scratch));
  return rows;
}

async function compareKeyring(file: string, scratch: string): Promise<KeyAgreement> {
  const certificates = splitKeyring(await readFile(file));
  const gpg = await keysOfGpg(certificates, scratch);
  const now = new Date();
  const results = certificates.flatMap((certificate) =>
    cleanCertificates(certificate, new Map(), now).map((ours) => ({ ours, certificate })),
  );
  const differences = results.flatMap(({ ours, certificate }) => {
    const about = (ours.kind === 'refused' ? ours.fingerprint : ours.details.fingerprint) ?? 'unreadable';
    return compare(gpg.get(about), ours, certificate).map((difference) => ({ about, ...difference }));
  });
  const accepted = results.filter(({ ours }) => ours.kind === 'clean').length;
  return { keyring: path.basename(file), keys: certificates.length, accepted, differences };
}
