// lookaside apply, and access export.
import { accessFileOf, parseAccessFile, writeAccessFile } from '../compose/access-file.ts';
import type { Config } from '../config.ts';
import { type AccessPlan, textOfChange } from '../domain/access-rules.ts';
import { LookasideError } from '../domain/errors.ts';
import { MAX_ACCESS_RULES_BYTES } from '../domain/limits.ts';
import { escapeTerminal } from '../domain/text.ts';
import { administer } from './administer.ts';
import { canConfirm, isConfirmed } from './confirm.ts';
import { readInput } from './input.ts';
import { EXIT, plural, print, printJson, tell } from './terminal.ts';

/** Half of what a request may have: certificates grow in JSON. */
const MAX_FILE_BYTES = MAX_ACCESS_RULES_BYTES / 2;

export async function runAccessExport(config: Config, json: boolean): Promise<number> {
  const rules = await administer(config, (administration) => administration.rules.export());
  if (json) printJson(accessFileOf(rules));
  else process.stdout.write(writeAccessFile(rules));
  return EXIT.done;
}

export interface ApplyCommand {
  /** `-` is standard input. */
  readonly file: string;
  readonly prune: boolean;
  readonly dryRun: boolean;
  /** Whether the plan is applied without a question. */
  readonly yes: boolean;
  readonly json: boolean;
}

export async function runApply(
  config: Config,
  { file, prune, dryRun, yes, json }: ApplyCommand,
): Promise<number> {
  const remedy = 'give the file that lookaside access export has written';
  const bytes = await readInput(file, { maxBytes: MAX_FILE_BYTES, remedy });
  if (bytes.length > MAX_FILE_BYTES)
    throw new LookasideError('TOO_LARGE', `${file} has more than ${MAX_FILE_BYTES} bytes; apply it in parts`);
  const rules = parseAccessFile(utf8Of(bytes, file), file);
  const canAsk = canConfirm() && file !== '-' && !json;
  return administer(config, async (administration) => {
    const plan = await administration.rules.plan(rules, { prune });
    if (!json) printPlan(plan, prune);
    const isNothing = plan.changes.length === 0;
    if (!isNothing && !dryRun && !yes && !canAsk) {
      throw new LookasideError(
        'CONFIG_INVALID',
        'nothing was applied, because nobody can be asked here; give --yes to apply the plan, or --dry-run to see it alone',
      );
    }
    const isWanted =
      !isNothing &&
      !dryRun &&
      (yes || (await isConfirmed(`Apply ${plural(plan.changes.length, 'change')}?`)));
    if (isWanted) await administration.rules.apply(rules, { prune, id: plan.id });
    if (json) printJson({ ...plan, applied: isWanted });
    else if (isWanted) print(`${plural(plan.changes.length, 'change')} applied.`);
    else if (isNothing) print('Nothing is to be changed.');
    else print('Nothing was changed.');
    return isWanted || isNothing || dryRun ? EXIT.done : EXIT.failed;
  });
}

function utf8Of(bytes: Uint8Array, file: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw new LookasideError('CONFIG_INVALID', `${file} is not text in UTF-8; wanted YAML or JSON`);
  }
}

function printPlan({ changes, left, todo }: AccessPlan, prune: boolean): void {
  for (const change of changes) print(escapeTerminal(`${signOf(change.kind)} ${textOfChange(change)}`));
  if (left.length > 0) {
    const why = prune ? '' : ', because --prune was not given';
    print(`What the file does not name stays${why}:`);
    for (const one of left) print(escapeTerminal(`  ${one}`));
  }
  for (const one of todo) tell(`by hand: ${one}`);
}

function signOf(kind: AccessPlan['changes'][number]['kind']): string {
  if (kind.startsWith('add-')) return '+';
  return kind.startsWith('remove-') || kind === 'revoke-token' ? '-' : '~';
}
