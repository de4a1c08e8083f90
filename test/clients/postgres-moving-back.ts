// A database of nodes, moved into a data directory.
import { moveBack } from '../../src/compose/moving-back.ts';
import { loadConfig } from '../../src/config.ts';
import { configOf } from './postgres-node.ts';

export function moveInto(url: string, data: string, withoutMirrors = false) {
  const input = { flags: { data }, environment: {}, workingFolder: '/', parseYaml: null };
  const { config } = loadConfig(input);
  const { database } = configOf(url);
  if (database === null) throw new Error('a database is named');
  return moveBack({
    ...{ config, database, withoutMirrors, isDryRun: false, onProgress: () => undefined },
    taker: { command: 'test', host: 'here' },
  });
}
