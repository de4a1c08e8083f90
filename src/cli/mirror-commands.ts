// The words and options of `lookaside mirror …`.
import { type Command, InvalidArgumentError, Option } from 'commander';
import { shellWord } from '../domain/client-config/kind-text.ts';
import { LookasideError } from '../domain/errors.ts';
import { MIRROR_LAYOUTS, PRESETS } from '../domain/mirror-presets.ts';
import { type CommandTools, type ServerOrDataOptions, withServerOrData } from './command-tools.ts';
import { loadExisting, loadForServer } from './load-config.ts';
import type { MirrorFlags } from './mirror.ts';
import { age, collect, sizeOrNone } from './option-values.ts';

type MirrorOptions = ServerOrDataOptions &
  MirrorFlags & {
    readonly from?: string;
    readonly apply?: boolean;
    readonly changedOnly?: boolean;
    readonly json?: boolean;
  };

type SyncFlags = Omit<MirrorOptions, 'registry'> & {
  readonly registry?: readonly string[];
  readonly resolve?: readonly string[];
  readonly authfile?: string;
  readonly graph?: readonly string[];
  readonly listing?: readonly string[];
  readonly fromMisses?: number;
  readonly list?: boolean;
  readonly every?: number;
};

/** The options by which another command asks the same server. */
export function whereOf({ server, tokenFile, ca, data, root }: ServerOrDataOptions): string {
  const given = { server, 'token-file': tokenFile, ca, data, root };
  return Object.entries(given)
    .flatMap(([name, value]) => (value === undefined ? [] : [` --${name} ${shellWord(value)}`]))
    .join('');
}

export function addMirrors(program: Command, { finish }: CommandTools): void {
  const mirror = program
    .command('mirror')
    .description("mirror other signature sites, such as Red Hat's, on demand or ahead of demand");
  withMirrorSettings(withServerOrData(mirror.command('add')))
    .description('serve a signature site of others below a path of this server')
    .argument('[name]', 'lower-case letters, digits and hyphens; needed unless --from names a file')
    .addOption(
      new Option(
        '--from <file>',
        'propose mirrors for what an ImageDigestMirrorSet, ImageTagMirrorSet, ImageContentSourcePolicy or registries.conf mirrors',
      ).conflicts(['preset', 'upstream', 'prefix']),
    )
    .option('--apply', 'with --from: add what is proposed')
    .addOption(new Option('--preset <site>', 'its upstreams and layout').choices(Object.keys(PRESETS)))
    .action(async (name: string | undefined, options: MirrorOptions) => {
      const { runMirrorAdd, runMirrorFrom } = await import('./mirror.ts');
      const { from: file, apply = false, json = false } = options;
      if (file !== undefined) {
        finish(await runMirrorFrom(loadForServer(options), { file, apply, where: whereOf(options), json }));
        return;
      }
      if (name === undefined)
        throw new LookasideError(
          'CONFIG_INVALID',
          'the mirror lacks a name; wanted one like red-hat, or --from FILE',
        );
      finish(
        await runMirrorAdd(loadForServer(options), { name, flags: options, json: options.json === true }),
      );
    });
  withServerOrData(mirror.command('list'))
    .description('list the mirrors')
    .option('--json', 'print JSON')
    .action(async (options: MirrorOptions) => {
      const { runMirrorList } = await import('./mirror.ts');
      finish(await runMirrorList(loadExisting(options), options.json === true));
    });
  withServerOrData(mirror.command('show'))
    .description('show the settings of a mirror, and how it is doing')
    .argument('<name>')
    .option('--json', 'print JSON')
    .action(async (name: string, options: MirrorOptions) => {
      const { runMirrorShow } = await import('./mirror.ts');
      finish(await runMirrorShow(loadExisting(options), { name, json: options.json === true }));
    });
  withServerOrData(mirror.command('status'))
    .description(
      'show how the mirrors are doing; exit code 1 when an upstream fails, images of the last sync have failed, or sets cannot be stored',
    )
    .argument('[name]', 'the name of one mirror (default: all)')
    .option('--json', 'print JSON')
    .action(async (name: string | undefined, options: MirrorOptions) => {
      const { runMirrorStatus } = await import('./mirror.ts');
      finish(
        await runMirrorStatus(loadExisting(options), { name: name ?? null, json: options.json === true }),
      );
    });
  withMirrorSettings(withServerOrData(mirror.command('edit')))
    .description('change settings of a mirror; what is not named stays as it is')
    .argument('<name>')
    .action(async (name: string, options: MirrorOptions) => {
      const { runMirrorEdit } = await import('./mirror.ts');
      finish(
        await runMirrorEdit(loadExisting(options), { name, flags: options, json: options.json === true }),
      );
    });
  withServerOrData(mirror.command('remove'))
    .description('stop serving a mirror; its signatures stay stored')
    .argument('<name>')
    .option('--json', 'print JSON')
    .action(async (name: string, options: MirrorOptions) => {
      const { runMirrorRemove } = await import('./mirror.ts');
      finish(await runMirrorRemove(loadExisting(options), { name, json: options.json === true }));
    });
  withServerOrData(mirror.command('sync'))
    .description('fetch the signatures of images ahead of demand')
    .argument('<name>', 'the name of the mirror')
    .argument(
      '[file...]',
      "a file that names the images: a list, oc-mirror's mapping.txt, skopeo's sync.yaml, JSON of pods, an update graph or a catalogue (default: standard input)",
    )
    .option(
      '--max-age <time>',
      'do not ask again for images that a sync has fetched within that time, like 1d (default: ask for all)',
      age,
    )
    .option(
      '--registry <host/repository>',
      'the images of a registry: every tag, and the platforms of lists; HOST alone for all its repositories; repeatable',
      collect,
    )
    .option(
      '--resolve <registry>',
      'ask that registry what names in files and graphs stand for: for a tag its digest, for a list its platforms; like quay.io, registry.redhat.io=MIRROR/PATH to ask a mirror, or all; repeatable',
      collect,
    )
    .option(
      '--authfile <file>',
      'logins of registries as podman login writes them (default: $REGISTRY_AUTH_FILE, else where podman and docker keep them)',
    )
    .option('--graph <url>', 'the releases of an update graph, as api.openshift.com has; repeatable', collect)
    .option(
      '--listing <url>',
      "the images of a site's own listing: a page of links, a bucket, a lookaside; repeatable",
      collect,
    )
    .option(
      '--from-misses <time>',
      'what clients asked this mirror for in vain within that time, like 7d',
      age,
    )
    .option('--list', 'print the images, one a line, and fetch nothing')
    .option('--every <time>', 'stay, and run again after that time, give or take a tenth, like 6h', age)
    .option('--changed-only', 'name only images that are new, refused or failed')
    .option('--json', 'print JSON, with every image')
    .action(async (name: string, files: string[], { registry: registries = [], ...options }: SyncFlags) => {
      const { runMirrorSync } = await import('./mirror-sync.ts');
      const { graph: graphs = [], listing: listings = [], resolve = [] } = options;
      const { fromMisses: fromMissesMs = null, every: everyMs = null } = options;
      const { maxAge: maxAgeMs = null, changedOnly = false, json = false } = options;
      const hasOthers = registries.length + graphs.length + listings.length > 0 || fromMissesMs !== null;
      finish(
        await runMirrorSync(loadExisting(options), {
          name,
          files: files.length === 0 && !hasOthers ? ['-'] : files,
          ...{ registries, resolve, graphs, listings, fromMissesMs },
          logins: { authFile: options.authfile ?? null, environment: process.env },
          ...{ listOnly: options.list === true, everyMs, maxAgeMs, changedOnly, json },
        }),
      );
    });
}

