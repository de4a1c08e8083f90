// The words and options of the command that moves a data directory into PostgreSQL, or back.
import type { Command } from 'commander';
import { loadConfig } from '../config.ts';
import { LookasideError } from '../domain/errors.ts';
import { type CommandTools, type DataOptions, withData } from './command-tools.ts';
import { requireDataDirectory } from './data-directory.ts';
import { inputOf } from './load-config.ts';

interface MigrateFlags extends DataOptions {
  readonly to?: string;
  /** True: the database that the settings name. */
  readonly from?: string | true;
  readonly dryRun?: boolean;
  readonly withoutMirrors?: boolean;
  readonly json?: boolean;
}

export function addMigrating(program: Command, { finish }: CommandTools): void {
  withData(program.command('migrate'))
    .description(
      'move a data directory into the PostgreSQL that several nodes share, or back into an empty one',
    )
    .option('--to <url>', 'the empty database, postgres://… (LOOKASIDE_DATABASE, LOOKASIDE_DATABASE_FILE)')
    .option('--from [url]', 'the way back: out of this database, into an empty data directory')
    .option(
      '--dry-run',
      'read and count everything, and move nothing; what a crash left unfinished in the directory is finished',
    )
    .option(
      '--without-mirrors',
      'leave mirrors and their signatures behind; they can be added and fetched anew',
    )
    .option('--json', 'print JSON')
    .action(async ({ to, from, ...options }: MigrateFlags) => {
      const { dryRun: isDryRun = false, withoutMirrors = false, json = false } = options;
      if (from !== undefined && to !== undefined) {
        throw new LookasideError(
          'CONFIG_INVALID',
          '--from moves out of a database, and --to into one; leave one of them out',
        );
      }
      // each from the same settings: the database of one, and the data directory of the other
      const url = from === true ? undefined : (from ?? to);
      const flags = url === undefined ? {} : { database: url };
      const { database } = loadConfig({ ...inputOf({}), flags, without: ['root'] }).config;
      if (database === null) throw noDatabase(from === undefined ? 'an empty one' : 'the one', from ?? null);
      const { config } = loadConfig({ ...inputOf(options), without: ['database', 'database_file'] });
      if (from !== undefined) {
        const { runMoveBack } = await import('./migrate.ts');
        finish(await runMoveBack(config, database, { isDryRun, withoutMirrors, json }));
        return;
      }
      requireDataDirectory(config.data);
      const { runMigrate } = await import('./migrate.ts');
      finish(await runMigrate(config, { database }, { isDryRun, withoutMirrors, json }));
    });
}

function noDatabase(which: string, from: string | true | null): LookasideError {
  return new LookasideError(
    'CONFIG_INVALID',
    `no database is named; wanted ${which} of PostgreSQL: give ${from === null ? '--to' : '--from'} postgres://user@host/database, or set LOOKASIDE_DATABASE or LOOKASIDE_DATABASE_FILE`,
  );
}
