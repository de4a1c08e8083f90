// A backup: a folder with a copy of state.db, the owned tree's signatures, a list of them, and backup.json. backup.json
// is written last and names the other files. A file that it does not name belongs to no finished backup.
// Keep in sync with docs/backup.md, "What is in it".
import { z } from 'zod';
import { DEFAULT_SITE, type ImageId, imageFolder, parseLongImageFolder } from './image.ts';
import { parseSignatureName } from './lookaside-path.ts';
import { MIRROR_NAME } from './mirror.ts';
import type { Site } from './site.ts';

export const MANIFEST_NAME = 'backup.json';
/** The folder of the signatures of the site `default`, as in the data directory. */
const BACKUP_TREE = 'sigstore';
/** Above the folders of other sites. */
const BACKUP_SITES = 'sites';

/** Where a backup has the signatures of the site. */
export function backupFolderOf(site: string): string {
  return site === DEFAULT_SITE ? BACKUP_TREE : `${BACKUP_SITES}/${site}`;
}

const sha256 = z.string().regex(/^[0-9a-f]{64}$/);
const count = z.int().nonnegative();
const plainName = z.string().regex(/^[a-z]+-[0-9A-Za-z-]+\.(?:db|sha256)$/);

const tree = z.enum(['owned', 'shared']);

const MANIFEST = z.object({
  format: z.literal(1),
  /** The version of lookaside that made it. */
  version: z.string(),
  /** The backup holds everything that was acknowledged before this time. */
  startedAt: z.iso.datetime(),
  finishedAt: z.iso.datetime(),
  /** The tree of the site `default`. A backup of a shared tree holds only what state.db holds. */
  tree,
  /** Sites beside `default`. Left out: there are none. */
  sites: z.exactOptional(
    z.array(
      z
        .object({ name: z.string(), tree, mirror: z.exactOptional(z.literal(true)) })
        // restore makes a folder of that name
        .refine(({ name, mirror }) => mirror === undefined || MIRROR_NAME.test(name)),
    ),
  ),
  state: z.object({
    file: plainName,
    sha256,
    sizeBytes: count,
    /** Number of the last audit event in the copy; 0 when there is none. */
    auditSeq: count,
  }),
  /** The key that signs the log of audit events. Left out: the data directory had none yet. */
  logKey: z.exactOptional(z.object({ file: z.string().regex(/^log-[0-9A-Za-z-]+\.key$/), sha256 })),
  /** The list: a line for each file, as sha256sum writes and checks them. */
  signatures: z.object({ file: plainName, sha256, images: count, count }),
});

export type BackupManifest = Readonly<z.output<typeof MANIFEST>>;

export interface SiteOfBackup extends Pick<Site, 'name' | 'tree'> {
  /** It is a mirror, whose settings are in state.db. */
  readonly mirror?: true;
}

export function sitesOfBackup({ tree, sites = [] }: BackupManifest): readonly SiteOfBackup[] {
  return [{ name: DEFAULT_SITE, tree }, ...sites];
}

export function manifestText(manifest: BackupManifest): string {
  return `${JSON.stringify(manifest, null, 2)}\n`;
}

/** Null when the text is no manifest of a backup, or has a format that this version does not know. */
export function parseManifest(text: string): BackupManifest | null {
  try {
    return MANIFEST.safeParse(JSON.parse(text)).data ?? null;
  } catch {
    return null; // only SyntaxError
  }
}

export interface ListedSignature {
  readonly site: string;
  /** Below the tree's root: `team/app@sha256=…/signature-2`. */
  readonly path: string;
  /** 64 lower-case hex digits. */
  readonly sha256: string;
}

/** Where one is, in a backup and in the trees. */
export type SignaturePlace = Pick<ListedSignature, 'site' | 'path'>;

/** One line of the list, with its end. */
export function listLine({ site, path, sha256: digest }: ListedSignature): string {
  return `${digest}  ${backupFolderOf(site)}/${path}\n`;
}

