// lookaside trust revoke: withdraws the signatures that claim a tag of a repository.
import { connectServer } from '../compose/client.ts';
import type { Config } from '../config.ts';
import { isLookasideError, LookasideError } from '../domain/errors.ts';
import { DEFAULT_SITE, parseImageName } from '../domain/image.ts';
import { ANY_SIGNATURE } from '../domain/remote.ts';
import type { StoredSignature } from '../domain/stored-signature.ts';
import { escapeTerminal, quoted } from '../domain/text.ts';
import type { Withdrawn } from '../domain/tombstone.ts';
import { administer } from './administer.ts';
import { canConfirm, isConfirmed } from './confirm.ts';
import { nameIn, parseNamed } from './image-name.ts';
import {
  EXIT,
  formatTable,
  plural,
  print,
  printJson,
  QUESTION_PATIENCE_MS,
  tell,
  tellRetry,
} from './terminal.ts';

export interface TrustRevokeOptions {
  /** As it was written. */
  readonly what: string;
  readonly reason: string;
  readonly dryRun: boolean;
  readonly yes: boolean;
  readonly json: boolean;
}

/** @throws LookasideError CONFIG_INVALID without a tag, or when nobody can be asked; NOT_FOUND when nothing claims the tag */
export async function runTrustRevoke(config: Config, options: TrustRevokeOptions): Promise<number> {
  const { what, reason, dryRun, yes, json } = options;
  const { names, tag } = parseNamed(what);
  if (tag === null) {
    throw new LookasideError(
      'CONFIG_INVALID',
      `${quoted(what)} names no tag; wanted a repository and a tag like team/app:v1. One signature alone: lookaside withdraw. All of a key: lookaside key revoke --withdraw`,
    );
  }
  const { signatures, elsewhere } = await claiming(config, names, tag);
  if (!json) print(formatClaiming(`${names.at(-1)}:${tag}`, signatures));
  for (const { site, image } of elsewhere) tell(`${nameIn(site, image)} is of a mirror, and stays`);
  if (dryRun) {
    if (json) printJson({ signatures });
    return EXIT.done;
  }
  if (signatures.length === 0) throw new LookasideError('NOT_FOUND', 'nothing was withdrawn');
  if (!yes && (json || !canConfirm())) {
    throw new LookasideError(
      'CONFIG_INVALID',
      'nothing was withdrawn, because nobody can be asked here; give --yes to withdraw these signatures, or --dry-run to see them alone',
    );
  }
  if (!yes && !(await isConfirmed(`Withdraw ${plural(signatures.length, 'signature')}?`))) {
    print('Nothing was changed.');
    return EXIT.failed;
  }
  const withdrawn = await withdrawAll(config, signatures, reason);
  if (json) printJson({ withdrawn });
  else
    print(
      `${plural(withdrawn.length, 'signature')} withdrawn; clients do not get them, and their bytes are refused.`,
    );
  return EXIT.done;
}

interface Claiming {
  readonly signatures: readonly StoredSignature[];
  /** The signatures that lie in mirrors. */
  readonly elsewhere: readonly StoredSignature[];
}

/** What the likeliest meaning has, among the meanings that have any. @throws LookasideError NOT_FOUND */
async function claiming(config: Config, names: readonly string[], tag: string): Promise<Claiming> {
  await using server = connectServer(config, { onRetry: tellRetry, patienceMs: QUESTION_PATIENCE_MS });
  for (const repository of names) {
    const collected: StoredSignature[] = [];
    for await (const signature of server.search({ ...ANY_SIGNATURE, repository, tag })) {
      if (parseImageName(signature.site, signature.image)?.path === repository) collected.push(signature);
    }
    if (collected.length === 0) continue;
    const isHere = ({ site }: StoredSignature) => site === DEFAULT_SITE;
    return { signatures: collected.filter(isHere), elsewhere: collected.filter((one) => !isHere(one)) };
  }
  throw new LookasideError(
    'NOT_FOUND',
    `${server.name} has no verified signature that is for ${names.map((name) => `${name}:${tag}`).join(' or ')}; lookaside list ${names.at(-1)} shows what it has of that repository, and with --state withdrawn what was taken away`,
  );
}

/** The numbers of an image never move, so the paths hold while others of it are withdrawn. */
async function withdrawAll(
  config: Config,
  signatures: readonly StoredSignature[],
  reason: string,
): Promise<readonly Withdrawn[]> {
  return administer(config, async (administration) => {
    const done: Withdrawn[] = [];
    for (const { path, signatureSha256: sha256 } of signatures) {
      try {
        done.push(await administration.withdraw({ path, sha256, reason, until: null }));
      } catch (error) {
        // somebody else was faster, and another may stand there since
        if (!isLookasideError(error, 'NOT_FOUND')) throw error;
        tell(error.message);
      }
    }
    return done;
  });
}

function formatClaiming(name: string, signatures: readonly StoredSignature[]): string {
  const rows = signatures.map(({ site, image, number, state, fingerprint }) => [
    nameIn(site, image),
    String(number),
    state,
    fingerprint ?? '-',
  ]);
  return [
    escapeTerminal(`Signatures for ${name}`),
    '',
    formatTable([['IMAGE', 'N', 'STATE', 'KEY'], ...rows]),
  ].join('\n');
}
