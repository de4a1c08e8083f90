// What a test needs done to a data directory ahead of what it shows, as a command would do it, but in the test's own process: a
// command of its own starts a Node.js each time, with all that lookaside loads.
import { openAdministration } from '../../src/compose/administration.ts';
import { loadConfig } from '../../src/config.ts';
import type { Administration } from '../../src/domain/administration.ts';
import { makeDataDirectory } from './data-directory.ts';

/** The result of `ask`, by the server that holds `data`, else on the folder itself, which is made where there is none. */
export async function administered<T>(
  data: string,
  ask: (administration: Administration) => Promise<T>,
): Promise<T> {
  await makeDataDirectory(data);
  const { config } = loadConfig({ flags: { data }, environment: {}, workingFolder: '/', parseYaml: null });
  await using administration = await openAdministration(config, {
    taker: { command: 'test', host: 'here' },
    onRetry: () => undefined,
    patienceMs: 10_000,
  });
  return await ask(administration);
}
