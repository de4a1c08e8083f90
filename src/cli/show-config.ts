// lookaside config: the settings that a server started from here would have.
import type { LoadedConfig } from '../config.ts';
import { EXIT, formatTable, print, printJson } from './terminal.ts';

export function runConfig({ settings }: LoadedConfig, json: boolean): number {
  if (json) {
    printJson(Object.fromEntries(settings.map(({ name, value, source }) => [name, { value, source }])));
    return EXIT.done;
  }
  const rows = settings.map(({ name, value, source }) => [name, value === '' ? '(none)' : value, source]);
  print(formatTable([['SETTING', 'VALUE', 'FROM'], ...rows]));
  return EXIT.done;
}
