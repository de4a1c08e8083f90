// How the configuration of a command is loaded, by what the command may do with a data directory.
import { type Config, loadConfig, loadYamlParser, type ParseYaml, SYSTEM_DATA } from '../config.ts';
import { LookasideError } from '../domain/errors.ts';
import type { DataOptions, RemoteOptions } from './command-tools.ts';
import { requireDataDirectory } from './data-directory.ts';

export interface ServeOptions {
  readonly listen?: string;
  readonly tlsCert?: string;
  readonly tlsKey?: string;
  readonly registry?: string;
  readonly acceptRollback?: boolean;
  readonly acceptMovedBack?: boolean;
}

type Options = DataOptions & RemoteOptions & ServeOptions;

/** Loaded ahead of every command; the environment stays the one that it was loaded for. */
let parseYaml: ParseYaml | null = null;

export async function prepareLoading(): Promise<void> {
  parseYaml = await loadYamlParser();
}

/** For commands that may make a data directory. */
export function load(options: Options): Config {
  return loadConfig(inputOf(options)).config;
}

/** The settings of commands that ask a server: the one that is named, or the one of this machine's data directory. */
export function loadForServer(options: Options): Config {
  return loadConfig({ ...inputOf(options), systemData: SYSTEM_DATA }).config;
}

/** For commands that make no data directory. @throws LookasideError CONFIG_INVALID when no server is named and there is none */
export function loadExisting(options: Options): Config {
  const config = loadForServer(options);
  if (config.remote.url === null && config.database === null) requireDataDirectory(config.data);
  return config;
}

/** For commands that ask no server elsewhere. @throws LookasideError CONFIG_INVALID when there is no data directory */
export function loadHere(options: Options): Config {
  const config = loadForServer(options);
  refuseDatabase(config);
  requireDataDirectory(config.data);
  return config;
}

/** @throws LookasideError NOT_OVER_POSTGRESQL for commands that know data directories alone */
export function refuseDatabase({ database }: Config): void {
  if (database === null) return;
  throw new LookasideError(
    'NOT_OVER_POSTGRESQL',
    'this command works on a data directory, and LOOKASIDE_DATABASE names a PostgreSQL instead; name a data directory with --data, or see docs/scaling.md for what takes its place',
  );
}

export function inputOf(options: Options) {
  const { data, root, listen, tlsCert, tlsKey, registry, server, tokenFile, ca } = options;
  const flags = {
    ...(data === undefined ? {} : { data }),
    ...(root === undefined ? {} : { root }),
    ...(listen === undefined ? {} : { listen }),
    ...(tlsCert === undefined ? {} : { tls_cert: tlsCert }),
    ...(tlsKey === undefined ? {} : { tls_key: tlsKey }),
    ...(registry === undefined ? {} : { registry }),
    ...(server === undefined ? {} : { url: server }),
    ...(tokenFile === undefined ? {} : { token_file: tokenFile }),
    ...(ca === undefined ? {} : { ca }),
  };
  return { flags, workingFolder: process.cwd(), parseYaml };
}
