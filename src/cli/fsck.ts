// lookaside fsck: what is wrong with the tree, and with --repair what was put right.
import { createLog, fsckReadOnly } from '../compose.ts';
import type { Config } from '../config.ts';
import type { FsckResult, OnProgress, TreeCounts } from '../domain/upkeep.ts';
import { asOwner } from './owner.ts';
import { EXIT, formatTable, print, printJson, progressLine } from './terminal.ts';

export interface FsckOptions {
  readonly repair: boolean;
  readonly json: boolean;
}

/** Exit code 0: nothing is wrong, or nothing any more. */
export async function runFsck(config: Config, { repair, json }: FsckOptions): Promise<number> {
  const line = progressLine('checking');
  const result = await (repair
    ? repairAsOwner(config, line.show)
    : fsckReadOnly(config, createLog('error'), line.show)
  ).finally(line.end);
  if (json) printJson(result);
  else printResult(result, config);
  return result.problems === result.repaired ? EXIT.done : EXIT.failed;
}

function repairAsOwner(config: Config, onProgress: OnProgress): Promise<FsckResult> {
  return asOwner(config, {
    alone: ({ upkeep }) => upkeep.fsck({ repair: true, onProgress }),
    byServer: async (server) => {
      const last = await server.follow('/api/v1/fsck', { repair: true }, (value) => {
        onProgress((value as { progress: TreeCounts }).progress); // a line before the last is progress
      });
      return (last as { result: FsckResult }).result; // the last line, unless it threw
    },
  });
}

function printResult(result: FsckResult, config: Config): void {
  const { findings, images, signatures, problems, repaired, isCompared } = result;
  if (findings.length > 0) {
    const rows = findings.map(({ kind, path, message, repaired: done }) => [
      done ? 'repaired' : kind,
      path,
      message,
    ]);
    print(`${formatTable([['PROBLEM', 'FILE', 'WHAT TO DO'], ...rows])}\n`);
  }
  if (problems > findings.length)
    print(`… and ${problems - findings.length} more; --json has no more of them either`);
  print(
    `${config.root}: ${images} images, ${signatures} signatures, ${problems} problems, ${repaired} repaired`,
  );
  if (config.tree === 'owned' && !isCompared) {
    print(
      'The index is not whole, so no bytes could be compared; start the server or run: lookaside reindex',
    );
  }
}
