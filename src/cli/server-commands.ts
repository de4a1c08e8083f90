// The words and options of the commands that run a server and keep its data: serve, config, fsck, reindex, import, backup, restore.
import { type Command, InvalidArgumentError, Option } from 'commander';
import { loadConfig } from '../config.ts';
import {
  type CommandTools,
  type DataOptions,
  type ServerOrDataOptions,
  withData,
  withServerOrData,
} from './command-tools.ts';
import {
  inputOf,
  load,
  loadExisting,
  loadForServer,
  loadHere,
  refuseDatabase,
  type ServeOptions,
} from './load-config.ts';
import { takePassedSockets } from './passed-sockets.ts';
import { catchServerSignals, type ServerSignals } from './server-signals.ts';

/** Also has the signals that are caught already, or null. */
export interface ServerTools extends CommandTools {
  readonly signals: ServerSignals | null;
}

export function addServing(program: Command, { finish, signals }: ServerTools): void {
  withData(program.command('serve'))
    .description('serve the signatures of a tree to podman, skopeo, CRI-O, OpenShift and others')
    .option('--listen <address>', 'where to listen, [HOST]:PORT (LOOKASIDE_LISTEN, :8000)')
    .addOption(
      new Option('--port <port>').hideHelp().argParser((port) => {
        throw new InvalidArgumentError(`Wanted --listen :${port}, or --listen HOST:${port}.`);
      }),
    )
    .option(
      '--tls-cert <file>',
      'the certificate in PEM, with those between it and the root (LOOKASIDE_TLS_CERT)',
    )
    .option('--tls-key <file>', 'its key in PEM (LOOKASIDE_TLS_KEY)')
    .option(
      '--registry <name>',
      'whose images are signed, for the lines that are printed (LOOKASIDE_REGISTRY)',
    )
    .option(
      '--accept-rollback',
      'go on although the log of audit events is not what was signed before; recorded for ever',
    )
    .option(
      '--accept-moved-back',
      'go on with a database that lookaside migrate --from has moved to a data directory, where no server runs any more',
    )
    .action(async (options: DataOptions & ServeOptions) => {
      const { runServe } = await import('./serve.ts');
      finish(
        await runServe({
          load: () => load(options),
          settings: () => loadConfig(inputOf(options)).settings,
          passedSockets: takePassedSockets(process.env, process.pid),
          signals: signals ?? catchServerSignals(),
          acceptRollback: options.acceptRollback === true,
          acceptMovedBack: options.acceptMovedBack === true,
        }),
      );
    });

  withData(program.command('config'))
    .description('show the settings that a server started from here would have, and where each comes from')
    .addHelpText('after', '\nThose of a running server: lookaside audit query --action settings --json')
    .option('--listen <address>', 'as for serve')
    .option('--tls-cert <file>', 'as for serve')
    .option('--tls-key <file>', 'as for serve')
    .option('--registry <name>', 'as for serve')
    .option('--json', 'print JSON')
    .action(async (options: DataOptions & ServeOptions & { readonly json?: boolean }) => {
      const { runConfig } = await import('./show-config.ts');
      finish(runConfig(loadConfig(inputOf(options)), options.json === true));
    });
}

export function addUpkeep(program: Command, { finish }: CommandTools): void {
  withServerOrData(program.command('fsck'))
    .description('compare the tree with the record, and name every difference')
    .option('--repair', 'put recorded bytes back where the tree has lost them')
    .option('--json', 'print JSON')
    .action(async (options: ServerOrDataOptions & { repair?: boolean; json?: boolean }) => {
      const { runFsck } = await import('./fsck.ts');
      const { repair = false, json = false } = options;
      finish(await runFsck(loadExisting(options), { repair, json }));
    });

  withServerOrData(program.command('reindex'))
    .description('rebuild index.db from the tree')
    .option('--accept-damage', 'forget recorded bytes that the tree no longer holds')
    .option('--json', 'print JSON')
    .action(async (options: ServerOrDataOptions & { acceptDamage?: boolean; json?: boolean }) => {
      const { runReindex } = await import('./reindex.ts');
      const { acceptDamage = false, json = false } = options;
      finish(await runReindex(loadExisting(options), { acceptDamage, json }));
    });
}

export function addCopying(program: Command, { finish }: CommandTools): void {
  withServerOrData(program.command('import'))
    .description('take the signatures of another tree into that of the data directory or of a server')
    .argument('<folder>', 'a sigstore or staging folder, a copy of a signature site, a dir: image')
    .option('--dry-run', 'judge everything and store nothing')
    .option('--json', 'print JSON, with every file')
    .action(async (folder: string, options: ServerOrDataOptions & { dryRun?: boolean; json?: boolean }) => {
      const { runImport } = await import('./import.ts');
      const { dryRun = false, json = false } = options;
      finish(await runImport(loadForServer(options), { folder, dryRun, json }));
    });

  withData(program.command('backup'))
    .description('copy all that must not be lost into a folder, beside a running server too')
    .argument('<folder>', 'an empty one, or that of an earlier backup, which is brought up to date')
    .option('--with-mirrors', 'take the signatures of mirrors along, which can also be fetched again')
    .option('--json', 'print JSON')
    .action(async (folder: string, options: DataOptions & { json?: boolean; withMirrors?: boolean }) => {
      const { runBackup } = await import('./backup.ts');
      const { json = false, withMirrors = false } = options;
      finish(await runBackup(loadHere(options), { folder, json, withMirrors }));
    });

  withData(program.command('restore'))
    .description('fill an empty data directory from a backup')
    .argument('<folder>', 'where lookaside backup has put it')
    .option('--json', 'print JSON')
    .action(async (folder: string, options: DataOptions & { json?: boolean }) => {
      const { runRestore } = await import('./backup.ts');
      const config = load(options);
      refuseDatabase(config);
      finish(await runRestore(config, { folder, json: options.json === true }));
    });
}
