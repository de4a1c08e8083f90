// lookaside list --state withdrawn: what clients do not get any more, since when, by whom and why.
import { openAskedSignatures } from '../compose/asked-signatures.ts';
import type { Config } from '../config.ts';
import { csvLine } from '../domain/csv.ts';
import { LookasideError } from '../domain/errors.ts';
import { escapeTerminal } from '../domain/text.ts';
import type { ListedWithdrawal } from '../domain/tombstone.ts';
import { nameIn, parseNamed } from './image-name.ts';
import { filterOf, type ListOptions } from './list.ts';
import { EXIT, formatTable, print, printJson, QUESTION_PATIENCE_MS, tell, tellRetry } from './terminal.ts';

export interface ListWithdrawnOptions extends Pick<ListOptions, 'what' | 'form'> {
  readonly tag: string | null;
  readonly fingerprint: string | null;
  /** Whoever withdrew it. */
  readonly by: string | null;
  readonly since: Date | null;
}

/** @throws LookasideError CONFIG_INVALID for a question by tag or key, which no withdrawal has */
export async function runListWithdrawn(
  config: Config,
  { what, tag, fingerprint, by, since, form }: ListWithdrawnOptions,
): Promise<number> {
  const named = what === null ? null : parseNamed(what);
  if (tag !== null || fingerprint !== null || (named?.tag ?? null) !== null) {
    throw new LookasideError(
      'CONFIG_INVALID',
      'the list of what is withdrawn has no tags and no keys; ask by repository, image, --since or --uploader, which here means who withdrew it',
    );
  }
  const { repository, digest } = filterOf(named?.names[0] ?? null);
  const options = { onRetry: tellRetry, patienceMs: QUESTION_PATIENCE_MS };
  await using server = await openAskedSignatures(config, options);
  const withdrawn: ListedWithdrawal[] = [];
  for await (const one of server.withdrawals({ repository, digest, by, since })) withdrawn.push(one);
  if (form === 'json') printJson({ withdrawn });
  else if (form === 'csv')
    process.stdout.write([CSV_TITLES, ...withdrawn.map(csvCells)].map(csvLine).join(''));
  else if (withdrawn.length > 0) print(formatWithdrawals(withdrawn));
  if (withdrawn.length === 0) tell(`${server.name} has withdrawn nothing such`);
  return EXIT.done;
}

function formatWithdrawals(withdrawn: readonly ListedWithdrawal[]): string {
  const rows = withdrawn.map(({ site, image, number, withdrawnAt, withdrawnBy, until, reason }) => [
    nameIn(site, image),
    String(number),
    withdrawnAt.toISOString(),
    withdrawnBy,
    until?.toISOString() ?? '-',
    reason,
  ]);
  return formatTable([['IMAGE', 'N', 'WITHDRAWN', 'BY', 'UNTIL', 'REASON'], ...rows]);
}

const CSV_TITLES = [
  'site',
  'image',
  'path',
  'number',
  'signatureSha256',
  'withdrawnAt',
  'withdrawnBy',
  'until',
  'reason',
  'auditSeq',
] as const;

function csvCells(withdrawn: ListedWithdrawal): readonly string[] {
  return CSV_TITLES.map((title) => {
    const value = withdrawn[title];
    return value instanceof Date ? value.toISOString() : escapeTerminal(String(value ?? ''));
  });
}
