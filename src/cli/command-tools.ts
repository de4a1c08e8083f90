// What the groups of commands share: the options that many have, and how the configuration of a command is loaded.
import { type Command, Option } from 'commander';

export interface DataOptions {
  readonly data?: string;
  readonly root?: string;
}

/** The options of commands that talk to a server, which may be that of the data directory. */
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
}

export type JsonOptions = ServerOrDataOptions & { readonly json?: boolean };

/** The heading of the options that say which server or data directory a command is about; they stand below its own. */
export const COMMON_OPTIONS = 'Server and data directory:';

const common = (flags: string, description: string) =>
  new Option(flags, description).helpGroup(COMMON_OPTIONS);

export function withData(command: Command): Command {
  return command
    .addOption(common('--data <folder>', 'where everything but a shared tree lies (LOOKASIDE_DATA, ./data)'))
    .addOption(
      common(
        '--root <folder>',
        'a tree that podman or rsync write to as well (LOOKASIDE_ROOT, DATA/sigstore)',
      ),
    );
}

export function withServer(command: Command): Command {
  return command
    .addOption(common('--server <url>', 'the server, with the path below which it serves (LOOKASIDE_URL)'))
    .addOption(
      common('--token-file <file>', 'the file that holds the token (LOOKASIDE_TOKEN_FILE, LOOKASIDE_TOKEN)'),
    )
    .addOption(common('--ca <file>', 'certificates in PEM to trust beside those of Node.js (LOOKASIDE_CA)'));
}

export function withRemote(command: Command): Command {
  return withServer(command).addOption(
    common(
      '--data <folder>',
      'instead of --server: the data directory of a server that runs on this machine (LOOKASIDE_DATA, ./data)',
    ),
  );
}

export function withServerOrData(command: Command): Command {
  return withData(withServer(command));
}
