// lookaside fsck over a database that nodes share.
import { LookasideError } from '../domain/errors.ts';
import type { FsckFinding, FsckOptions, FsckResult } from '../domain/upkeep.ts';
import { checkDatabase } from '../postgres/check.ts';
import type { OpenedPostgres } from '../postgres/open.ts';
import { verifyLog } from '../service/log-verify.ts';
import { MAX_FINDINGS } from '../service/upkeep.ts';

const WHAT_TO_DO: Readonly<Record<string, string>> = {
  changed:
    'the bytes in the database are not those of their hash: its storage has failed. Restore it from a backup, and run pg_amcheck',
  'behind-gap':
    'a lower number is missing, and clients stop there. Somebody has deleted rows: restore the database from a backup',
  lost: 'it was uploaded and is not there any more. Push it again, or restore the database from a backup',
};

/** Every signature, upload and event. @throws LookasideError NOT_OVER_POSTGRESQL for a repair; STORE_UNAVAILABLE */
export async function fsckDatabase(
  { log }: Pick<OpenedPostgres, 'log'>,
  url: string,
  { repair, onProgress = () => undefined }: FsckOptions,
): Promise<FsckResult> {
  if (repair) {
    throw new LookasideError(
      'NOT_OVER_POSTGRESQL',
      'fsck --repair puts recorded bytes back into a tree, and over PostgreSQL there is none; run fsck without --repair, and restore the database from a backup where it finds damage',
    );
  }
  let counts = { images: 0, signatures: 0 };
  let problems = 0;
  const findings: FsckFinding[] = [];
  const add = (finding: Omit<FsckFinding, 'repaired'>): void => {
    problems += 1;
    if (findings.length < MAX_FINDINGS) findings.push({ ...finding, repaired: false });
  };
  const check = checkDatabase(url, (now) => {
    counts = now;
    onProgress({ ...counts, problems });
  });
  for await (const one of check) add({ ...one, message: WHAT_TO_DO[one.kind] ?? '' });
  const verified = await verifyLog(log, { vkey: null, from: null, onProgress: () => undefined });
  for (const { seq, message } of verified.faults) {
    const path = seq === null ? 'log' : `log/event-${seq}`;
    add({ site: 'default', kind: 'changed', path, message: `${message}; see: lookaside audit verify` });
  }
  return { ...counts, problems, repaired: 0, findings, isCompared: true };
}
