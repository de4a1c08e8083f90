// The words and options of the command that moves a data directory into PostgreSQL.
import type { Command } from 'commander';
import { loadConfig } from '../config.ts';
import { LookasideError } from '../domain/errors.ts';
import { type CommandTools, type DataOptions, withData } from './command-tools.ts';
import { requireDataDirectory } from './data-directory.ts';
import { inputOf } from './load-config.ts';

interface MigrateFlags extends DataOptions {
  readonly to?: string;
  readonly dryRun?: boolean;
  readonly withoutMirrors?: boolean;
  readonly json?: boolean;
}

export function addMigrating(program: Command, { finish }: CommandTools): void {
  withData(program.command('migrate'))
    .description('move a data directory into the PostgreSQL that several nodes share')
    .option('--to <url>', 'the empty database, postgres://… (LOOKASIDE_DATABASE, LOOKASIDE_DATABASE_FILE)')
    .option(
      '--dry-run',
      'read and count everything, and move nothing; what a crash left unfinished in the directory is finished',
    )
    .option('--without-mirrors', 'leave mirrors behind, which nodes over PostgreSQL do not have yet')
    .option('--json', 'print JSON')
    .action(async ({ to, ...options }: MigrateFlags) => {
      const { dryRun = false, withoutMirrors = false, json = false } = options;
      // each from the same settings: the database of one, and the data directory of the other
      const flags = to === undefined ? {} : { database: to };
      const target = loadConfig({ ...inputOf({}), flags, without: ['root'] }).config;
      if (target.database === null) {
        throw new LookasideError(
          'CONFIG_INVALID',
          'no database is named; wanted an empty one of PostgreSQL: give --to postgres://user@host/database, or set LOOKASIDE_DATABASE or LOOKASIDE_DATABASE_FILE',
        );
      }
      const { config } = loadConfig({ ...inputOf(options), without: ['database', 'database_file'] });
      requireDataDirectory(config.data);
      const { runMigrate } = await import('./migrate.ts');
      finish(await runMigrate(config, target, { isDryRun: dryRun, withoutMirrors, json }));
    });
}
