// The words and options of the commands about signatures: push, list, show, verify, withdraw.
import { type Command, Option } from 'commander';
import { LookasideError } from '../domain/errors.ts';
import { MAX_REMAPS_ASKED } from '../domain/limits.ts';
import { parseRemap, REMAP_WANTED } from '../domain/remap.ts';
import { STATES, type State } from '../domain/state.ts';
import { quoted } from '../domain/text.ts';
import type { Placing } from '../service/push.ts';
import {
  type CommandTools,
  type JsonOptions,
  type RemoteOptions,
  withRemote,
  withServerOrData,
} from './command-tools.ts';
import { loadExisting, loadForServer } from './load-config.ts';
import { collect, keyName, tagName, time } from './option-values.ts';

interface VerifyFlags extends RemoteOptions {
  readonly keyring?: readonly string[];
  readonly fingerprint?: readonly string[];
  readonly json?: boolean;
}

interface PushOptions extends RemoteOptions {
  readonly signedFor?: readonly string[];
  readonly asSigned?: boolean;
  readonly watch?: boolean;
  readonly dryRun?: boolean;
  readonly requireSome?: boolean;
  readonly proof?: string;
  readonly oidc?: boolean;
  readonly force?: boolean;
  readonly json?: boolean;
}

interface ListFlags {
  readonly tag?: string;
  readonly fingerprint?: string;
  readonly state?: State | 'withdrawn';
  readonly uploader?: string;
  readonly since?: Date;
  readonly json?: boolean;
  readonly csv?: boolean;
}

export function addSigning(program: Command, { finish }: CommandTools): void {
  withRemote(program.command('push'))
    .description('send the signatures of staging folders, dir: images or single files to a server')
    .argument('<path...>', 'what lookaside-staging names in registries.d, or files of skopeo standalone-sign')
    .option('--watch', 'keep running, and push what appears in these folders')
    .addOption(new Option('--dry-run', 'show what would be sent, and send nothing').conflicts('watch'))
    .addOption(
      new Option(
        '--oidc',
        'send the OIDC token of this job of GitHub Actions, GitLab or Kubernetes in place of a stored one',
      ).conflicts('tokenFile'),
    )
    .option('--force', 'send also what the server has an equivalent of')
    .addOption(
      new Option(
        '--proof <folder>',
        "write there the proof of each upload's event in the server's log",
      ).conflicts(['watch', 'dryRun']),
    )
    .option(
      '--signed-for <remap>',
      'PREFIX=SIGNED_PREFIX, like mirror/quay=quay.io: what lies below PREFIX was signed below SIGNED_PREFIX; repeatable',
      collect,
    )
    .option('--as-signed', 'send below the name that was signed (--sign-identity), not that of the folder')
    .addOption(new Option('--require-some', 'end with 1 when no signature is found').conflicts('watch'))
    .option('--json', 'print JSON, with --watch a line for each event')
    .action(async (paths: string[], options: PushOptions) => {
      const { runPushWatch, runPush } = await import('./push.ts');
      const { watch = false, dryRun = false, force = false, requireSome = false, json = false } = options;
      const { oidc: isOidc = false } = options;
      const config = loadForServer(options);
      const placing = parsePlacing(options);
      finish(
        await (watch
          ? runPushWatch(config, { paths, force, placing, isOidc, json })
          : runPush(config, {
              paths,
              dryRun,
              force,
              placing,
              requireSome,
              proof: options.proof ?? null,
              isOidc,
              json,
            })),
      );
    });

  withRemote(program.command('list'))
    .description('list the signatures that a server has')
    .argument('[repository[:tag|@digest]]', 'a repository, a tag or one image; by default all')
    .option('--tag <tag>', 'only what was signed for that tag', tagName)
    .option('--fingerprint <fingerprint>', 'only by that key; 40 hex digits, or the key ID of 16', keyName)
    .addOption(
      new Option('--state <state>', 'only what is in that state now').choices([...STATES, 'withdrawn']),
    )
    .option('--uploader <name>', 'only what was uploaded with the token of that name, or by administrator')
    .option('--since <time>', 'only what was stored at that time or later, like 2026-11-22T10:00:00Z', time)
    .option('--json', 'print JSON')
    .addOption(new Option('--csv', 'print CSV, for spreadsheets').conflicts('json'))
    .action(async (what: string | undefined, options: RemoteOptions & ListFlags) => {
      const { runList } = await import('./list.ts');
      const { fingerprint = null, state = null, uploader = null, since = null, tag = null } = options;
      const form = options.csv === true ? 'csv' : options.json === true ? 'json' : 'table';
      if (state === 'withdrawn') {
        const { runListWithdrawn } = await import('./list-withdrawn.ts');
        const wanted = { what: what ?? null, tag, fingerprint, by: uploader, since, form } as const;
        return finish(await runListWithdrawn(loadForServer(options), wanted));
      }
      const filter = { fingerprint, state, uploader, since, tag };
      finish(await runList(loadForServer(options), { what: what ?? null, filter, form }));
    });

  withRemote(program.command('show'))
    .description('show all about the signatures of an image: who signed what, and in which state it is')
    .argument('<image>', 'like team/app:v1, or team/app@sha256:0123…')
    .option('--json', 'print JSON')
    .action(async (image: string, options: RemoteOptions & { json?: boolean }) => {
      const { runShow } = await import('./show.ts');
      finish(await runShow(loadForServer(options), { image, json: options.json === true }));
    });
}

