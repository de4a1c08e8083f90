// Making a backup beside a running server, and filling an empty data directory from one.
import {
  BACKUP_TREE,
  type Backup,
  type BackupManifest,
  type BackupSource,
  type BackupTarget,
  type RestoreTarget,
  type StateCopy,
} from '../domain/backup.ts';
import { forEachConcurrently } from '../domain/concurrency.ts';
import type { LookasideError } from '../domain/errors.ts';
import { type ImageId, imageFolder } from '../domain/image.ts';
import type { Clock } from '../domain/ports.ts';
import type { OnProgress } from '../domain/upkeep.ts';

export interface BackupRequest {
  readonly target: BackupTarget;
  readonly copyState: (file: string) => Promise<StateCopy>;
  /** What belongs to that copy; null for a shared tree, of which nothing is kept. */
  readonly openSource: (state: StateCopy) => Promise<BackupSource | null>;
  readonly site: string;
  readonly version: string;
  readonly clock: Clock;
  readonly onProgress: OnProgress;
}

export interface BackupResult {
  readonly manifest: BackupManifest;
  /** Of the signatures, those that were not there from an earlier backup. */
  readonly copied: number;
  /** Those that are not in it, because their bytes are damaged and stand in no earlier backup there. */
  readonly damaged: readonly { readonly path: string; readonly sha256: string }[];
}

/** Few: beside uploads each more costs them time, and the backup gains next to none. */
const IMAGES_AT_ONCE = 4;

/**
 * Makes a backup. state.db comes first: an upload is in its place in the tree before it is in state.db, so the tree that is
 * read afterwards has every signature that the copy knows. @throws LookasideError whatever its parts throw
 */
export async function makeBackup(request: BackupRequest): Promise<BackupResult> {
  const { target, site, clock, version, onProgress } = request;
  const startedAt = clock.now();
  const state = await request.copyState(target.stateFile);
  const source = await request.openSource(state);
  const damaged: { readonly path: string; readonly sha256: string }[] = [];
  let [images, signatures, copied] = [0, 0, 0];

  async function keepImage(image: ImageId, { signaturesOf }: BackupSource): Promise<void> {
    let number = 1;
    for (const { sha256, load } of await signaturesOf(image)) {
      const path = `${imageFolder(image)}/signature-${number}`;
      const outcome = await target.keep({ path, sha256 }, load);
      // the next one takes its number: clients stop at the first that is missing
      if (outcome === 'lost') damaged.push({ path, sha256 });
      else number += 1;
      copied += outcome === 'copied' ? 1 : 0;
    }
    if (number === 1) return;
    images += 1;
    signatures += number - 1;
    onProgress({ images, signatures, problems: damaged.length });
  }

  if (source !== null)
    await forEachConcurrently(source.images(site), IMAGES_AT_ONCE, (image) => keepImage(image, source));
  const tree = source === null ? 'shared' : 'owned';
  const facts = { version, startedAt, finishedAt: clock.now(), tree, state, images } as const;
  return { manifest: await target.finish(facts), copied, damaged };
}

export interface RestoreRequest {
  readonly backup: Backup;
  readonly target: RestoreTarget;
  readonly sha256: (bytes: Uint8Array) => string;
  readonly onProgress: OnProgress;
  /** The error that names what is damaged. */
  readonly damaged: (found: string) => LookasideError;
}

const FILES_AT_ONCE = 32;

/** Puts back all of it or nothing. @throws LookasideError BACKUP_UNUSABLE, or whatever its parts throw */
export async function restoreBackup(request: RestoreRequest): Promise<BackupManifest> {
  const { backup, target } = request;
  try {
    await writeSignatures(request);
    await target.finish(backup.stateFile, backup.manifest.state.sha256);
    return backup.manifest;
  } catch (error) {
    await target.abandon();
    throw error;
  }
}

async function writeSignatures({
  backup,
  target,
  sha256,
  onProgress,
  damaged,
}: RestoreRequest): Promise<void> {
  const bad: string[] = [];
  const folders = new Set<string>();
  let signatures = 0;
  await forEachConcurrently(backup.signatures(), FILES_AT_ONCE, async (listed) => {
    const file = await backup.read(listed.path);
    if (file === null || sha256(file.bytes) !== listed.sha256) {
      bad.push(`${BACKUP_TREE}/${listed.path} ${file === null ? 'is missing' : 'has other bytes'}`);
      return;
    }
    if (bad.length === 0) await target.write(listed.path, file);
    signatures += 1;
    folders.add(listed.path.slice(0, listed.path.lastIndexOf('/')));
    onProgress({ images: folders.size, signatures, problems: bad.length });
  });
  if (bad.length === 0) return;
  const others = bad.length > 1 ? `, and ${bad.length - 1} more` : '';
  throw damaged(`${bad[0]}${others}`);
}
