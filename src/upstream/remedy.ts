// What helps somebody whose token does not allow what was asked.
import { isLookasideError, LookasideError } from '../domain/errors.ts';

/** A user who may not do it over the network may be allowed to do it on the server's machine. */
export function throwWithRemedy(error: unknown): never {
  if (!isLookasideError(error, 'DENIED')) throw error;
  const message = `${error.message}; or run this on the server's machine, with its data directory as --data`;
  throw new LookasideError('DENIED', message, { cause: error });
}
