// lookaside key rotation: what the new key has signed, and what is left for it.
import type { Config } from '../config.ts';
import type { RotationPart, RotationWork } from '../domain/rotation.ts';
import { escapeJson, escapeTerminal } from '../domain/text.ts';
import { administer } from './administer.ts';
import { nameIn } from './image-name.ts';
import { EXIT, errorsWithin, formatTable, plural, print, tell } from './terminal.ts';

export interface KeyRotationOptions {
  readonly old: string;
  readonly next: string;
  readonly json: boolean;
}

/** The work list may have a million lines: each is printed as it comes. */
export async function runKeyRotation(
  config: Config,
  { old, next, json }: KeyRotationOptions,
): Promise<number> {
  const show = json ? printJsonParts : printParts;
  await administer(config, ({ keys }) => show(keys.rotation(old, next)));
  return EXIT.done;
}

async function printParts(parts: AsyncIterable<RotationPart>): Promise<void> {
  let isFirst = true;
  for await (const part of parts) {
    if (!process.stdout.writable) return; // who read our output has seen enough
    if ('images' in part) {
      const { images } = part;
      print(
        formatTable([
          ['IMAGES', 'SIGNED BY'],
          [String(images.old), `${part.old}, the old key, alone`],
          [String(images.both), 'both'],
          [String(images.new), `${part.new}, the new key, alone`],
        ]),
      );
      for (const gap of part.gaps) tell(`some may be missing: ${gap}`);
    } else if ('work' in part) {
      print(`${isFirst ? '\n' : ''}${part.work.map(lineOf).join('\n')}`);
      isFirst = false;
    } else if (part.end.work === 0)
      print('\nNothing is left: what the old key signed, the new key has signed too.');
    else
      tell(
        `${plural(part.end.work, 'signature')} left to make: sign each image again with the new key under the same reference, and push it`,
      );
  }
}

function lineOf({ site, image, reference }: RotationWork): string {
  return escapeTerminal(`${nameIn(site, image)}  ${reference}`);
}

/** One whole JSON value in any case. */
async function printJsonParts(parts: AsyncIterable<RotationPart>): Promise<void> {
  let count: number | null = null;
  try {
    for await (const part of parts) {
      if (!process.stdout.writable) return;
      if ('images' in part) {
        print(`${escapeJson(JSON.stringify(part)).slice(0, -1)},"work":[`);
        count = 0;
      } else if ('work' in part) {
        const lines = part.work.map((work) => escapeJson(JSON.stringify(work)));
        print(`${count === 0 ? '' : ','}${lines.join('\n,')}`);
        count = (count ?? 0) + lines.length;
      } else print(']}');
    }
  } catch (error) {
    if (count !== null) print(`],${escapeJson(JSON.stringify(errorsWithin(error))).slice(1)}`);
    throw error;
  }
}
