// The words and options of `lookaside trust …`.
import { type Command, Option } from 'commander';
import { type CommandTools, type RemoteOptions, withRemote } from './command-tools.ts';
import { loadForServer } from './load-config.ts';

interface RevokeFlags extends RemoteOptions {
  readonly reason: string;
  readonly dryRun?: boolean;
  readonly yes?: boolean;
  readonly json?: boolean;
}

export function addTrust(program: Command, { finish }: CommandTools): void {
  const trust = program
    .command('trust')
    .description('see who signed the images of a repository, and who may; withdraw what claims a tag');
  withRemote(trust.command('inspect'))
    .description(
      'list the signed images of a repository with tag, digest, signers and keys, then who may sign',
    )
    .argument('<repository[@digest]>', 'like team/app, or team/app@sha256:0123…')
    .option('--json', 'print JSON')
    .action(async (what: string, options: RemoteOptions & { json?: boolean }) => {
      const { runTrustInspect } = await import('./trust.ts');
      finish(await runTrustInspect(loadForServer(options), { what, json: options.json === true }));
    });
  withRemote(trust.command('revoke'))
    .description('withdraw the signatures that claim a tag; first it lists them, and asks')
    .argument('<repository:tag>', 'like team/app:v1')
    .requiredOption('--reason <text>', 'why; it is kept, and told to whoever uploads one of them again')
    .addOption(new Option('--dry-run', 'list them, and change nothing').conflicts('yes'))
    .option('--yes', 'do it without a question')
    .option('--json', 'print JSON')
    .action(async (what: string, options: RevokeFlags) => {
      const { runTrustRevoke } = await import('./trust-revoke.ts');
      const { reason, dryRun = false, yes = false, json = false } = options;
      finish(await runTrustRevoke(loadForServer(options), { what, reason, dryRun, yes, json }));
    });
}
