// The command line: its words, its options, its exit codes.
import { Command, CommanderError, Option } from 'commander';
import { type Config, loadConfig } from '../config.ts';
import { ROLES, type Role } from '../domain/ports.ts';
import { runFsck } from './fsck.ts';
import { runKeyAdd, runKeyList, runKeyShow } from './key.ts';
import { runReindex } from './reindex.ts';
import { runConfig } from './show-config.ts';
import { EXIT, exitCodeOf } from './terminal.ts';
import { runTokenCreate, runTokenList, runTokenRevoke } from './token.ts';
import { VERSION } from './version.ts';

/** Runs one command to its end; the exit code. */
export async function runProgram(argv: readonly string[]): Promise<number> {
  // EPIPE: who read our output has seen enough, as `head` does
  for (const output of [process.stdout, process.stderr]) output.on('error', () => undefined);
  let exitCode: number = EXIT.done;
  const program = createProgram((code) => {
    exitCode = code;
  });
  try {
    await program.parseAsync(argv);
    return exitCode;
  } catch (error) {
    // commander has printed its message already
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.done : EXIT.usage;
    return exitCodeOf(error);
  }
}

interface DataOptions {
  readonly data?: string;
  readonly root?: string;
}

function createProgram(finish: (exitCode: number) => void): Command {
  const program = new Command('lookaside')
    .description('The signature server for container images.')
    .version(VERSION)
    .exitOverride()
    .configureHelp({ showGlobalOptions: true })
    .showHelpAfterError('(lookaside --help lists the commands)');

  withData(program.command('serve'))
    .description('serve the signatures of a tree to podman, skopeo, CRI-O, OpenShift and others')
    .option('--listen <address>', 'where to listen, [HOST]:PORT (LOOKASIDE_LISTEN, :8000)')
    .action(async (options: DataOptions & { listen?: string }) => {
      const { runServe } = await import('./serve.ts'); // HTTP's libraries, which no other command needs
      finish(await runServe(() => load(options)));
    });

  withData(program.command('config'))
    .description('show the settings in force and where each comes from')
    .option('--listen <address>', 'as for serve')
    .option('--json', 'print JSON')
    .action((options: DataOptions & { listen?: string; json?: boolean }) => {
      finish(runConfig(loadConfig(inputOf(options)), options.json === true));
    });

  withData(program.command('fsck'))
    .description('hold the tree against what is recorded, and name every difference')
    .option('--repair', 'put recorded bytes back where the tree has lost them')
    .option('--json', 'print JSON')
    .action(async (options: DataOptions & { repair?: boolean; json?: boolean }) => {
      const { repair = false, json = false } = options;
      finish(await runFsck(load(options), { repair, json }));
    });

  withData(program.command('reindex'))
    .description('build index.db anew from the tree')
    .option('--accept-damage', 'forget recorded bytes that the tree no longer holds')
    .option('--json', 'print JSON')
    .action(async (options: DataOptions & { acceptDamage?: boolean; json?: boolean }) => {
      const { acceptDamage = false, json = false } = options;
      finish(await runReindex(load(options), { acceptDamage, json }));
    });

  const key = program
    .command('key')
    .description('add, list and show the keys that signatures are verified with');
  withData(key.command('add'))
    .description('add public keys, or what is new of them: a later expiry, a revocation')
    .argument('<file...>', 'what gpg --export writes, armoured or not; - is standard input')
    .option('--json', 'print JSON')
    .action(async (files: string[], options: DataOptions & { json?: boolean }) => {
      finish(await runKeyAdd(load(options), { files, json: options.json === true }));
    });
  withData(key.command('list'))
    .description('list the keys')
    .option('--json', 'print JSON')
    .action((options: DataOptions & { json?: boolean }) => {
      finish(runKeyList(load(options), options.json === true));
    });
  withData(key.command('show'))
    .description('show a key with its subkeys, and print it armoured')
    .argument('<fingerprint>', '40 hex digits, or the key ID of 16')
    .option('--json', 'print JSON')
    .action((name: string, options: DataOptions & { json?: boolean }) => {
      finish(runKeyShow(load(options), { name, json: options.json === true }));
    });

  const token = program.command('token').description('make, list and revoke tokens');
  withData(token.command('create'))
    .description('print a new token, once')
    .requiredOption('--name <name>', 'who or what will use it')
    .addOption(
      new Option(
        '--role <role>',
        'reader and auditor: read and ask; uploader: also upload; admin: everything',
      )
        .choices(ROLES)
        .default('uploader'),
    )
    .option('--json', 'print JSON')
    .action(async (options: DataOptions & { name: string; role: Role; json?: boolean }) => {
      const { name, role, json = false } = options;
      finish(await runTokenCreate(load(options), { name, role, json }));
    });
  withData(token.command('list'))
    .description('list the tokens')
    .option('--json', 'print JSON')
    .action((options: DataOptions & { json?: boolean }) => {
      finish(runTokenList(load(options), options.json === true));
    });
  withData(token.command('revoke'))
    .description('make a token useless at once')
    .argument('<name>')
    .option('--json', 'print JSON')
    .action(async (name: string, options: DataOptions & { json?: boolean }) => {
      finish(await runTokenRevoke(load(options), { name, json: options.json === true }));
    });
  return program;
}

function withData(command: Command): Command {
  return command
    .option('--data <folder>', 'where everything but a shared tree lies (LOOKASIDE_DATA, ./data)')
    .option(
      '--root <folder>',
      'a tree that podman or rsync write to as well (LOOKASIDE_ROOT, DATA/sigstore)',
    );
}

function load(options: DataOptions & { listen?: string }): Config {
  return loadConfig(inputOf(options)).config;
}

function inputOf({ data, root, listen }: DataOptions & { listen?: string }) {
  const flags = {
    ...(data === undefined ? {} : { data }),
    ...(root === undefined ? {} : { root }),
    ...(listen === undefined ? {} : { listen }),
  };
  return { flags, workingFolder: process.cwd() };
}
