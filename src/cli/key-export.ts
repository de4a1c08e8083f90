// lookaside key export: the keys in one file, as the clients that are to have it can read it.
import type { Config } from '../config.ts';
import { LookasideError } from '../domain/errors.ts';
import type { KeyReaderName } from '../domain/key-readers.ts';
import { escapeTerminal } from '../domain/text.ts';
import { administer } from './administer.ts';
import { EXIT, printJson, tell } from './terminal.ts';

export interface KeyExportOptions {
  /** Fingerprints or key IDs; empty: all keys. */
  readonly names: readonly string[];
  readonly reader: KeyReaderName;
  readonly json: boolean;
}

/** Writes armour to standard output. EXIT.failed when a key is left out; standard error names it. */
export async function runKeyExport(
  config: Config,
  { names, reader, json }: KeyExportOptions,
): Promise<number> {
  const file = await administer(config, ({ keys }) => keys.export(names, reader));
  const { armored, leftOut } = file;
  if (armored === null && leftOut.length === 0) {
    throw new LookasideError('NOT_FOUND', 'no key is registered yet; add one with: lookaside key add FILE');
  }
  if (json) printJson(file);
  else if (armored !== null) process.stdout.write(escapeLines(armored));
  for (const { fingerprint, reason } of leftOut) tell(`${fingerprint} is left out: ${reason}`);
  if (!json && armored === null) tell('no key is left to be exported; see: lookaside key list');
  return leftOut.length === 0 ? EXIT.done : EXIT.failed;
}

/** The armour may come from a server that is not to be trusted with this terminal. */
function escapeLines(text: string): string {
  return text.split('\n').map(escapeTerminal).join('\n');
}
