// lookaside backup and restore: the data directory into a folder, and back into an empty one.
import { constants, getPriority, setPriority } from 'node:os';
import { resolve, sep } from 'node:path';
import { inBoundTree } from '../compose/bound-tree.ts';
import { createLog } from '../compose/log.ts';
import { backUp, restore, sitesWithMirrors } from '../compose/offline.ts';
import { compose } from '../compose/server.ts';
import { sitesOf } from '../compose/site.ts';
import type { Config } from '../config.ts';
import { LookasideError } from '../domain/errors.ts';
import { escapeTerminal } from '../domain/text.ts';
import { nameIn } from './image-name.ts';
import { countsLine, formatBytes } from './progress.ts';
import { EXIT, plural, print, printJson } from './terminal.ts';
import { thisCommand } from './this-command.ts';
import { VERSION } from './version.ts';

export interface RestoreOptions {
  readonly folder: string;
  readonly json: boolean;
}

export interface BackupOptions extends RestoreOptions {
  /** The signatures of mirrors too, which can be fetched again. */
  readonly withMirrors: boolean;
}

/** EXIT.failed when damaged signatures are not in it. */
export async function runBackup(
  given: Config,
  { folder: named, json, withMirrors }: BackupOptions,
): Promise<number> {
  const config = await inBoundTree(given);
  const folder = resolve(named);
  refuseWithin(config, folder);
  letServerGoFirst();
  const line = countsLine('backing up');
  const taker = thisCommand();
  const result = await backUp({
    data: config.data,
    sites: withMirrors ? sitesWithMirrors(config) : sitesOf(config),
    folder,
    version: VERSION,
    taker,
    onProgress: line.show,
  }).finally(line.end);
  const { manifest, copied, damaged } = result;
  const { tree, state, signatures } = manifest;
  if (json) printJson({ folder, ...manifest, copied, damaged });
  else {
    for (const { site, path } of damaged) {
      print(
        escapeTerminal(
          `left out  ${nameIn(site, path)}  its bytes are damaged; lookaside fsck tells what to do about it`,
        ),
      );
    }
    print(
      escapeTerminal(
        `${folder}: state.db (${formatBytes(state.sizeBytes)}) up to audit event ${state.auditSeq}, ${
          tree === 'shared'
            ? 'without the shared tree, except for the uploads that state.db keeps'
            : `${plural(signatures.count, 'signature')} of ${plural(signatures.images, 'image')}, ${copied} of them new`
        }`,
      ),
    );
  }
  return damaged.length === 0 ? EXIT.done : EXIT.failed;
}

/** Lowers the priority of this thread and of those it makes later; libuv's threads exist already. A lower priority stays. */
function letServerGoFirst(): void {
  const { PRIORITY_BELOW_NORMAL } = constants.priority;
  if (getPriority() < PRIORITY_BELOW_NORMAL) setPriority(PRIORITY_BELOW_NORMAL);
}

/** A backup in the tree would be served, and a backup in the data directory is lost together with it. */
function refuseWithin({ data, root }: Config, folder: string): void {
  const around = [data, root].find((own) => isWithin(own, folder) || isWithin(folder, own));
  if (around === undefined) return;
  throw new LookasideError(
    'CONFIG_INVALID',
    `${folder} lies in ${around} or around it, and a backup would be lost together with it; name a folder elsewhere`,
  );
}

function isWithin(folder: string, path: string): boolean {
  return path === folder || path.startsWith(folder.endsWith(sep) ? folder : folder + sep);
}

/**
 * A restored backup is older than the checkpoint that is kept elsewhere. The administrator knows that, so the next start must
 * not be refused for it. Returns what was accepted, or null.
 */
async function goOn(config: Config): Promise<string | null> {
  if (config.checkpointFile === null) return null;
  await using composed = await compose({
    config,
    current: () => config,
    sites: sitesOf(config),
    log: createLog('error'),
    taker: thisCommand(),
    acceptRollback: true,
  });
  return composed.auditLog.accepted;
}

export async function runRestore(config: Config, { folder: given, json }: RestoreOptions): Promise<number> {
  const folder = resolve(given);
  const line = countsLine('restoring');
  const taker = thisCommand();
  const manifest = await restore({
    data: config.data,
    sites: sitesOf(config),
    folder,
    taker,
    onProgress: line.show,
  }).finally(line.end);
  const accepted = await goOn(config);
  const { tree, state, signatures, startedAt } = manifest;
  if (json) {
    printJson({ data: config.data, ...manifest, acceptedRollback: accepted });
    return EXIT.done;
  }
  const stored = tree === 'owned' ? `, ${signatures.count} signatures of ${signatures.images} images` : '';
  print(`${config.data}: state.db up to audit event ${state.auditSeq}${stored}`);
  print(`What came after ${startedAt} is not in it.`);
  if (accepted !== null)
    print(escapeTerminal(`The log of audit events goes on from there, and an event says so: ${accepted}.`));
  return EXIT.done;
}
