import { readFileSync } from 'node:fs';

/** The version in package.json, three folders above the built file. */
export const VERSION = readVersion(new URL('../../../package.json', import.meta.url));

function readVersion(url: URL): string {
  const { version }: { version: string } = JSON.parse(readFileSync(url, 'utf8'));
  return version;
}