const LINE = new RegExp(
  `^(?<digest>[0-9a-f]{64})  (?:${BACKUP_TREE}|${BACKUP_SITES}/(?<site>[^/\\\\]+))/(?<folder>[^\\\\]+)/(?<name>[^/]+)$`,
);

/** Null when the line does not name a signature's place: restore writes to no other path. */
export function parseListLine(sites: readonly SiteOfBackup[], line: string): ListedSignature | null {
  const { digest = '', site = DEFAULT_SITE, folder = '', name = '' } = LINE.exec(line)?.groups ?? {};
  if (!sites.some((one) => one.name === site && one.tree === 'owned')) return null;
  // A path that an older version accepted is restored as it was; the scan reports that it is too long to be served.
  const image = parseLongImageFolder(site, folder);
  if (image === null || parseSignatureName(name) === null) return null;
  return { site, path: `${imageFolder(image)}/${name}`, sha256: digest };
}

/** A copy of state.db as it was at one moment, sound and on the disk. */
export interface StateCopy {
  readonly sha256: string;
  readonly sizeBytes: number;
  readonly auditSeq: number;
}

export interface StoredFile {
  readonly bytes: Uint8Array;
  readonly modifiedAt: Date;
}

export interface SourceSignature {
  readonly sha256: string;
  /** Null when its bytes are damaged. @throws STORE_UNAVAILABLE */
  readonly load: () => Promise<StoredFile | null>;
}

/** The tree that is backed up. */
export interface BackupSource {
  /** @throws STORE_UNAVAILABLE when a folder cannot be read */
  images(site: string): AsyncIterable<ImageId>;
  /** In the order in which they are served. @throws STORE_UNAVAILABLE */
  signaturesOf(image: ImageId): Promise<readonly SourceSignature[]>;
}

/** Where a backup is made. It may hold an older backup, which stays whole until finish(), or an unfinished one. */
export interface BackupTarget {
  /** Path of an empty file (mode 0600) for the copy of state.db. */
  readonly stateFile: string;
  /**
   * Lists the signature, and copies it unless an earlier backup left the same bytes there. `lost`: the bytes are found
   * nowhere, and the signature is not listed. @throws DISK_FULL, READ_ONLY, STORE_UNAVAILABLE
   */
  keep(listed: ListedSignature, load: () => Promise<StoredFile | null>): Promise<'kept' | 'copied' | 'lost'>;
  /** Once resolved, the whole backup survives a power cut, and the folder holds this backup instead of an older one. */
  finish(facts: BackupFacts): Promise<BackupManifest>;
}

export interface BackupFacts {
  readonly version: string;
  readonly startedAt: Date;
  readonly finishedAt: Date;
  readonly sites: readonly SiteOfBackup[];
  readonly state: StateCopy;
  /** The text of the key that signs the log; null when there is none. */
  readonly logKey: string | null;
  readonly images: number;
}

/** A finished backup. */
export interface Backup {
  readonly manifest: BackupManifest;
  readonly stateFile: string;
  /** The key that signs the log; null when the backup has none. @throws BACKUP_UNUSABLE when it is not what was written */
  logKey(): Promise<string | null>;
  /** @throws BACKUP_UNUSABLE when the list has changed since it was written */
  signatures(): AsyncIterable<ListedSignature>;
  /** Null when no file is there. @throws STORE_UNAVAILABLE */
  read(place: SignaturePlace): Promise<StoredFile | null>;
}

/** An empty data directory that is being filled. Until finish() no server starts on it. */
export interface RestoreTarget {
  write(place: SignaturePlace, file: StoredFile): Promise<void>;
  /** Copies state.db, checks it against `sha256`, and moves everything into its place. @throws BACKUP_UNUSABLE */
  finish(state: {
    readonly file: string;
    readonly sha256: string;
    readonly logKey: string | null;
  }): Promise<void>;
  /** Leaves the data directory as empty as it was. */
  abandon(): Promise<void>;
}
