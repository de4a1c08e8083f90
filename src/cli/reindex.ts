// lookaside reindex: index.db anew from the tree.
import type { Config } from '../config.ts';
import type { TreeCounts } from '../domain/upkeep.ts';
import { asOwner } from './owner.ts';
import { EXIT, print, printJson, progressLine } from './terminal.ts';

export interface ReindexOptions {
  readonly acceptDamage: boolean;
  readonly json: boolean;
}

export async function runReindex(config: Config, { acceptDamage, json }: ReindexOptions): Promise<number> {
  const line = progressLine('indexing');
  const counts = await asOwner<TreeCounts>(config, {
    alone: ({ upkeep }) => upkeep.reindex({ acceptDamage, onProgress: line.show }),
    byServer: async (server) => {
      const last = await server.follow('/api/v1/reindex', { acceptDamage }, (value) => {
        line.show((value as { progress: TreeCounts }).progress); // a line before the last is progress
      });
      return (last as { result: TreeCounts }).result; // the last line, unless it threw
    },
  }).finally(line.end);
  if (json) printJson(counts);
  else
    print(
      `${config.root}: ${counts.images} images, ${counts.signatures} signatures, ${counts.problems} problems`,
    );
  return EXIT.done;
}
