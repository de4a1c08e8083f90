// What commands on signers' machines are built from.
import type { Staging } from './domain/staged.ts';
import { createStaging } from './files/staging.ts';

/** Folders and files on this machine. */
export function openStaging(): Staging {
  return createStaging();
}