function withMirrorSettings(command: Command): Command {
  return command
    .option('--upstream <url>', 'the site; repeatable, and the first that has a set wins', collect)
    .option('--prefix <path>', 'the path below which it is served, like /rh; repeatable', collect)
    .option('--strip <path>', 'what clients ask for before the path that the upstream has, like redhat')
    .option(
      '--rewrite <asked=upstream>',
      'where mirrors have other names, like mirror/ubi9=ubi9; repeatable',
      collect,
    )
    .addOption(
      new Option('--layout <layout>', 'release: the layout of OpenShift releases').choices(MIRROR_LAYOUTS),
    )
    .option('--missing <status>', 'a status that means missing, like 404 does; repeatable', missingStatus)
    .option(
      '--redirect <host>',
      'a host that redirects may lead to although its address is not public; repeatable',
      collect,
    )
    .option(
      '--on-demand <pattern>',
      "what readers may make the server fetch, like 'ubi9/**'; repeatable",
      collect,
    )
    .option('--no-on-demand', 'fetch nothing for readers, only what a sync names')
    .addOption(
      new Option(
        '--on-upstream-failure <status>',
        '503 or 404: what a reader gets when the upstream fails and nothing is stored',
      ).choices(['503', '404']),
    )
    .option('--max-age <time>', 'after which a stored set is asked for again, like 1h', age)
    .option(
      '--max-size <size>',
      'what sets that readers made the server fetch may take, like 10GiB: those asked for longest ago go; none: no limit',
      sizeOrNone,
    )
    .option('--upstream-ca <file>', 'certificates in PEM to trust beside those of Node.js, for the upstream')
    .option('--client-cert <file>', 'certificate in PEM to show the upstream')
    .option('--client-key <file>', 'its key in PEM')
    .option('--credentials <file>', 'file with user:password, or with the value of the header Authorization')
    .option(
      '--keyring <file>',
      'public keys to verify with, added as lookaside key add does; repeatable',
      collect,
    )
    .option('--json', 'print JSON');
}

function missingStatus(text: string, before: readonly number[] = []): readonly number[] {
  const status = Number(text);
  if (Number.isInteger(status) && status >= 400 && status <= 499) return [...before, status];
  throw new InvalidArgumentError('Wanted a status from 400 to 499.');
}
