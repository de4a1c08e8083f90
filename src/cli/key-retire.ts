// lookaside key retire.
import type { Config } from '../config.ts';
import type { ShownKey } from '../domain/key.ts';
import { escapeTerminal } from '../domain/text.ts';
import { administer } from './administer.ts';
import { EXIT, print, printJson } from './terminal.ts';

export interface KeyRetireOptions {
  /** Fingerprint or key ID. */
  readonly name: string;
  readonly undo: boolean;
  readonly json: boolean;
}

export async function runKeyRetire(config: Config, { name, undo, json }: KeyRetireOptions): Promise<number> {
  const key = await administer(config, ({ keys }) => (undo ? keys.unretire(name) : keys.retire(name)));
  if (json) printJson(key);
  else print(formatRetirement(key));
  return EXIT.done;
}

/** What the retirement of the key, or its end, means. */
function formatRetirement({ fingerprint, userIds, retiredAt, state }: ShownKey): string {
  const [who] = userIds;
  const key = who === undefined ? fingerprint : `${fingerprint} (${who})`;
  return (retiredAt === null ? inForce(key, state) : retired(key, fingerprint, retiredAt))
    .map(escapeTerminal)
    .join('\n');
}

function retired(key: string, fingerprint: string, at: Date): readonly string[] {
  return [
    `The key ${key} is retired since ${at.toISOString()}. New signatures by it are refused from now on.`,
    `What it has signed is served and counts as before. To undo this: lookaside key retire ${fingerprint} --undo`,
  ];
}

function inForce(key: string, state: ShownKey['state']): readonly string[] {
  const first = `The key ${key} is not retired.`;
  return state === 'valid'
    ? [`${first} New signatures by it are taken.`]
    : [`${first} New signatures by it are refused all the same: it is ${state}.`];
}
