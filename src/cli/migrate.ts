// lookaside migrate: a data directory into the database that several nodes share, or back.
import { join } from 'node:path';
import { inBoundTree } from '../compose/bound-tree.ts';
import { createLog } from '../compose/log.ts';
import { type Config, type DatabaseSettings, shownDatabase } from '../config.ts';
import type { MoveProgress, MoveResult } from '../domain/moving.ts';
import { escapeTerminal } from '../domain/text.ts';
import { countsLine, progressLine } from './progress.ts';
import { EXIT, plural, print, printJson } from './terminal.ts';
import { thisCommand } from './this-command.ts';

export interface MigrateCommandOptions {
  readonly isDryRun: boolean;
  readonly withoutMirrors: boolean;
  readonly json: boolean;
}

/** `from`: of the data directory; `to`: of the database. */
export async function runMigrate(
  from: Config,
  to: Pick<Config, 'database'>,
  { isDryRun, withoutMirrors, json }: MigrateCommandOptions,
): Promise<number> {
  if (to.database === null) throw new Error('a database is named');
  const { migrateDirectory } = await import('../compose/moving.ts');
  const config = await inBoundTree(from);
  const scanning = countsLine('reading');
  const moving = progressLine(({ step, done }: MoveProgress) => `moving: ${step}, ${plural(done, 'row')}`);
  const result = await migrateDirectory({
    config,
    url: to.database.url,
    ...{ isDryRun, withoutMirrors },
    taker: thisCommand(),
    log: createLog('warn'),
    onScan: scanning.show,
    onProgress(progress) {
      scanning.end();
      moving.show(progress);
    },
  }).finally(() => {
    scanning.end();
    moving.end();
  });
  const database = shownDatabase(to) ?? '';
  const logKey = join(config.data, 'log.key');
  if (json) {
    printJson({ data: config.data, database, logKey, ...result });
    return EXIT.done;
  }
  const { outcome } = result;
  printMoved(result);
  if (result.withdrawn > 0)
    print(
      `${outcome === 'would-move' ? 'would be withdrawn' : 'withdrawn'} before: ${plural(result.withdrawn, 'signature')} of keys that were revoked with --withdraw`,
    );
  if (result.leftOut > 0)
    print(
      `left out: ${plural(result.leftOut, 'file')} of the trees that no client gets; lookaside fsck names them`,
    );
  if (result.lost > 0)
    print(
      `not there any more: ${plural(result.lost, 'upload')}, of which only the record is moved; lookaside fsck names them`,
    );
  for (const { day, reason } of result.daysLeftOut)
    print(escapeTerminal(`left out: the reads of ${day}: ${reason}`));
  printMirrors(result, 'every node needs');
  if (outcome === 'would-move') return EXIT.done;
  const witnessKey =
    (result.counts.witnessed ?? 0) === 0
      ? ''
      : `, and LOOKASIDE_WITNESS_KEY_FILE, a copy of ${join(config.data, 'witness.key')}`;
  print(
    escapeTerminal(
      `Start each node with LOOKASIDE_DATABASE=${database} and LOOKASIDE_LOG_KEY_FILE, a copy of ${logKey}${witnessKey}. Start no server on ${config.data} any more: it would take uploads that no node serves.`,
    ),
  );
  return EXIT.done;
}

export async function runMoveBack(
  config: Config,
  database: DatabaseSettings,
  { isDryRun, withoutMirrors, json }: MigrateCommandOptions,
): Promise<number> {
  const { moveBack } = await import('../compose/moving-back.ts');
  const moving = progressLine(({ step, done }: MoveProgress) => `moving: ${step}, ${plural(done, 'row')}`);
  const result = await moveBack({
    ...{ config, database, isDryRun, withoutMirrors, taker: thisCommand() },
    onProgress: moving.show,
  }).finally(moving.end);
  const name = shownDatabase({ database }) ?? '';
  if (json) {
    printJson({ data: config.data, database: name, ...result });
    return EXIT.done;
  }
  printMoved(result);
  printMirrors(result, 'the server needs');
  if (result.outcome === 'would-move') return EXIT.done;
  const witnessKey =
    (result.counts.witnessed ?? 0) === 0
      ? ''
      : `Copy the witness key of the nodes to ${join(config.data, 'witness.key')}. Then start`;
  print(
    escapeTerminal(
      `${witnessKey || 'Start'} the server with: lookaside serve --data ${config.data}, and without LOOKASIDE_DATABASE. No node starts on ${name} any more, because the server would not serve what a node takes.`,
    ),
  );
  return EXIT.done;
}

function printMoved({ counts, fillers, log, outcome }: MoveResult): void {
  const count = (table: string, one: string) => plural(counts[table] ?? 0, one);
  const what = [
    `${plural((counts.signature ?? 0) - fillers, 'signature')} of ${count('image', 'image')}`,
    count('openpgp_key', 'key'),
    count('token', 'token'),
    count('signer', 'signer'),
    count('upload', 'upload'),
    count('tombstone', 'withdrawal'),
    count('audit_event', 'audit event'),
    `${counts.access_read ?? 0} rows of reads`,
  ].join(', ');
  const how = { moved: 'moved', 'moved-before': 'was moved before', 'would-move': 'would move' }[outcome];
  print(escapeTerminal(`${how}: ${what}`));
  if (outcome !== 'moved') return;
  print(
    `compared: every count, the bytes of every signature, and the log of ${log.size} events with root ${log.root}`,
  );
}

function printMirrors(
  { mirrors, mirrorsLeft }: MoveResult & { readonly mirrorsLeft: readonly string[] },
  whoNeeds: string,
): void {
  for (const { name, images, signatures, sets, files } of mirrors) {
    const what = `${plural(signatures, 'signature')} of ${plural(images, 'image')}, and what its upstreams had of ${plural(sets, 'image')}`;
    print(escapeTerminal(`of these from the mirror ${name}: ${what}`));
    if (files.length > 0) print(escapeTerminal(`${whoNeeds} the files that it names: ${files.join(', ')}`));
  }
  for (const name of mirrorsLeft) print(escapeTerminal(`left behind: the mirror ${name}`));
}
