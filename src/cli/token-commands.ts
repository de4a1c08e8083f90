// The words and options of `lookaside token …`.
import { type Command, InvalidArgumentError, Option } from 'commander';
import { durationMs } from '../domain/duration.ts';
import { ROLES, type Role } from '../domain/ports.ts';
import { MAX_TOKEN_LIFE_MS } from '../domain/token.ts';
import { type CommandTools, type ServerOrDataOptions, withServerOrData } from './command-tools.ts';
import { loadExisting } from './load-config.ts';

interface TokenCreateFlags {
  readonly name: string;
  readonly role: Role;
  readonly signer?: string;
  /** In milliseconds. */
  readonly expires?: number;
  readonly output?: string;
  readonly json?: boolean;
}

export function addTokens(program: Command, { finish }: CommandTools): void {
  const token = program.command('token').description('make, list and revoke tokens');
  withServerOrData(token.command('create'))
    .description('make a token, and print it once')
    .requiredOption('--name <name>', 'who or what will use it')
    .addOption(
      new Option(
        '--role <role>',
        'reader: read and list; auditor: that, and ask who did what; uploader: read, list and upload; admin: everything',
      )
        .choices(ROLES)
        .default('uploader'),
    )
    .option(
      '--signer <name>',
      'whose grants say what it may upload; by default it may upload for every repository',
    )
    .option('--expires <time>', 'how long it is valid, like 90d or 12h; by default until it is revoked', life)
    .option('--output <file>', 'write it into this new file, for its owner alone, and do not print it')
    .option('--json', 'print JSON')
    .action(async (options: ServerOrDataOptions & TokenCreateFlags) => {
      const { runTokenCreate } = await import('./token.ts');
      const { name, role, expires: lifeMs = null, signer = null, output = null, json = false } = options;
      finish(await runTokenCreate(loadExisting(options), { name, role, lifeMs, signer, output, json }));
    });
  withServerOrData(token.command('list'))
    .description('list the tokens, and who is logged in to the web pages')
    .option('--json', 'print JSON')
    .action(async (options: ServerOrDataOptions & { json?: boolean }) => {
      const { runTokenList } = await import('./token.ts');
      finish(await runTokenList(loadExisting(options), options.json === true));
    });
  withServerOrData(token.command('revoke'))
    .description('make a token useless at once')
    .argument('<name>')
    .option('--json', 'print JSON')
    .action(async (name: string, options: ServerOrDataOptions & { json?: boolean }) => {
      const { runTokenRevoke } = await import('./token.ts');
      finish(await runTokenRevoke(loadExisting(options), { name, json: options.json === true }));
    });
  withServerOrData(token.command('end-session'))
    .description('end a session of the web pages: that browser has to log in again')
    .argument('<number>', 'as token list shows it', number)
    .option('--json', 'print JSON')
    .action(async (id: number, options: ServerOrDataOptions & { json?: boolean }) => {
      const { runEndSession } = await import('./token.ts');
      finish(await runEndSession(loadExisting(options), { id, json: options.json === true }));
    });
}

function number(text: string): number {
  if (/^[1-9][0-9]{0,14}$/.test(text)) return Number(text);
  throw new InvalidArgumentError('Wanted the number of a session, as lookaside token list shows it.');
}

function life(text: string): number {
  const ms = durationMs(text);
  if (ms !== null && ms <= MAX_TOKEN_LIFE_MS) return ms;
  throw new InvalidArgumentError('Wanted how long the token is taken, like 90d, 12h or 30m; at most 36500d.');
}
