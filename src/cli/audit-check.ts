// lookaside audit check: what a proof proves, with nothing but the key of the log.
import { LookasideError } from '../domain/errors.ts';
import { MAX_SIGNATURE_BYTES } from '../domain/limits.ts';
import { escapeTerminal } from '../domain/text.ts';
import { type CheckedProof, checkProof } from '../service/log-proofs.ts';
import { sha256 } from '../service/note-keys.ts';
import { readInput } from './input.ts';
import { EXIT, formatTable, plural, print, printJson } from './terminal.ts';

const MAX_TEXT_BYTES = 1024 * 1024;

export interface AuditCheckOptions {
  readonly file: string;
  /** A vkey, or the file that holds one. */
  readonly key: string;
  /** Likewise, of witnesses that must have cosigned. */
  readonly witnesses: readonly string[];
  /** File of the signature that the proof must be about; null: any. */
  readonly signature: string | null;
  readonly json: boolean;
}

/** @throws LookasideError PROOF_INVALID */
export async function runAuditCheck(options: AuditCheckOptions): Promise<number> {
  const text = await readText(options.file, 'name a file that lookaside audit prove has written');
  const witnesses: string[] = [];
  for (const witness of options.witnesses) witnesses.push(await readKey(witness));
  const checked = checkProof(text, { key: await readKey(options.key), witnesses });
  if (options.signature !== null) await compareSignature(options.signature, checked);
  if (options.json) printJson(checked);
  else print(formatChecked(options.file, checked));
  return EXIT.done;
}

async function compareSignature(file: string, { event }: CheckedProof): Promise<void> {
  const bytes = await readInput(file, {
    maxBytes: MAX_SIGNATURE_BYTES,
    remedy: 'name the file of a signature',
  });
  const digestHex = Buffer.from(sha256(bytes)).toString('hex');
  if (digestHex === event.signatureSha256) return;
  throw new LookasideError(
    'PROOF_INVALID',
    `the proof is about another signature: that of ${String(event.signatureSha256)}, and ${file} is ${digestHex}`,
  );
}

function formatChecked(file: string, { origin, index, size, event, cosigned }: CheckedProof): string {
  const facts = Object.entries(event)
    .filter(([name, value]) => value !== null && !['v', 'private'].includes(name))
    .map(([name, value]) => [name, String(value)]);
  return [
    formatTable(facts),
    '',
    ...cosigned.map(({ witness, at }) =>
      escapeTerminal(`cosigned by ${witness}${at === null ? '' : ` at ${at.toISOString()}`}`),
    ),
    escapeTerminal(
      `${file}: this is entry ${index} of the log ${origin}, which has signed it in a tree of ${plural(size, 'entry').replace(/entrys$/, 'entries')}.`,
    ),
  ].join('\n');
}

/** A vkey as it is given, or from the file of that name. */
export async function readKey(given: string): Promise<string> {
  if (/^[^+]+\+[0-9a-f]{8}\+/.test(given)) return given;
  return (
    await readText(given, 'give a verifier key, or name a file that holds one, as GET /log/key gives it')
  ).trim();
}

export async function readText(file: string, remedy: string): Promise<string> {
  const bytes = await readInput(file, { maxBytes: MAX_TEXT_BYTES, remedy });
  return Buffer.from(bytes).toString('utf8');
}
