// The data directory of this machine, for commands that need an existing one. In the wrong folder they would make another one,
// which no server uses.
import { existsSync } from 'node:fs';
import { isDataDirectory, SYSTEM_DATA } from '../config.ts';
import { LookasideError } from '../domain/errors.ts';

/** @throws LookasideError CONFIG_INVALID when no server has ever used `dataDir` */
export function requireDataDirectory(dataDir: string, systemData = SYSTEM_DATA): void {
  if (isDataDirectory(dataDir)) return;
  const whatIsThere = existsSync(dataDir) ? 'holds no state.db that you may see' : 'does not exist';
  const other =
    systemData !== dataDir && isDataDirectory(systemData) ? ` There is one in ${systemData}.` : '';
  throw new LookasideError(
    'CONFIG_INVALID',
    `${dataDir} is not a data directory of lookaside: it ${whatIsThere}; wanted the one that the server was started with.${other} Name it by --data or LOOKASIDE_DATA, or a server elsewhere by --server; lookaside serve makes a new one`,
  );
}
