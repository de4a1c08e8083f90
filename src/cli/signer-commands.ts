// The words and options of `lookaside signer …` and `lookaside grant …`.
import { type Command, InvalidArgumentError } from 'commander';
import { type CommandTools, type JsonOptions, withServerOrData } from './command-tools.ts';
import { loadExisting } from './load-config.ts';
import { addOidcCommands } from './oidc-commands.ts';
import { collect, tagName } from './option-values.ts';

interface SignerAddFlags {
  readonly description?: string;
  readonly oidcIssuer?: string;
  readonly oidcClaim?: readonly string[];
}

interface GrantAddFlags {
  readonly signer: string;
  readonly repository: readonly string[];
  readonly key: readonly string[];
  readonly tag?: readonly string[];
}

interface GrantTestFlags {
  readonly signer: string;
  readonly repository: string;
  readonly key: string;
  readonly tag?: string;
}

export function addSigners(program: Command, { finish }: CommandTools): void {
  const signer = program
    .command('signer')
    .description('add, list, show, disable and remove signers: people and pipelines that grants bind');
  withServerOrData(signer.command('add'))
    .description('add a signer, which may sign nothing until a grant says what')
    .argument('<name>', 'like ci-team-app')
    .option('--description <text>', 'for people')
    .option('--oidc-issuer <url>', 'whose OIDC tokens act as the signer, exactly as their claim iss names it')
    .option(
      '--oidc-claim <name=pattern>',
      'what such a token must claim, like repository=team/app; repeatable',
      collect,
    )
    .option('--json', 'print JSON')
    .action(async (name: string, options: JsonOptions & SignerAddFlags) => {
      const { runSignerAdd, subjectsFrom } = await import('./signer.ts');
      const { description = '', oidcIssuer: issuer, oidcClaim: claims = [], json = false } = options;
      const subjects = subjectsFrom({ issuer, claims });
      finish(await runSignerAdd(loadExisting(options), { name, description, subjects, json }));
    });
  withServerOrData(signer.command('list'))
    .description('list the signers')
    .option('--json', 'print JSON')
    .action(async (options: JsonOptions) => {
      const { runSignerList } = await import('./signer.ts');
      finish(await runSignerList(loadExisting(options), options.json === true));
    });
  withServerOrData(signer.command('show'))
    .description('show a signer with its grants, OIDC subjects and tokens')
    .argument('<name>')
    .option('--json', 'print JSON')
    .action(async (name: string, options: JsonOptions) => {
      const { runSignerShow } = await import('./signer.ts');
      finish(await runSignerShow(loadExisting(options), { name, json: options.json === true }));
    });
  addOidcCommands(signer, finish);
  for (const act of ['disable', 'enable', 'remove'] as const) {
    withServerOrData(signer.command(act))
      .description(SIGNER_ACTS[act])
      .argument('<name>')
      .option('--json', 'print JSON')
      .action(async (name: string, options: JsonOptions) => {
        const { runSignerChange } = await import('./signer.ts');
        finish(await runSignerChange(loadExisting(options), { act, name, json: options.json === true }));
      });
  }
}

const SIGNER_ACTS = {
  disable: 'let none of its tokens in, until it is enabled',
  enable: 'let its tokens in again',
  remove: 'remove a signer with its grants, and revoke its tokens',
} as const;

export function addGrants(program: Command, { finish }: CommandTools): void {
  const grant = program
    .command('grant')
    .description('say which signer may sign which repository by which key');
  withServerOrData(grant.command('add'))
    .description('let a signer upload what these keys signed for these repositories')
    .requiredOption('--signer <name>', 'whose grant it is')
    .requiredOption(
      '--repository <pattern>',
      'a repository without its registry, like team/app; team/* for those directly below team, team/** for all below; repeatable',
      collect,
    )
    .requiredOption(
      '--key <fingerprint>',
      'a registered key, 40 hex digits or the key ID of 16; repeatable',
      collect,
    )
    .option('--tag <pattern>', 'only signatures for such tags, like v1.*; repeatable', collect)
    .option('--json', 'print JSON')
    .action(async (options: JsonOptions & GrantAddFlags) => {
      const { runGrantAdd } = await import('./grant.ts');
      const { signer, repository: repositories, key: keys, tag: tags = [], json = false } = options;
      finish(await runGrantAdd(loadExisting(options), { signer, repositories, keys, tags, json }));
    });
  withServerOrData(grant.command('remove'))
    .description('take a grant away')
    .argument('<id>', 'its number, as grant list shows it', grantId)
    .option('--json', 'print JSON')
    .action(async (id: number, options: JsonOptions) => {
      const { runGrantRemove } = await import('./grant.ts');
      finish(await runGrantRemove(loadExisting(options), { id, json: options.json === true }));
    });
  withServerOrData(grant.command('list'))
    .description('list the grants')
    .option('--signer <name>', 'only those of that signer')
    .option('--json', 'print JSON')
    .action(async (options: JsonOptions & { readonly signer?: string }) => {
      const { runGrantList } = await import('./grant.ts');
      const { signer = null, json = false } = options;
      finish(await runGrantList(loadExisting(options), { signer, json }));
    });
  withServerOrData(grant.command('test'))
    .description(
      'show whether an upload would be accepted and why, and upload nothing; exit code 1 when it would be refused',
    )
    .requiredOption('--signer <name>', 'who would upload')
    .requiredOption('--repository <path>', 'without the registry, like team/app')
    .requiredOption('--key <fingerprint>', 'the key of the signature, 40 hex digits or the key ID of 16')
    .option('--tag <tag>', 'the tag of the signed reference; by default it has none', tagName)
    .option('--json', 'print JSON')
    .action(async (options: JsonOptions & GrantTestFlags) => {
      const { runGrantTest } = await import('./grant.ts');
      const { signer, repository, key, tag = null, json = false } = options;
      finish(await runGrantTest(loadExisting(options), { signer, repository, key, tag, json }));
    });
}

function grantId(text: string): number {
  if (/^[1-9][0-9]{0,14}$/.test(text)) return Number(text);
  throw new InvalidArgumentError('Wanted the number of a grant, as grant list shows it.');
}
