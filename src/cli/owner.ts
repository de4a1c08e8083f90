// Changes have one owner: this process when the data directory is free, else the server that holds it.
import { type Composed, compose, createLog } from '../compose.ts';
import { type Config, socketPathOf } from '../config.ts';
import { isLookasideError, type LookasideError } from '../domain/errors.ts';
import { isServer } from '../domain/holder.ts';
import { connectLocalServer, type LocalServer } from '../upstream/local-server.ts';
import { thisCommand } from './this-command.ts';

export interface Ways<T> {
  /** With the data directory to ourselves. */
  readonly alone: (composed: Composed) => Promise<T>;
  readonly byServer: (server: LocalServer) => Promise<T>;
}

/** @throws LookasideError whatever the way taken throws */
export async function asOwner<T>(config: Config, { alone, byServer }: Ways<T>): Promise<T> {
  let composed: Composed;
  try {
    const log = createLog('warn');
    composed = await compose({ config, current: () => config, log, taker: thisCommand() });
  } catch (error) {
    if (!isLookasideError(error, 'ALREADY_RUNNING') || isOtherCommand(error)) throw error;
    return byServer(connectLocalServer(socketPathOf(config)));
  }
  try {
    return await alone(composed);
  } finally {
    await composed[Symbol.asyncDispose]();
  }
}

/** Another command line, which listens to nobody. */
function isOtherCommand({ detail }: LookasideError): boolean {
  const command = detail?.command;
  return typeof command === 'string' && !isServer({ command });
}
