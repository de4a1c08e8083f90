// What an administrator can ask. The process that owns the data directory answers by service/administration.ts, a server
// elsewhere by upstream/administration.ts, and test/contract/administration.ts holds both to the same answers.
import type { ExportedKey, KeyResult, RemovedKey, ShownKey } from './key.ts';
import type { KeyFile, KeyReaderName } from './key-readers.ts';
import type { BatchPart, ImportOptions, ImportResult } from './receipt.ts';
import type { CreatedToken, ShownToken, WantedToken } from './token.ts';
import type { FsckOptions, FsckResult, ReindexOptions, TreeCounts } from './upkeep.ts';

/**
 * Every method throws LookasideError with the code of what was refused. Where a server answers, also SERVER_UNREACHABLE,
 * UNAUTHORIZED without a valid token, and DENIED for a token whose role is not enough.
 */
export interface Administration {
  about(): Promise<AboutTree>;
  readonly keys: KeyAdministration;
  readonly tokens: TokenAdministration;
  /** @throws BUSY when the server stops meanwhile */
  fsck(options: FsckOptions): Promise<FsckResult>;
  /** @throws DAMAGE_FOUND unless damage is accepted; BUSY when the server stops meanwhile */
  reindex(options: ReindexOptions): Promise<TreeCounts>;
  /**
   * In the order of the parts; a refused one never stops the others. A part's file name is a full lookaside path,
   * `sha256:<hex>` of its manifest, or anything: then its verified claim says where it belongs. The same parts again change
   * nothing. @throws REQUEST_INVALID for a shared tree; STORE_UNAVAILABLE, DISK_FULL, READ_ONLY when nothing more can be stored
   */
  importBatch(parts: readonly BatchPart[], options: ImportOptions): Promise<readonly ImportResult[]>;
}

export interface AboutTree {
  /** Absolute, on the machine that serves it. */
  readonly root: string;
  readonly tree: 'owned' | 'shared';
}

export interface KeyAdministration {
  /** By time of adding. */
  list(): Promise<readonly ShownKey[]>;
  /**
   * The key of this fingerprint (40 hex digits in either case, with spaces as gpg prints it) or key ID (16).
   * @throws REQUEST_INVALID when it is neither, or the key ID of several keys; NOT_FOUND
   */
  show(name: string): Promise<ExportedKey>;
  /**
   * One result for each certificate of the file, in their order; one that is refused does not stop the others. What was
   * taken is durable and in force once this resolves. @throws REQUEST_INVALID when there is none at all; TOO_LARGE
   */
  add(untrusted: Uint8Array): Promise<readonly KeyResult[]>;
  /**
   * The keys of these names, all when there are none, without those that the reader cannot read.
   * @throws as show(), for the first name that names none
   */
  export(names: readonly string[], reader: KeyReaderName): Promise<KeyFile>;
  /** What it has signed stays as it is and is of an unknown key from here on. @throws as show() */
  remove(name: string): Promise<RemovedKey>;
}

export interface TokenAdministration {
  /** In the order in which they were made, revoked and expired ones among them. */
  list(): Promise<readonly ShownToken[]>;
  /** With the token's text, which nobody can be shown again. @throws NAME_TAKEN, REQUEST_INVALID */
  create(wanted: WantedToken): Promise<CreatedToken>;
  /** A second time changes nothing. @throws NOT_FOUND */
  revoke(name: string): Promise<ShownToken>;
}
