// lookaside fsck: what is wrong with the tree, and what --repair has put right.
import type { OpenedAdministration } from '../compose/administration.ts';
import type { Config } from '../config.ts';
import { escapeTerminal } from '../domain/text.ts';
import type { FsckResult } from '../domain/upkeep.ts';
import { administer } from './administer.ts';
import { nameIn } from './image-name.ts';
import { countsLine } from './progress.ts';
import { countsOf, EXIT, formatTable, print, printJson } from './terminal.ts';

export interface FsckOptions {
  readonly repair: boolean;
  readonly json: boolean;
}

/** Exit code 0: nothing is wrong, or nothing any more. */
export async function runFsck(config: Config, { repair, json }: FsckOptions): Promise<number> {
  const line = countsLine('checking');
  const checked = await administer(config, async (administration) => {
    const result = await administration.fsck({ repair, onProgress: line.show });
    const server = administration.checkedBy();
    const name = server?.root ?? administration.name;
    const remarks = [
      server === null ? null : `The server that is running on ${config.data} did this check.`,
      await remarkOn(result, administration),
    ];
    return { name, result, remarks: remarks.filter((remark) => remark !== null) };
  }).finally(line.end);
  const { result } = checked;
  if (json) printJson(result);
  else printResult(checked);
  return result.problems === result.repaired ? EXIT.done : EXIT.failed;
}

/** Why no bytes were compared, where they could be; else null. */
async function remarkOn(
  { isCompared }: FsckResult,
  { here, about, checkedBy }: OpenedAdministration,
): Promise<string | null> {
  if (isCompared) return null;
  const isByServer = here === null || checkedBy() !== null;
  const { tree } = checkedBy() ?? here ?? (await about());
  if (tree === 'shared') return null;
  const notCompared = 'The index is not whole, so no bytes could be compared;';
  return isByServer
    ? `${notCompared} wait until the server has looked through its tree, or run lookaside reindex`
    : `${notCompared} start the server or run: lookaside reindex`;
}

interface Checked {
  readonly name: string;
  readonly result: FsckResult;
  readonly remarks: readonly string[];
}

function printResult({ name, result, remarks }: Checked): void {
  const { findings, images, signatures, problems, repaired } = result;
  if (findings.length > 0) {
    const rows = findings.map(({ site, kind, path, message, repaired: done }) => [
      done ? 'repaired' : kind,
      nameIn(site, path),
      message,
    ]);
    print(`${formatTable([['PROBLEM', 'FILE', 'WHAT TO DO'], ...rows])}\n`);
  }
  if (problems > findings.length)
    print(`… and ${problems - findings.length} more; --json shows no more of them`);
  print(escapeTerminal(`${name}: ${countsOf({ images, signatures, problems })}, ${repaired} repaired`));
  for (const remark of remarks) print(escapeTerminal(remark));
}
