// What the tree of a site is opened with, and how the databases know it.
import { createHash } from 'node:crypto';
import type { Config } from '../config.ts';
import { isLookasideError } from '../domain/errors.ts';
import { DEFAULT_SITE } from '../domain/image.ts';
import { BEING_WRITTEN_MS } from '../domain/limits.ts';
import type { SignatureIndex } from '../domain/ports.ts';
import type { Tree } from '../domain/tree.ts';
import { openTree } from '../files/tree.ts';
import { isWholeSignature } from '../openpgp/packets.ts';
import type { Databases } from '../sqlite/databases.ts';

/** An owned tree moves with its data directory; a shared one is the one at that place. */
export function treeName({ tree, root }: Config): string {
  return tree === 'owned' ? 'owned' : `${SHARED}${root}`;
}

const SHARED = 'shared ';

/** The root of the shared tree that has this name; null for an owned one. */
export function sharedRootOf(name: string): string | null {
  return name.startsWith(SHARED) ? name.slice(SHARED.length) : null;
}

export function openSiteTree(config: Config): Tree {
  return openTree({
    root: config.root,
    nowMs: Date.now,
    beingWrittenMs: BEING_WRITTEN_MS,
    isWhole: isWholeSignature,
  });
}

/** One that turns out unusable here answers nothing until it is made anew, and is bound then. */
export async function bindIndex({ index }: Databases, config: Config): Promise<void> {
  try {
    await index.bind(DEFAULT_SITE, treeName(config));
  } catch (error) {
    if (!isLookasideError(error, 'INDEX_UNUSABLE')) throw error;
  }
}

export async function isComplete(index: SignatureIndex): Promise<boolean> {
  try {
    return await index.isComplete(DEFAULT_SITE);
  } catch {
    return false; // INDEX_UNUSABLE: being made anew
  }
}

export function sha256Hex(content: Uint8Array | string): string {
  return createHash('sha256').update(content).digest('hex');
}
