// Builds what `list` and `show` ask: the named server, the database that nodes share, or the server of the data directory here.
import type { Config } from '../config.ts';
import { type ConnectServerOptions, connectServer } from './client.ts';
import type { AskedSignatures } from './node-signatures.ts';

/** Warns as connectServer() does. @throws LookasideError CONFIG_INVALID, STATE_UNUSABLE, STORE_UNAVAILABLE */
export async function openAskedSignatures(
  config: Config,
  options: ConnectServerOptions,
): Promise<AskedSignatures> {
  if (config.database === null || config.remote.url !== null) return connectServer(config, options);
  // loaded for it alone
  const { askDatabase } = await import('./node-signatures.ts');
  return askDatabase(config);
}
