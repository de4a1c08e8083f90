// The command line: its groups of commands and its exit codes. The code of a command is loaded when it is called: a signer's push
// needs no database, and most commands are over before all of it would be there.
import { Command, CommanderError } from 'commander';
import { LookasideError } from '../domain/errors.ts';
import { addAccessExport, addApply } from './access-rule-commands.ts';
import { addAccessCommands, addAuditCommands } from './audit-commands.ts';
import { addClients } from './client-commands.ts';
import { addClientConfig } from './client-config-commands.ts';
import type { CommandTools } from './command-tools.ts';
import { addKeys } from './key-commands.ts';
import { prepareLoading } from './load-config.ts';
import { addMigrating } from './migrate-commands.ts';
import { addMirrors } from './mirror-commands.ts';
import { addAuditProofs } from './proof-commands.ts';
import { addCopying, addServing, addUpkeep, type ServerTools } from './server-commands.ts';
import type { ServerSignals } from './server-signals.ts';
import { addSigning, addVerifying, addWithdrawing } from './signature-commands.ts';
import { addGrants, addSigners } from './signer-commands.ts';
import { EXIT, errorsJson, exitCodeOf, isToldInJson, printJson } from './terminal.ts';
import { addTokens } from './token-commands.ts';
import { addTrust } from './trust-commands.ts';
import { VERSION } from './version.ts';

/** Runs one command to its end; the exit code. `signals` are not null when they are caught already, for serve. */
export async function runProgram(argv: readonly string[], signals: ServerSignals | null): Promise<number> {
  // EPIPE: the reader of our output has closed it, as `head` does
  for (const output of [process.stdout, process.stderr]) output.on('error', () => undefined);
  let exitCode: number = EXIT.done;
  const finish = (code: number) => {
    exitCode = code;
  };
  const program = createProgram({ finish, signals });
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

/** Help lists the commands in this order. */
function createProgram(tools: ServerTools): Command {
  const program = new Command('lookaside')
    .description('The signature server for container images.')
    .version(VERSION)
    .exitOverride()
    .configureHelp({ showGlobalOptions: true })
    .showHelpAfterError('(lookaside --help lists the commands)')
    .hook('preAction', prepareLoading);
  addServing(program, tools);
  addUpkeep(program, tools);
  addSigning(program, tools);
  addCopying(program, tools);
  addMigrating(program, tools);
  addWithdrawing(program, tools);
  addKeys(program, tools);
  addVerifying(program, tools);
  addTrust(program, tools);
  addClientConfig(program, tools);
  addClients(program, tools);
  addTokens(program, tools);
  addRecords(program, tools);
  addSigners(program, tools);
  addGrants(program, tools);
  addApply(program, tools);
  addMirrors(program, tools);
  return program;
}

function addRecords(program: Command, tools: CommandTools): void {
  const audit = program.command('audit').description('ask who signed, who uploaded and who changed what');
  addAuditCommands(audit, tools);
  addAuditProofs(audit, tools);
  const access = program.command('access').description('ask who fetched what; export who may sign what');
  addAccessCommands(access, tools);
  addAccessExport(access, tools);
}
