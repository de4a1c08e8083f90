// The commands signer oidc …: their words and options.
import { type Command, InvalidArgumentError } from 'commander';
import { type CommandTools, type JsonOptions, withServerOrData } from './command-tools.ts';
import { loadExisting } from './load-config.ts';
import { collect } from './option-values.ts';

export function addOidcCommands(signer: Command, finish: CommandTools['finish']): void {
  const oidc = signer
    .command('oidc')
    .description('say which tokens of GitHub Actions, GitLab or another OpenID provider act as a signer');
  withServerOrData(oidc.command('add'))
    .description('let such tokens act as a signer, within its grants')
    .argument('<signer>', 'its name')
    .requiredOption('--issuer <url>', 'who makes the tokens, exactly as their claim iss names it')
    .requiredOption(
      '--claim <name=pattern>',
      'what a token must claim, like repository=team/app or ref=refs/heads/*; repeatable, and all must be met',
      collect,
    )
    .option('--json', 'print JSON')
    .action(
      async (
        name: string,
        options: JsonOptions & { readonly issuer: string; readonly claim: readonly string[] },
      ) => {
        const { runOidcAdd } = await import('./oidc.ts');
        const { issuer, claim: claims, json = false } = options;
        finish(await runOidcAdd(loadExisting(options), { signer: name, issuer, claims, json }));
      },
    );
  withServerOrData(oidc.command('list'))
    .description('list the OIDC subjects of signers')
    .option('--signer <name>', 'only those of that signer')
    .option('--json', 'print JSON')
    .action(async (options: JsonOptions & { readonly signer?: string }) => {
      const { runOidcList } = await import('./oidc.ts');
      const { signer: name = null, json = false } = options;
      finish(await runOidcList(loadExisting(options), { signer: name, json }));
    });
  withServerOrData(oidc.command('remove'))
    .description('let such tokens act as the signer no longer')
    .argument('<id>', 'its number, as signer oidc list shows it', subjectId)
    .option('--json', 'print JSON')
    .action(async (id: number, options: JsonOptions) => {
      const { runOidcRemove } = await import('./oidc.ts');
      finish(await runOidcRemove(loadExisting(options), { id, json: options.json === true }));
    });
}

/** @throws InvalidArgumentError, which commander tells */
function subjectId(text: string): number {
  if (/^[1-9][0-9]{0,14}$/.test(text)) return Number(text);
  throw new InvalidArgumentError('Wanted the number of a subject, as signer oidc list shows it.');
}
