// Makes a backup while a server may run, and fills an empty data directory from a backup.
import {
  type Backup,
  type BackupManifest,
  type BackupSource,
  type BackupTarget,
  backupFolderOf,
  type ListedSignature,
  type RestoreTarget,
  type SiteOfBackup,
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
  /** The key that signs the log; null when there is none yet. */
  readonly readLogKey: () => Promise<string | null>;
  /** The signatures that belong to that copy. Asked only for owned trees: the files of a shared one are not backed up. */
  readonly openSource: (site: string, state: StateCopy) => Promise<BackupSource>;
  readonly sites: readonly SiteOfBackup[];
  readonly version: string;
  readonly clock: Clock;
  readonly onProgress: OnProgress;
}

export interface BackupResult {
  readonly manifest: BackupManifest;
  /** How many signatures were copied, because no earlier backup had left them there. */
  readonly copied: number;
  /** Signatures that the backup lacks, because their bytes are damaged and no earlier backup there has them. */
  readonly damaged: readonly ListedSignature[];
}

/** Kept low: each further one slows uploads down and speeds the backup up very little. */
const IMAGES_AT_ONCE = 4;

/**
 * Makes a backup. It copies state.db first: an upload is in the tree before it is in state.db, so the tree, read afterwards,
 * has every signature that the copy knows. @throws LookasideError whatever its parts throw
 */
export async function makeBackup(request: BackupRequest): Promise<BackupResult> {
  const { target, sites, clock, version, onProgress } = request;
  const startedAt = clock.now();
  const state = await request.copyState(target.stateFile);
  const damaged: ListedSignature[] = [];
  let [images, signatures, copied] = [0, 0, 0];

  async function keepImage(image: ImageId, { signaturesOf }: BackupSource): Promise<void> {
    let number = 1;
    for (const { sha256, load } of await signaturesOf(image)) {
      const listed = { site: image.site, path: `${imageFolder(image)}/signature-${number}`, sha256 };
      const outcome = await target.keep(listed, load);
      // the next signature takes its number: clients stop at the first missing number
      if (outcome === 'lost') damaged.push(listed);
      else number += 1;
      copied += outcome === 'copied' ? 1 : 0;
    }
    if (number === 1) return;
    images += 1;
    signatures += number - 1;
    onProgress({ images, signatures, problems: damaged.length });
  }

  for (const { name } of sites.filter(({ tree }) => tree === 'owned')) {
    const source = await request.openSource(name, state);
    await forEachConcurrently(source.images(name), IMAGES_AT_ONCE, (image) => keepImage(image, source));
  }
  // made once, ahead of the first event
  const logKey = await request.readLogKey();
  const facts = { version, startedAt, finishedAt: clock.now(), sites, state, logKey, images } as const;
  return { manifest: await target.finish(facts), copied, damaged };
}

export interface RestoreRequest {
  readonly backup: Backup;
  readonly target: RestoreTarget;
  readonly sha256: (bytes: Uint8Array) => string;
  readonly onProgress: OnProgress;
  /** Makes the error that names what is damaged. */
  readonly damaged: (fault: string) => LookasideError;
}

const FILES_AT_ONCE = 32;

/** Restores all of the backup or nothing. @throws LookasideError BACKUP_UNUSABLE, or whatever its parts throw */
export async function restoreBackup(request: RestoreRequest): Promise<BackupManifest> {
  const { backup, target } = request;
  try {
    await writeSignatures(request);
    const { sha256 } = backup.manifest.state;
    await target.finish({ file: backup.stateFile, sha256, logKey: await backup.logKey() });
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
    const file = await backup.read(listed);
    if (file === null || sha256(file.bytes) !== listed.sha256) {
      bad.push(
        `${backupFolderOf(listed.site)}/${listed.path} ${file === null ? 'is missing' : 'has other bytes'}`,
      );
      return;
    }
    if (bad.length === 0) await target.write(listed, file);
    signatures += 1;
    folders.add(`${listed.site}/${listed.path.slice(0, listed.path.lastIndexOf('/'))}`);
    onProgress({ images: folders.size, signatures, problems: bad.length });
  });
  if (bad.length === 0) return;
  const others = bad.length > 1 ? `, and ${bad.length - 1} more` : '';
  throw damaged(`${bad[0]}${others}`);
}
