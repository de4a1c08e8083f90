// A database of nodes, moved into a data directory.
import { moveBack } from '../../src/compose/moving-back.ts';
import { loadConfig } from '../../src/config.ts';
import { configOf, PEM } from './postgres-node.ts';

export interface MovingBack {
  readonly withoutMirrors?: boolean;
  /** The log's key as PEM; left out: that of the nodes of tests. */
  readonly logKey?: string;
}

export function moveInto(
  url: string,
  data: string,
  { withoutMirrors = false, logKey = PEM }: MovingBack = {},
) {
  const input = { flags: { data }, environment: {}, workingFolder: '/', parseYaml: null };
  const { config } = loadConfig(input);
  const { database } = configOf(url, { LOOKASIDE_LOG_KEY: logKey });
  if (database === null) throw new Error('a database is named');
  return moveBack({
    ...{ config, database, withoutMirrors, isDryRun: false, onProgress: () => undefined },
    taker: { command: 'test', host: 'here' },
  });
}
