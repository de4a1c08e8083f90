// lookaside key refresh: what is new in the certificates of registered keys, from a file, a key server or the user ids' domains.
import { connectKeySources } from '../compose/client.ts';
import type { Config } from '../config.ts';
import type { KeyAdministration } from '../domain/administration.ts';
import { isLookasideError, LookasideError } from '../domain/errors.ts';
import { type KeyResult, parseKeyName, type RefreshedKeys, type ShownKey } from '../domain/key.ts';
import { KEY_SOURCE_WANTED, type KeySource, keySourceText, parseKeySource } from '../domain/key-source.ts';
import { MAX_CERTIFICATES_BYTES } from '../domain/limits.ts';
import { administer } from './administer.ts';
import { readInput } from './input.ts';
import { formatResults } from './key.ts';
import { EXIT, plural, print, printJson, tell } from './terminal.ts';

export interface KeyRefreshOptions {
  /** Fingerprint or key ID; null: all. */
  readonly name: string | null;
  /** A file, `-`, `wkd` or the URL of a key server; null: as LOOKASIDE_KEY_REFRESH says. */
  readonly from: string | null;
  readonly json: boolean;
}

interface FromOne {
  readonly file: string;
  readonly result: KeyResult;
}

/** EXIT.failed when a certificate was refused or a source failed; the others are merged all the same. */
export async function runKeyRefresh(
  config: Config,
  { name, from, json }: KeyRefreshOptions,
): Promise<number> {
  const sources = from === null ? (config.keyRefresh?.sources ?? []) : [parseKeySource(from)];
  const named = sources.filter((source) => source !== null);
  if (from === null && named.length === 0) {
    throw new LookasideError(
      'CONFIG_INVALID',
      `nothing says where from: give --from with a file, ${KEY_SOURCE_WANTED}; or set LOOKASIDE_KEY_REFRESH`,
    );
  }
  if (from !== null && named.length === 0 && /^[a-z]+:\/\//i.test(from))
    throw new LookasideError(
      'CONFIG_INVALID',
      `${from} is not a key server; wanted a file, ${KEY_SOURCE_WANTED}`,
    );
  const file = from !== null && named.length === 0 ? await readFileOf(from) : null;
  const done = await administer(config, async ({ keys }) => {
    if (file !== null) return { ...(await refreshFrom(keys, file, { name, from: from ?? '' })), failed: [] };
    return refreshFromNet(config, keys, { name, sources: named });
  });
  const { results, ignored, failed } = done;
  if (json)
    printJson({ results: results.map((one) => ({ from: one.file, ...one.result })), ignored, failed });
  else {
    if (results.length > 0) print(formatResults(results));
    else print('Nothing was found for the registered keys.');
    if (ignored > 0)
      tell(`${plural(ignored, 'certificate')} of keys that are not registered, or not meant, left out`);
  }
  for (const failure of failed) tell(failure);
  const isRefused = results.some(({ result }) => result.result === 'refused');
  return isRefused || failed.length > 0 ? EXIT.failed : EXIT.done;
}

interface Refreshed {
  readonly results: readonly FromOne[];
  readonly ignored: number;
}

async function readFileOf(file: string): Promise<Uint8Array> {
  const remedy = 'name a file of public keys, which this writes: gpg --export FINGERPRINT > FILE';
  const bytes = await readInput(file, { maxBytes: MAX_CERTIFICATES_BYTES, remedy });
  if (bytes.length <= MAX_CERTIFICATES_BYTES) return bytes;
  throw new LookasideError('TOO_LARGE', `${file} has more than ${MAX_CERTIFICATES_BYTES} bytes; ${remedy}`);
}

async function refreshFrom(
  keys: Pick<KeyAdministration, 'refresh'>,
  bytes: Uint8Array,
  { name, from }: { readonly name: string | null; readonly from: string },
): Promise<Refreshed> {
  const { results, ignored }: RefreshedKeys = await keys.refresh(bytes, name === null ? [] : [name]);
  return { results: results.map((result) => ({ file: from, result })), ignored };
}

async function refreshFromNet(
  config: Config,
  keys: Pick<KeyAdministration, 'list' | 'show' | 'refresh'>,
  { name, sources }: { readonly name: string | null; readonly sources: readonly KeySource[] },
): Promise<Refreshed & { readonly failed: readonly string[] }> {
  const wanted: readonly ShownKey[] =
    name === null ? await keys.list() : [await keys.show(parseKeyName(name))];
  const opened = await connectKeySources(config);
  const results: FromOne[] = [];
  const failed: string[] = [];
  let ignored = 0;
  try {
    for (const source of sources) {
      for (const key of wanted) {
        try {
          const bytes = await opened.fetch(source, key);
          if (bytes === null) continue;
          const one = { name: key.fingerprint, from: keySourceText(source) };
          const refreshed = await refreshFrom(keys, bytes, one);
          results.push(...refreshed.results);
          ignored += refreshed.ignored;
        } catch (error) {
          if (!isLookasideError(error, 'UPSTREAM_UNAVAILABLE') && !isLookasideError(error, 'REQUEST_INVALID'))
            throw error;
          failed.push(`${key.fingerprint}: ${error.message}`);
        }
      }
    }
  } finally {
    await opened.close();
  }
  return { results, ignored, failed };
}
