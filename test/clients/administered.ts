// What a test needs done to a data directory ahead of what it shows, as a command would do it, but in the test's own process: a
// command of its own starts a Node.js each time, with all that lookaside loads.
import { openAdministration } from '../../src/compose/administration.ts';
import { loadConfig } from '../../src/config.ts';
import type { Administration } from '../../src/domain/administration.ts';
import { makeDataDirectory } from './data-directory.ts';
import { isByNodes } from './served-by.ts';

/** The result of `ask`, by the server that holds `data`, else on the folder itself, which is made where there is none. */
export async function administered<T>(
  data: string,
  ask: (administration: Administration) => Promise<T>,
): Promise<T> {
  const where = await whereOf(data);
  const { config } = loadConfig({ ...where, workingFolder: '/', parseYaml: null });
  await using administration = await openAdministration(config, {
    taker: { command: 'test', host: 'here' },
    onRetry: () => undefined,
    patienceMs: 10_000,
  });
  return await ask(administration);
}

async function whereOf(data: string) {
  if (isByNodes) {
    return { flags: {}, environment: await (await import('./by-nodes.ts')).settingsInsteadOf(data) };
  }
  await makeDataDirectory(data);
  return { flags: { data }, environment: {} };
}
