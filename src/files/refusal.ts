// The errors that callers get when the system refuses a write.
import { type ErrorCode, isLookasideError, LookasideError, systemCode } from '../domain/errors.ts';
import { unavailable } from './root.ts';

export const NO_SPACE: ReadonlySet<string | null> = new Set(['ENOSPC', 'EDQUOT']);
const NO_RIGHT: ReadonlySet<string | null> = new Set(['EROFS', 'EACCES', 'EPERM']);

/** What `act` returns; errors of the system become those of refusal(). */
export async function attempt<T>(act: () => Promise<T>, name: string): Promise<T> {
  try {
    return await act();
  } catch (error) {
    throw isLookasideError(error) ? error : refusal(error, name);
  }
}

/** The error for the caller when the system refused something at the file or folder of this name. */
export function refusal(cause: unknown, name: string): LookasideError {
  const code = codeOf(cause) ?? 'unknown error';
  const made = (kind: ErrorCode, message: string) => new LookasideError(kind, message, { cause });
  if (NO_SPACE.has(code))
    return made('DISK_FULL', `no space is left for ${name} (${code}); free some, then try again`);
  if (NO_RIGHT.has(code)) {
    return made(
      'READ_ONLY',
      `the server may not write to ${name} (${code}); make it writable for the server's user`,
    );
  }
  if (code === 'ENAMETOOLONG') {
    return made(
      'PATH_INVALID',
      `${name} has a name that is longer than the file system takes (255 bytes); shorten it`,
    );
  }
  if (code === 'EEXIST' || code === 'ENOTDIR') {
    return made(
      'STORE_UNAVAILABLE',
      `${name} cannot be made: a file stands where a folder must be; move it away`,
    );
  }
  return unavailable(name, cause);
}

/** Node.js has no name for a quota that is used up: EDQUOT of Linux is `Unknown system error -122`. */
export function codeOf(error: unknown): string | null {
  const isQuota = error instanceof Error && 'errno' in error && error.errno === -122;
  return isQuota ? 'EDQUOT' : systemCode(error);
}
