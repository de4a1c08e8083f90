// Log-ins through the OpenID providers that LOOKASIDE_OIDC_LOGIN names.
import { randomBytes } from 'node:crypto';
import { resolve } from 'node:path';
import { type Config, loadYaml } from '../config.ts';
import { LookasideError } from '../domain/errors.ts';
import { type LogInClient, type LogInProvider, parseLogInProviders } from '../domain/log-in-provider.ts';
import type { Clock, Log } from '../domain/ports.ts';
import { createLogIns, type LogIns, type LogInsOptions, NO_LOG_INS } from '../service/log-ins.ts';
import { openIssuerDocuments } from '../upstream/issuer-documents.ts';
import { readCaOf, readNamed } from './remote.ts';

export interface OpenedLogIns extends LogIns {
  close(): Promise<void>;
}

/** None when the setting is absent. @throws LookasideError CONFIG_INVALID naming the file and what is wrong in it */
export async function readLogInProviders(
  config: Pick<Config, 'oidcLoginFile' | 'publicUrl'>,
): Promise<readonly LogInProvider[]> {
  const { oidcLoginFile: file, publicUrl } = config;
  if (file === null) return [];
  if (publicUrl === null)
    throw invalid(
      'LOOKASIDE_OIDC_LOGIN is set, and LOOKASIDE_PUBLIC_URL is not; set it to the URL by which browsers reach this server, to which providers lead back',
    );
  const parse = await loadYaml();
  const text = readNamed('LOOKASIDE_OIDC_LOGIN', file);
  try {
    return parseLogInProviders(yamlIn(text, parse), (name) => secretIn(resolve(file, '..', name)));
  } catch (error) {
    if (!(error instanceof LookasideError)) throw error;
    throw invalid(`LOOKASIDE_OIDC_LOGIN: ${file}: ${error.message}`, error);
  }
}

interface Parts extends Pick<LogInsOptions, 'sessions' | 'refusals'> {
  readonly providers: readonly LogInProvider[];
  readonly config: Config;
  readonly clock: Clock;
  readonly log: Log;
}

/** Asks no provider before somebody logs in through it. */
export function openLogIns({ providers, config, clock, log, sessions, refusals }: Parts): OpenedLogIns {
  const { publicUrl } = config;
  if (providers.length === 0 || publicUrl === null) return { ...NO_LOG_INS, close: async () => undefined };
  const documents = openIssuerDocuments({ ca: readCaOf(config), hasProxies: config.remote.hasProxies });
  let opened: Promise<LogInClient> | null = null;
  const open = async () => {
    const [{ createLogInClient }, { createOidcVerifier }] = await Promise.all([
      import('../identity/log-in-client.ts'),
      import('../identity/token-verifier.ts'),
    ]);
    const verifier = createOidcVerifier({
      read: documents.read,
      clock,
      onFailure: (issuer, error) =>
        log.warn({ issuer, err: error }, 'an OpenID provider could not be asked for its keys'),
    });
    return createLogInClient({ ask: documents.ask, verifier, monotonicMs: clock.monotonicMs });
  };
  const whenOpen = () => {
    opened ??= open();
    return opened;
  };
  const client: LogInClient = {
    begin: async (...begun) => (await whenOpen()).begin(...begun),
    redeem: async (...ended) => (await whenOpen()).redeem(...ended),
  };
  return {
    ...createLogIns({ providers, client, publicUrl, sessions, refusals, randomBytes, log }),
    close: documents.close,
  };
}

function yamlIn(text: string, parse: (text: string) => unknown): unknown {
  try {
    return parse(text);
  } catch (error) {
    const [line = ''] = (error instanceof Error ? error.message : String(error)).split('\n');
    throw invalid(`it is not YAML: ${line.replace(/:$/, '')}`, error);
  }
}

function secretIn(file: string): string {
  const text = readNamed('client_secret_file', file).trim();
  if (/^[\x20-\x7e]{1,512}$/.test(text)) return text;
  throw invalid(`what is in ${file} is not a secret of a client; wanted 1 to 512 characters on one line`);
}

function invalid(message: string, cause?: unknown): LookasideError {
  return new LookasideError('CONFIG_INVALID', message, { cause });
}
