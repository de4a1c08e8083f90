// How every command that administers is carried out: by the server that is named, else on the data directory of this machine.
import {
  type OpenAdministrationOptions,
  type OpenedAdministration,
  openAdministration,
} from '../compose/administration.ts';
import type { Config } from '../config.ts';
import { QUESTION_PATIENCE_MS, tellRetry } from './terminal.ts';
import { thisCommand } from './this-command.ts';

/** The result of `ask`. A server that is away is waited for `patienceMs`. @throws LookasideError whatever opening or `ask` throws */
export function administer<T>(
  config: Config,
  ask: (administration: OpenedAdministration) => Promise<T>,
  patienceMs = QUESTION_PATIENCE_MS,
): Promise<T> {
  return opened(config, ask, { patienceMs });
}

/** As administer(), where all that is asked for is done by the server of the data directory as long as one runs. */
export function administerByServer<T>(
  config: Config,
  ask: (administration: OpenedAdministration) => Promise<T>,
): Promise<T> {
  return opened(config, ask, { patienceMs: QUESTION_PATIENCE_MS, isByServer: true });
}

async function opened<T>(
  config: Config,
  ask: (administration: OpenedAdministration) => Promise<T>,
  how: Pick<OpenAdministrationOptions, 'patienceMs' | 'isByServer'>,
): Promise<T> {
  const options = { taker: thisCommand(), onRetry: tellRetry, ...how };
  await using administration = await openAdministration(config, options);
  return await ask(administration);
}
