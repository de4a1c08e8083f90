// lookaside key revoke: what it breaks, then the question, then the revocation.
import type { Config } from '../config.ts';
import type { Administration } from '../domain/administration.ts';
import { LookasideError } from '../domain/errors.ts';
import type { BrokenImage, RevocationPart, RevokedKey } from '../domain/revocation.ts';
import { escapeTerminal } from '../domain/text.ts';
import { administer } from './administer.ts';
import { canConfirm, isConfirmed } from './confirm.ts';
import { nameIn } from './image-name.ts';
import { readInput } from './input.ts';
import { progressLine } from './progress.ts';
import { EXIT, plural, print, printJson, tell } from './terminal.ts';

export interface KeyRevokeOptions {
  /** Fingerprint or key ID. */
  readonly name: string;
  /** Null: none was given, as --dry-run allows. */
  readonly reason: string | null;
  readonly withdraw: boolean;
  /** File of a revocation; `-` is standard input. */
  readonly certificate: string | null;
  readonly dryRun: boolean;
  readonly yes: boolean;
  readonly json: boolean;
}

/** What a revocation breaks. */
export interface Impact {
  readonly key: Extract<RevocationPart, { fingerprint: string }>;
  /** All of them, or the first ones. */
  readonly broken: readonly BrokenImage[];
}

const SHOWN_IMAGES = 20;
const MAX_REVOCATION_BYTES = 128 * 1024;

export async function runKeyRevoke(config: Config, options: KeyRevokeOptions): Promise<number> {
  const { reason, withdraw, dryRun, yes, json } = options;
  if (reason === null && !dryRun)
    throw new LookasideError(
      'CONFIG_INVALID',
      'nothing was revoked: --reason TEXT is missing, which is kept and shown; --dry-run lists what the revocation breaks',
    );
  const certificate = await readRevocation(options.certificate);
  const canAsk = canConfirm() && options.certificate !== '-' && !json;
  return administer(config, async ({ keys }) => {
    const isAll = dryRun || json;
    const impact = await impactOf(
      keys.revocation(options.name),
      isAll ? Number.POSITIVE_INFINITY : SHOWN_IMAGES,
    );
    if (!json) print(formatImpact(impact, options));
    for (const gap of impact.key.gaps) tell(`more may break: ${gap}`);
    if (dryRun || reason === null) {
      if (json) printJson({ ...impact.key, brokenImages: impact.broken });
      return EXIT.done;
    }
    if (!yes && !canAsk) {
      throw new LookasideError(
        'CONFIG_INVALID',
        'nothing was revoked, because nobody can be asked here; give --yes to revoke the key, or --dry-run to see what that breaks',
      );
    }
    if (
      !yes &&
      !(await isConfirmed(withdraw ? 'Revoke the key and withdraw its signatures?' : 'Revoke the key?'))
    ) {
      print('Nothing was changed.');
      return EXIT.failed;
    }
    const revoked = await revoke(keys, impact.key.fingerprint, { reason, withdraw, certificate });
    if (json) printJson({ ...revoked, brokenImages: impact.broken });
    else print(formatRevoked(revoked));
    for (const left of revoked.left) tell(`some may be left, and are withdrawn later by themselves: ${left}`);
    return EXIT.done;
  });
}

async function revoke(
  keys: Administration['keys'],
  fingerprint: string,
  wanted: { readonly reason: string; readonly withdraw: boolean; readonly certificate: Uint8Array | null },
): Promise<RevokedKey> {
  const line = progressLine(
    ({ images, signatures }: { readonly images: number; readonly signatures: number }) =>
      `withdrawing: ${plural(signatures, 'signature')} of ${plural(images, 'image')}`,
  );
  return keys.revoke(fingerprint, { ...wanted, onProgress: line.show }).finally(line.end);
}

/** gpg puts a colon in front of the armour of the revocations that it keeps, so that none is imported by mistake. */
async function readRevocation(file: string | null): Promise<Uint8Array | null> {
  if (file === null) return null;
  const remedy = 'give the file that gpg --gen-revoke FINGERPRINT has written';
  const bytes = await readInput(file, { maxBytes: MAX_REVOCATION_BYTES, remedy });
  if (bytes.length > MAX_REVOCATION_BYTES) {
    const message = `${file} has more than ${MAX_REVOCATION_BYTES} bytes; ${remedy}`;
    throw new LookasideError('TOO_LARGE', message);
  }
  const text = Buffer.from(bytes).toString('latin1');
  return Buffer.from(text.replace(/^:(?=-----BEGIN PGP)/m, ''), 'latin1');
}

async function impactOf(parts: AsyncIterable<RevocationPart>, limit: number): Promise<Impact> {
  let key: Impact['key'] | null = null;
  const broken: BrokenImage[] = [];
  for await (const part of parts) {
    if ('fingerprint' in part) key = part;
    else if ('end' in part) break;
    else broken.push(...part.images.slice(0, limit - broken.length));
  }
  if (key === null) throw new Error('what a revocation breaks has no first part');
  return { key, broken };
}

export function formatImpact(
  { key, broken }: Impact,
  { withdraw }: Pick<KeyRevokeOptions, 'withdraw'>,
): string {
  const { fingerprint, userIds, state, signatures, images, refused } = key;
  const [who] = userIds;
  const name = who === undefined ? fingerprint : `${fingerprint} (${who})`;
  const more = key.broken - broken.length;
  return [
    `The key ${name} is ${state}. ${plural(signatures, 'signature')} of ${plural(images, 'image')} verified by it.`,
    ...(refused === 0
      ? []
      : [
          `${plural(refused, 'more signature')} that ${refused === 1 ? 'names' : 'name'} it ${refused === 1 ? 'is' : 'are'} refused already, for what the certificate says of the key: no image breaks by them.`,
        ]),
    images === 0
      ? 'No image loses a verified signature.'
      : key.broken === 0
        ? 'Each of these images has another verified signature.'
        : `No other verified signature: ${plural(key.broken, 'image')}, which clients that require a signature refuse ${withdraw ? 'from then on' : 'once they know of the revocation'}:`,
    ...broken.map(({ site, image }) => `  ${nameIn(site, image)}`),
    ...(more > 0 ? [`  … and ${more} more; --dry-run lists all`] : []),
    withdraw
      ? `With --withdraw clients do not get the ${plural(signatures, 'signature')} by it any more${refused === 0 ? '' : `, nor those of the ${refused} that it has made`}, and the same bytes are refused. That cannot be undone.`
      : 'What it has signed goes on being served, as key-revoked; --withdraw takes it away.',
  ]
    .map(escapeTerminal)
    .join('\n');
}

export function formatRevoked({ key, changed, withdrawn }: RevokedKey): string {
  const { fingerprint, revocation } = key;
  const since = revocation === null ? '' : ` since ${revocation.at.toISOString()}`;
  const lines = [
    changed
      ? `The key ${fingerprint} is revoked. Signatures by it are refused from now on.`
      : `The key ${fingerprint} was revoked already${since}.`,
    ...(withdrawn === null ? [] : [`${plural(withdrawn, 'signature')} withdrawn.`]),
    revocation?.isInCertificate === false
      ? 'Its certificate does not say so: clients that have the key go on trusting it until it is taken out of their keyrings, or they get its revocation.'
      : `Clients learn of it from its certificate: lookaside key export ${fingerprint}`,
  ];
  return lines.map(escapeTerminal).join('\n');
}
