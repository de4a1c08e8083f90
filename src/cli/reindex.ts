// lookaside reindex: index.db anew from the tree.

import type { Config } from '../config.ts';
import { escapeTerminal } from '../domain/text.ts';
import { administer } from './administer.ts';
import { countsLine } from './progress.ts';
import { countsOf, EXIT, print, printJson } from './terminal.ts';

export interface ReindexOptions {
  readonly acceptDamage: boolean;
  readonly json: boolean;
}

export async function runReindex(config: Config, { acceptDamage, json }: ReindexOptions): Promise<number> {
  const line = countsLine('indexing');
  const { name, counts } = await administer(config, async (administration) => ({
    name: administration.name,
    counts: await administration.reindex({ acceptDamage, onProgress: line.show }),
  })).finally(line.end);
  const { images, signatures, problems } = counts;
  if (json) printJson(counts);
  else print(escapeTerminal(`${name}: ${countsOf({ images, signatures, problems })}`));
  return EXIT.done;
}