export function addVerifying(program: Command, { finish }: CommandTools): void {
  withRemote(program.command('verify'))
    .description('check whether a manifest is signed under a name, as skopeo standalone-verify does')
    .argument(
      '<manifest>',
      'file of the raw manifest, as skopeo inspect --raw writes it; - is standard input',
    )
    .argument('<reference>', 'the name that the signature must be for: HOST/REPOSITORY:TAG')
    .argument('[signature]', 'file of a signature; by default all that the server has')
    .option(
      '--keyring <file>',
      "what gpg --export writes, in place of the server's keys; repeatable",
      collect,
    )
    .option(
      '--fingerprint <fingerprint>',
      'take signatures by this key alone, 40 hex digits or the key ID of 16; repeatable',
      collect,
    )
    .option('--json', 'print JSON')
    .action(
      async (manifest: string, reference: string, signature: string | undefined, options: VerifyFlags) => {
        const { runVerify } = await import('./verify.ts');
        const { keyring: keyrings = [], fingerprint: fingerprints = [], json = false } = options;
        const what = { manifest, reference, signature: signature ?? null };
        finish(await runVerify(loadForServer(options), { ...what, keyrings, fingerprints, json }));
      },
    );
}

export function addWithdrawing(program: Command, { finish }: CommandTools): void {
  withServerOrData(program.command('withdraw'))
    .description('take a signature away from clients, and refuse its bytes from then on')
    .argument('<path>', 'like team/app@sha256=0123…/signature-2, as show names it')
    .requiredOption('--reason <text>', 'why; it is kept, and told to whoever uploads it again')
    .option('--until <time>', 'put it back then, like 2026-12-24 or 2026-12-24T10:00:00Z', time)
    .option('--json', 'print JSON')
    .action(
      async (path: string, options: JsonOptions & { readonly reason: string; readonly until?: Date }) => {
        const { runWithdraw } = await import('./withdraw.ts');
        const { reason, until = null, json = false } = options;
        finish(await runWithdraw(loadExisting(options), { path, reason, until, json }));
      },
    );
}

/** @throws LookasideError CONFIG_INVALID */
function parsePlacing({ signedFor = [], asSigned = false }: PushOptions): Placing {
  if (signedFor.length > MAX_REMAPS_ASKED) {
    const message = `--signed-for is given ${signedFor.length} times; at most ${MAX_REMAPS_ASKED} are taken by one push`;
    throw new LookasideError('CONFIG_INVALID', message);
  }
  const remaps = signedFor.map((text) => {
    const remap = parseRemap(text);
    if (remap !== null) return remap;
    throw new LookasideError('CONFIG_INVALID', `--signed-for is ${quoted(text)}; ${REMAP_WANTED}`);
  });
  return { asSigned, signedFor: remaps };
}
