// The words and options of `lookaside client-config`.
import { homedir } from 'node:os';
import { type Command, Option } from 'commander';
import { CLIENT_KINDS, type ClientKind } from '../domain/client-config/kind.ts';
import type { ClientConfigCommand } from './client-config.ts';
import { type CommandTools, type RemoteOptions, withRemote } from './command-tools.ts';
import { loadForServer } from './load-config.ts';

interface ClientConfigFlags extends RemoteOptions {
  readonly registry?: readonly string[];
  readonly key?: readonly string[];
  readonly signer?: readonly string[];
  readonly allKeys?: boolean;
  readonly keyring?: readonly string[];
  readonly kind: ClientKind;
  readonly namespace?: readonly string[];
  readonly image?: string;
  readonly registriesConf?: string;
  readonly lookaside?: string;
  /** False: --no-staging. */
  readonly staging?: string | boolean;
  readonly inlineKeys?: boolean;
  readonly oneKeyring?: boolean;
  readonly policy?: string;
  readonly widen?: boolean;
  readonly root?: string;
  readonly user?: boolean;
  readonly output?: string;
  readonly diff?: boolean;
  readonly install?: boolean;
  readonly undo?: boolean;
  readonly json?: boolean;
}

export function addClientConfig(program: Command, { finish }: CommandTools): void {
  withRemote(program.command('client-config'))
    .description('print or install what makes podman, skopeo and CRI-O demand signatures')
    .option('--registry <prefix...>', 'the registries, or parts of them, like registry.example.com/team')
    .option('--key <fingerprint...>', 'trust these keys of the server')
    .option('--signer <name...>', 'trust the keys that grants name for these signers; needs a token')
    .option('--all-keys', 'trust every key of the server; by default those that grants name for the registry')
    .option('--keyring <file...>', 'trust the keys in these files, and ask no server')
    .addOption(
      new Option('--kind <kind>', 'for which client; podman: skopeo, buildah and CRI-O too')
        .choices(CLIENT_KINDS)
        .default('podman'),
    )
    .option(
      '--namespace <name...>',
      'with --kind crio, portieris and kubernetes: the namespaces of the cluster',
    )
    .option('--image <image>', 'with --kind kubernetes: what the pods run, with sh and curl in it')
    .option(
      '--registries-conf <file>',
      'for their mirrors too: a registries.conf, ImageDigestMirrorSet, ImageTagMirrorSet or ImageContentSourcePolicy',
    )
    .option('--lookaside <url>', 'where clients find the signatures; by default the URL of the server')
    .option(
      '--staging <url>',
      'where podman push --sign-by writes; by default as before, else /var/lib/containers/sigstore',
    )
    .option('--no-staging', 'name no place to write')
    .option('--inline-keys', 'put the keys into policy.json itself (keyData)')
    .addOption(
      new Option(
        '--one-keyring',
        'put all keys of a registry into one file, for clients that know no keyPaths',
      ).conflicts('inlineKeys'),
    )
    .option('--policy <file>', 'without --install: the policy.json to merge into, instead of a new one')
    .option('--widen', 'let the keys named decide alone, also where policy.json refuses or asks for more now')
    .option('-o, --output <folder>', 'write the files there, as a tree')
    .addOption(
      new Option('--diff', 'print what --install would change; exit code 1 when it would').conflicts(
        'output',
      ),
    )
    .addOption(
      new Option('--install', 'merge the files into place, with a backup').conflicts([
        'output',
        'diff',
        'policy',
      ]),
    )
    .addOption(new Option('--undo', 'take back the last --install').conflicts(['install', 'output', 'diff']))
    .option('--root <folder>', 'the machine is below this folder, as in an image that is being built')
    .addOption(
      new Option('--user', 'the files of this user; the default unless you are root').conflicts('root'),
    )
    .option('--json', 'print JSON')
    .action(async ({ root, user, ...options }: ClientConfigFlags) => {
      const { runClientConfig } = await import('./client-config.ts');
      const isUser = user === true || (root === undefined && process.getuid?.() !== 0);
      const home = homedir();
      const command: ClientConfigCommand = {
        kind: options.kind,
        namespaces: options.namespace ?? [],
        image: options.image ?? null,
        registries: options.registry ?? [],
        keys: options.key ?? [],
        signers: options.signer ?? [],
        isAllKeys: options.allKeys === true,
        keyrings: options.keyring ?? [],
        registriesConf: options.registriesConf ?? null,
        lookaside: options.lookaside ?? null,
        staging: stagingOf(options.staging),
        keysIn: options.inlineKeys ? 'inline' : options.oneKeyring ? 'keyring' : 'files',
        policy: options.policy ?? null,
        mayWiden: options.widen === true,
        target: isUser ? { kind: 'user', home, root: '/' } : { kind: 'system', root: root ?? '/', home },
        act: actOf(options),
        output: options.output ?? null,
        json: options.json === true,
      };
      const { server, tokenFile, ca, data } = options;
      const asked = { server, tokenFile, ca, data };
      const given = Object.fromEntries(Object.entries(asked).filter(([, value]) => value !== undefined));
      finish(await runClientConfig(() => loadForServer(given), command));
    });
}

function stagingOf(staging: string | boolean | undefined): ClientConfigCommand['staging'] {
  if (staging === false) return { isChosen: true, url: null };
  return typeof staging === 'string' ? { isChosen: true, url: staging } : { isChosen: false, url: null };
}

function actOf({ output, diff, install, undo }: ClientConfigFlags): ClientConfigCommand['act'] {
  if (undo === true) return 'undo';
  if (install === true) return 'install';
  if (diff === true) return 'diff';
  return output === undefined ? 'print' : 'write';
}
