// lookaside audit forget.
import { systemClock } from '../compose/clock.ts';
import type { Config } from '../config.ts';
import { LookasideError } from '../domain/errors.ts';
import { parseFilter } from '../domain/record-question.ts';
import { quoted } from '../domain/text.ts';
import { administer } from './administer.ts';
import { EXIT, plural, print, printJson } from './terminal.ts';

export interface ForgetOptions {
  readonly actor: string | null;
  readonly address: string | null;
  /** As given on the command line. */
  readonly before: string;
  readonly json: boolean;
}

export async function runForget(
  config: Config,
  { actor, address, before, json }: ForgetOptions,
): Promise<number> {
  const text = actor ?? address;
  if (text === null) {
    throw new LookasideError(
      'CONFIG_INVALID',
      'the person to forget is not named; wanted --actor NAME or --address ADDRESS',
    );
  }
  const texts = { actor: actor ?? undefined, address: address ?? undefined, since: before };
  const parsed = parseFilter(texts, systemClock.now());
  if (!('filter' in parsed) || parsed.filter.since === null) {
    const [name, given] =
      'wrong' in parsed && parsed.wrong !== 'since' ? [parsed.wrong, text] : ['before', before];
    const wanted = 'wanted' in parsed ? parsed.wanted : 'a time';
    throw new LookasideError('CONFIG_INVALID', `--${name} is ${quoted(given)}; wanted ${wanted}`);
  }
  const { since: at } = parsed.filter;
  const person = { kind: actor === null ? 'address' : 'actor', text } as const;
  const forgotten = await administer(config, ({ records }) => records.forget(person, at));
  if (json) printJson(forgotten);
  else {
    const { events, reads } = forgotten;
    print(
      `${plural(events, 'event')} no longer ${events === 1 ? 'says' : 'say'} who it was; rows of reads that are gone: ${reads}`,
    );
    print(
      'Backups and the access lines that the server printed still have it: delete what is old enough there too.',
    );
  }
  return EXIT.done;
}
