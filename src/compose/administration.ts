// Builds what administrators' commands use: the named server, or the data directory of this machine.

import { type Config, socketPathOf } from '../config.ts';
import type { AboutTree, Administration } from '../domain/administration.ts';
import type { Holder } from '../domain/holder.ts';
import { isListening } from '../upstream/running-server.ts';
import { askingBy, type ConnectServerOptions, remoteOf } from './client.ts';

export interface OpenedAdministration extends Administration {
  /** For people: the URL of the server without a password, or the root of the tree on this machine. */
  readonly name: string;
  /** The tree of the data directory of this machine; null when a server is asked that is elsewhere, or is asked for everything. */
  readonly here: AboutTree | null;
  /** The tree of the server that runs on that data directory, when it did the fsck; else null. */
  checkedBy(): AboutTree | null;
  [Symbol.asyncDispose](): Promise<void>;
}

export interface OpenAdministrationOptions extends ConnectServerOptions {
  /** Recorded, so that other commands that find the data directory locked can name this one. */
  readonly taker: Pick<Holder, 'command' | 'host'>;
  /** Only what a running server does is asked for, and no tree: one that listens is asked at once. Default false. */
  readonly isByServer?: boolean;
}

/**
 * The administration of the server that the configuration names, or of the data directory on this machine. Warns as
 * connectServer() does. @throws LookasideError CONFIG_INVALID when a named file is unusable; STORE_UNAVAILABLE
 */
export async function openAdministration(
  config: Config,
  { taker, isByServer = false, ...options }: OpenAdministrationOptions,
): Promise<OpenedAdministration> {
  const remote = remoteOf(config);
  const asking = askingBy(options);
  // each way loads its own code: a command that asks a server elsewhere has no database
  if (remote !== null) {
    const { connectAdministration } = await import('../upstream/administration.ts');
    return { ...connectAdministration({ at: remote, ...asking }), here: null, checkedBy: NOBODY_ELSE };
  }
  if (config.database !== null) {
    const { administerDatabase } = await import('./node-administration.ts');
    return { ...(await administerDatabase(config)), checkedBy: NOBODY_ELSE };
  }
  const socketPath = socketPathOf(config);
  if (isByServer && (await isListening(socketPath))) {
    const { connectAdministration } = await import('../upstream/administration.ts');
    const server = connectAdministration({ at: { socketPath, isHeld: true }, ...asking });
    return { ...server, here: null, checkedBy: NOBODY_ELSE };
  }
  const { administerHere } = await import('./local-administration.ts');
  const { inBoundTree } = await import('./bound-tree.ts');
  const bound = await inBoundTree(config);
  const namedRoot = config.tree === 'shared' ? config.root : null;
  const local = administerHere({ config: bound, namedRoot, taker, asking });
  return { ...local, name: bound.root, here: bound };
}

const NOBODY_ELSE = () => null;
