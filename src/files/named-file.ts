// Small files that settings name: certificates, credentials.
import { readFileSync } from 'node:fs';
import { LookasideError } from '../domain/errors.ts';
import { codeOf } from './refusal.ts';

/** The text of the file; null when none is named. @throws LookasideError CONFIG_INVALID */
export function readNamedFile(path: string | null): string | null {
  if (path === null) return null;
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    const message = `cannot read ${path}: ${codeOf(error) ?? 'unknown error'}; put the file there, or name another`;
    throw new LookasideError('CONFIG_INVALID', message, { cause: error });
  }
}
