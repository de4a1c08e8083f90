// The words and options of `lookaside apply` and `lookaside access export`.
import { type Command, Option } from 'commander';
import { type CommandTools, type JsonOptions, withServerOrData } from './command-tools.ts';
import { loadExisting } from './load-config.ts';

interface ApplyFlags {
  readonly file: string;
  readonly prune?: boolean;
  readonly dryRun?: boolean;
  readonly yes?: boolean;
}

export function addApply(program: Command, { finish }: CommandTools): void {
  withServerOrData(program.command('apply'))
    .description('bring signers, OIDC subjects, grants and keys to what a file says: all of it, or nothing')
    .requiredOption(
      '-f, --file <file>',
      'as lookaside access export writes it, YAML or JSON; - is standard input',
    )
    .option('--prune', 'remove what the file does not name in the lists that it has')
    .addOption(new Option('--dry-run', 'show the plan, and change nothing').conflicts('yes'))
    .option('--yes', 'apply the plan without a question')
    .option('--json', 'print JSON')
    .action(async (options: JsonOptions & ApplyFlags) => {
      const { runApply } = await import('./access-rules.ts');
      const { file, prune = false, dryRun = false, yes = false, json = false } = options;
      finish(await runApply(loadExisting(options), { file, prune, dryRun, yes, json }));
    });
}

export function addAccessExport(access: Command, { finish }: CommandTools): void {
  withServerOrData(access.command('export'))
    .description(
      'write signers, OIDC subjects, grants, keys and names of tokens as a file for lookaside apply',
    )
    .option('--json', 'print JSON')
    .action(async (options: JsonOptions) => {
      const { runAccessExport } = await import('./access-rules.ts');
      finish(await runAccessExport(loadExisting(options), options.json === true));
    });
}
