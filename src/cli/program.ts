// The command line: its groups of commands and its exit codes. The code of a command is loaded when it is called: a signer's push
// needs no database, and most commands are over before all of it would be there.
import { Command, CommanderError, Help, type Option } from 'commander';
import { LookasideError } from '../domain/errors.ts';
import { COMMON_OPTIONS } from './command-tools.ts';
import { formatExamples } from './examples.ts';
import { prepareLoading } from './load-config.ts';
import type { ServerTools } from './server-commands.ts';
import type { ServerSignals } from './server-signals.ts';
import { EXIT, errorsJson, exitCodeOf, isToldInJson, printJson } from './terminal.ts';
import { VERSION } from './version.ts';

/** Runs one command to its end; the exit code. `signals` are not null when they are caught already, for serve. */
export async function runProgram(argv: readonly string[], signals: ServerSignals | null): Promise<number> {
  // EPIPE: the reader of our output has closed it, as `head` does
  for (const output of [process.stdout, process.stderr]) output.on('error', () => undefined);
  let exitCode: number = EXIT.done;
  const finish = (code: number) => {
    exitCode = code;
  };
  const program = await createProgram({ finish, signals }, argv[2]);
  try {
    await program.parseAsync(argv);
    return exitCode;
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return EXIT.done;
    if (wantsJson(argv) && !isToldInJson(error)) printJson(errorsJson(asLookasideError(error)));
    // commander has printed its message already
    return error instanceof CommanderError ? EXIT.usage : exitCodeOf(error);
  }
}

/** A reader of our JSON always gets a value, even when the options are wrong. */
function wantsJson(argv: readonly string[]): boolean {
  const end = argv.indexOf('--');
  return (end === -1 ? argv : argv.slice(0, end)).includes('--json');
}

function asLookasideError(error: unknown): unknown {
  if (!(error instanceof CommanderError)) return error;
  return new LookasideError('CONFIG_INVALID', error.message.replace(/^error: /, ''));
}

type Add = (program: Command, tools: ServerTools) => void;

/** Commands in the order in which help lists them, and the file that has their words and options. */
const GROUPS: readonly (readonly [names: readonly string[], load: () => Promise<Add>])[] = [
  [['serve', 'config'], async () => (await import('./server-commands.ts')).addServing],
  [['fsck', 'reindex'], async () => (await import('./server-commands.ts')).addUpkeep],
  [['push', 'list', 'show'], async () => (await import('./signature-commands.ts')).addSigning],
  [['import', 'backup', 'restore'], async () => (await import('./server-commands.ts')).addCopying],
  [['migrate'], async () => (await import('./migrate-commands.ts')).addMigrating],
  [['withdraw'], async () => (await import('./signature-commands.ts')).addWithdrawing],
  [['key'], async () => (await import('./key-commands.ts')).addKeys],
  [['verify'], async () => (await import('./signature-commands.ts')).addVerifying],
  [['trust'], async () => (await import('./trust-commands.ts')).addTrust],
  [['client-config'], async () => (await import('./client-config-commands.ts')).addClientConfig],
  [['doctor'], async () => (await import('./client-commands.ts')).addClients],
  [['token'], async () => (await import('./token-commands.ts')).addTokens],
  [['audit', 'access'], async () => (await import('./record-commands.ts')).addRecords],
  [['signer'], async () => (await import('./signer-commands.ts')).addSigners],
  [['grant'], async () => (await import('./signer-commands.ts')).addGrants],
  [['apply'], async () => (await import('./access-rule-commands.ts')).addApply],
  [['mirror'], async () => (await import('./mirror-commands.ts')).addMirrors],
];

/** Loads only the group of the command `named`; all groups when there is no such command, so that help lists them. */
export async function createProgram(tools: ServerTools, named: string | undefined): Promise<Command> {
  const own = GROUPS.filter(([names]) => names.some((name) => name === named));
  const program = new Command('lookaside')
    .description('The signature server for container images.')
    .version(VERSION)
    .exitOverride()
    .configureHelp({ groupItems: ownFirst, optionDescription: describeOption })
    .addHelpText('after', '\nEach command has a help of its own, with examples: lookaside push --help')
    .showHelpAfterError('(lookaside --help lists the commands)')
    .hook('preAction', prepareLoading);
  for (const [, load] of own.length > 0 ? own : GROUPS) (await load())(program, tools);
  nameHelp(program, program.name());
  return program;
}

/** The options and commands that are in no group of their own come first, whichever were added first. */
function ownFirst<T extends Command | Option>(
  unsorted: T[],
  visible: T[],
  groupOf: (item: T) => string,
): Map<string, T[]> {
  const groups = Help.prototype.groupItems(unsorted, visible, groupOf);
  const isCommon = (heading: string) => heading === COMMON_OPTIONS;
  const sorted = [...groups].sort(([one], [other]) => Number(isCommon(one)) - Number(isCommon(other)));
  return new Map(sorted);
}

function describeOption(option: Option): string {
  const description = Help.prototype.optionDescription(option);
  return option.mandatory ? `${description} (required)` : description;
}

/** A mistake in `token create` is explained by the help of that command, and not by that of `token`. */
function nameHelp(command: Command, name: string): void {
  for (const below of command.commands) {
    const whole = `${name} ${below.name()}`;
    below.showHelpAfterError(`(${whole} --help says how it is used)`);
    const examples = formatExamples(whole.slice('lookaside '.length));
    if (examples !== null) below.addHelpText('after', examples);
    nameHelp(below, whole);
  }
}
