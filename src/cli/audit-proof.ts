// lookaside audit verify and prove: whether the log of audit events is whole, and proofs of single events.
import { setTimeout as wait } from 'node:timers/promises';
import { type OpenedLog, openAuditedLog } from '../compose/audit-proof.ts';
import type { Config } from '../config.ts';
import { LookasideError } from '../domain/errors.ts';
import { imageFolder } from '../domain/image.ts';
import { escapeTerminal, quoted } from '../domain/text.ts';
import { proveEvent } from '../service/log-proofs.ts';
import { type VerifiedLog, verifyLog } from '../service/log-verify.ts';
import { readKey, readText } from './audit-check.ts';
import { progressLine } from './progress.ts';
import { placeOf, writeProof } from './proof-files.ts';
import { EXIT, formatTable, plural, print, printJson, QUESTION_PATIENCE_MS, tellRetry } from './terminal.ts';

const ASKING = { onRetry: tellRetry, patienceMs: QUESTION_PATIENCE_MS };

export interface AuditVerifyOptions {
  /** File of an older checkpoint. */
  readonly from: string | null;
  /** A vkey, or the file that holds one. */
  readonly key: string | null;
  readonly json: boolean;
}

/** EXIT.failed when anything is not what was signed. */
export async function runAuditVerify(
  config: Config,
  { from, key, json }: AuditVerifyOptions,
): Promise<number> {
  const older =
    from === null
      ? null
      : await readText(from, 'name a file that holds a checkpoint, as GET /log/checkpoint gives it');
  const vkey = key === null ? null : await readKey(key);
  await using log = await openAuditedLog(config, ASKING);
  const line = progressLine(
    (progress: { readonly events: number; readonly of: number }) =>
      `verifying: ${progress.events} of ${plural(progress.of, 'event')}`,
  );
  const onProgress = (events: number, of: number) => line.show({ events, of });
  const verified = await verifyLog(log, { vkey, from: older, onProgress }).finally(line.end);
  if (json) printJson({ log: log.name, ...verified });
  else print(formatVerified(log.name, verified));
  return verified.faults.length === 0 ? EXIT.done : EXIT.failed;
}

const SHOWN_FAULTS = 20;

/** The first fault first, and what was looked at. */
function formatVerified(name: string, log: VerifiedLog): string {
  const { origin, vkey, size, root, checkpoints, privateParts, forgotten, continues, faults } = log;
  const faultLines = faults.slice(0, SHOWN_FAULTS).map(({ kind, message }) => `${kind}: ${message}`);
  const more =
    faults.length > SHOWN_FAULTS ? [`and ${faults.length - SHOWN_FAULTS} more; --json shows them`] : [];
  const facts = formatTable([
    ['log', origin ?? 'none yet'],
    ['key', vkey ?? '-'],
    ['events', String(size)],
    ['root', root],
    ['checkpoints', String(checkpoints)],
    ['who it was', `${privateParts} as their events bind it, ${forgotten} forgotten or not shown`],
    ...(continues === null
      ? []
      : [['goes on from', `the checkpoint of ${plural(continues, 'event')} that was given`]]),
  ]);
  const end =
    faults.length === 0
      ? `${name}: every event, the tree and every checkpoint agree.`
      : `${name}: ${plural(faults.length, 'fault')}. Compare with a backup and with checkpoints that others have kept: lookaside audit verify --from FILE.`;
  return [facts, '', ...[...faultLines, ...more, end].map(escapeTerminal)].join('\n');
}

export interface AuditProveOptions {
  /** The number of an event, or the path of a signature. */
  readonly what: string;
  /** Where the proof goes; null: standard output. */
  readonly output: string | null;
  readonly json: boolean;
}

export async function runAuditProve(
  config: Config,
  { what, output, json }: AuditProveOptions,
): Promise<number> {
  await using log = await openAuditedLog(config, ASKING);
  const seq = await seqOf(log, what);
  const proof = await proveEvent(log, seq, wait);
  if (output !== null) await writeProof(output, proof);
  if (json) printJson({ seq, index: seq - 1, file: output, proof });
  else if (output === null) process.stdout.write(proof);
  else print(escapeTerminal(`${output}: the proof of audit event ${seq}`));
  return EXIT.done;
}

async function seqOf(log: OpenedLog, what: string): Promise<number> {
  if (/^[1-9][0-9]{0,14}$/.test(what)) return Number(what);
  const { image, number } = placeOf(what);
  const served = await log.servedSha256(image, number);
  if (served === null) throw new LookasideError('NOT_FOUND', `there is no signature ${quoted(what)}`);
  const seq = await log.seqOfUpload(image.site, imageFolder(image), served);
  if (seq !== null) return seq;
  throw new LookasideError(
    'NOT_FOUND',
    `${quoted(what)} was neither uploaded nor imported by this server, so no event is about it`,
  );
}
