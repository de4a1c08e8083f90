// What groups of commands in files of their own share with the program: options, and how a configuration is loaded.
import type { Command } from 'commander';
import type { Config } from '../config.ts';

export interface DataOptions {
  readonly data?: string;
  readonly root?: string;
}

/** Of commands that talk to a server, perhaps that of the data directory. */
export interface RemoteOptions {
  readonly server?: string;
  readonly tokenFile?: string;
  readonly ca?: string;
  readonly data?: string;
}

/** The options of commands that administer a server, or the data directory of this machine. */
export type ServerOrDataOptions = DataOptions & RemoteOptions;

/** From the program, for a group of commands in a file of its own. */
export interface CommandTools {
  readonly finish: (exitCode: number) => void;
  readonly withServerOrData: (command: Command) => Command;
  /** For commands that make no data directory. @throws LookasideError CONFIG_INVALID when no server is named and there is none */
  readonly loadExisting: (options: ServerOrDataOptions) => Config;
}
