// The command line: its words, its options, its exit codes. The code of a command is loaded when it is called: a signer's push
// needs no database, and most commands are over before all of it would be there.
import { homedir } from 'node:os';
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { type Config, loadConfig, loadYamlParser, type ParseYaml, SYSTEM_DATA } from '../config.ts';
import { CLIENT_GENERATIONS, type ClientGeneration } from '../domain/client-machine.ts';
import { durationMs } from '../domain/duration.ts';
import { LookasideError } from '../domain/errors.ts';
import { isKeyName, parseKeyName } from '../domain/key.ts';
import { KEY_READERS, type KeyReaderName } from '../domain/key-readers.ts';
import { MAX_REMAPS_ASKED } from '../domain/limits.ts';
import { MIRROR_LAYOUTS, PRESETS } from '../domain/mirror-presets.ts';
import { ROLES, type Role } from '../domain/ports.ts';
import { isTag } from '../domain/reference.ts';
import { parseRemap, REMAP_WANTED } from '../domain/remap.ts';
import { STATES, type State } from '../domain/state.ts';
import { quoted } from '../domain/text.ts';
import { MAX_TOKEN_LIFE_MS } from '../domain/token.ts';
import type { Placing } from '../service/push.ts';
import { addAccessCommands, addAuditCommands } from './audit-commands.ts';
import type { CommandTools, DataOptions, RemoteOptions, ServerOrDataOptions } from './command-tools.ts';
import { requireDataDirectory } from './data-directory.ts';
import type { MirrorFlags } from './mirror.ts';
import { takePassedSockets } from './passed-sockets.ts';
import { catchServerSignals, type ServerSignals } from './server-signals.ts';
import { EXIT, errorsJson, exitCodeOf, isToldInJson, printJson } from './terminal.ts';
import { VERSION } from './version.ts';

/** Runs one command to its end; the exit code. `signals` are not null when they are caught already, for serve. */
export async function runProgram(argv: readonly string[], signals: ServerSignals | null): Promise<number> {
  // EPIPE: the reader of our output has closed it, as `head` does
  for (const output of [process.stdout, process.stderr]) output.on('error', () => undefined);
  let exitCode: number = EXIT.done;
  const finish = (code: number) => {
    exitCode = code;
  };
  const program = createProgram({ finish, signals });
  try {
    await program.parseAsync(argv);
    return exitCode;
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return EXIT.done;
    if (wantsJson(argv) && !isToldInJson(error)) printJson(errorsJson(told(error)));
    // commander has printed its message already
    return error instanceof CommanderError ? EXIT.usage : exitCodeOf(error);
  }
}

/** A reader of our JSON always gets a value, even when the options are wrong. */
function wantsJson(argv: readonly string[]): boolean {
  const end = argv.indexOf('--');
  return (end === -1 ? argv : argv.slice(0, end)).includes('--json');
}

function told(error: unknown): unknown {
  if (!(error instanceof CommanderError)) return error;
  return new LookasideError('CONFIG_INVALID', error.message.replace(/^error: /, ''));
}

interface ServeOptions {
  readonly listen?: string;
  readonly tlsCert?: string;
  readonly tlsKey?: string;
  readonly registry?: string;
  readonly acceptRollback?: boolean;
}

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
  readonly force?: boolean;
  readonly json?: boolean;
}

interface ListFlags {
  readonly tag?: string;
  readonly fingerprint?: string;
  readonly state?: State;
  readonly uploader?: string;
  readonly since?: Date;
  readonly json?: boolean;
  readonly csv?: boolean;
}

interface DoctorFlags {
  readonly policy?: string;
  readonly 'registries.d'?: string;
  readonly registriesConf?: string;
  readonly client: ClientGeneration;
  readonly tlsVerify: string;
  readonly explain?: boolean;
  readonly json?: boolean;
}

interface TokenCreateFlags {
  readonly name: string;
  readonly role: Role;
  readonly signer?: string;
  /** In milliseconds. */
  readonly expires?: number;
  readonly json?: boolean;
}

interface AuditCheckFlags {
  readonly key: string;
  readonly witness?: readonly string[];
  readonly signature?: string;
  readonly json?: boolean;
}
type MirrorOptions = ServerOrDataOptions &
  MirrorFlags & {
    readonly from?: string;
    readonly apply?: boolean;
    readonly changedOnly?: boolean;
    readonly json?: boolean;
  };

interface ProgramParts {
  readonly finish: (exitCode: number) => void;
  readonly signals: ServerSignals | null;
}

/** Help lists the commands in this order. */
function createProgram(parts: ProgramParts): Command {
  const program = new Command('lookaside')
    .description('The signature server for container images.')
    .version(VERSION)
    .exitOverride()
    .configureHelp({ showGlobalOptions: true })
    .showHelpAfterError('(lookaside --help lists the commands)')
    .hook('preAction', async () => {
      parseYaml = await loadYamlParser();
    });
  addServing(program, parts);
  addUpkeep(program, parts);
  addSigning(program, parts);
  addCopying(program, parts);
  addWithdrawing(program, parts);
  addKeys(program, parts);
  addVerifying(program, parts);
  addClients(program, parts);
  addTokens(program, parts);
  addRecords(program, parts);
  addSigners(program, parts);
  addGrants(program, parts);
  addMirrors(program, parts);
  return program;
}

function addServing(program: Command, { finish, signals }: ProgramParts): void {
  withData(program.command('serve'))
    .description('serve the signatures of a tree to podman, skopeo, CRI-O, OpenShift and others')
    .option('--listen <address>', 'where to listen, [HOST]:PORT (LOOKASIDE_LISTEN, :8000)')
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
    .action(async (options: DataOptions & ServeOptions) => {
      const { runServe } = await import('./serve.ts');
      finish(
        await runServe({
          load: () => load(options),
          passedSockets: takePassedSockets(process.env, process.pid),
          signals: signals ?? catchServerSignals(),
          acceptRollback: options.acceptRollback === true,
        }),
      );
    });

  withData(program.command('config'))
    .description('show the settings in force and where each comes from')
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

function addUpkeep(program: Command, { finish }: ProgramParts): void {
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

function addSigning(program: Command, { finish }: ProgramParts): void {
  withRemote(program.command('push'))
    .description('send the signatures of staging folders, dir: images or single files to a server')
    .argument('<path...>', 'what lookaside-staging names in registries.d, or files of skopeo standalone-sign')
    .option('--watch', 'keep running, and push what appears in these folders')
    .addOption(new Option('--dry-run', 'show what would be sent, and send nothing').conflicts('watch'))
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
      const config = loadForServer(options);
      const placing = parsePlacing(options);
      finish(
        await (watch
          ? runPushWatch(config, { paths, force, placing, json })
          : runPush(config, {
              paths,
              dryRun,
              force,
              placing,
              requireSome,
              proof: options.proof ?? null,
              json,
            })),
      );
    });

  withRemote(program.command('list'))
    .description('list the signatures that a server has')
    .argument('[repository[:tag|@digest]]', 'a repository, a tag or one image; by default all')
    .option('--tag <tag>', 'only what was signed for that tag', tagName)
    .option('--fingerprint <fingerprint>', 'only by that key; 40 hex digits, or the key ID of 16', keyName)
    .addOption(new Option('--state <state>', 'only what is in that state now').choices(STATES))
    .option('--uploader <name>', 'only what was uploaded with the token of that name, or by administrator')
    .option('--since <time>', 'only what was stored at that time or later, like 2026-11-22T10:00:00Z', time)
    .option('--json', 'print JSON')
    .addOption(new Option('--csv', 'print CSV, for spreadsheets').conflicts('json'))
    .action(async (what: string | undefined, options: RemoteOptions & ListFlags) => {
      const { runList } = await import('./list.ts');
      const { fingerprint = null, state = null, uploader = null, since = null, tag = null } = options;
      const filter = { fingerprint, state, uploader, since, tag };
      const form = options.csv === true ? 'csv' : options.json === true ? 'json' : 'table';
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

function addCopying(program: Command, { finish }: ProgramParts): void {
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
    .option('--json', 'print JSON')
    .action(async (folder: string, options: DataOptions & { json?: boolean }) => {
      const { runBackup } = await import('./backup.ts');
      finish(await runBackup(loadHere(options), { folder, json: options.json === true }));
    });

  withData(program.command('restore'))
    .description('fill an empty data directory from a backup')
    .argument('<folder>', 'where lookaside backup has put it')
    .option('--json', 'print JSON')
    .action(async (folder: string, options: DataOptions & { json?: boolean }) => {
      const { runRestore } = await import('./backup.ts');
      finish(await runRestore(load(options), { folder, json: options.json === true }));
    });
}

function addWithdrawing(program: Command, { finish }: ProgramParts): void {
  withServerOrData(program.command('withdraw'))
    .description('take a signature away from clients, and refuse its bytes from then on')
    .argument('<path>', 'like team/app@sha256=0123…/signature-2, as show --json names it')
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

function addKeys(program: Command, { finish }: ProgramParts): void {
  const key = program
    .command('key')
    .description('add, list, show, export and remove the keys that signatures are verified with');
  withServerOrData(key.command('add'))
    .description('add public keys, or what is new in them: a later expiry, a revocation')
    .argument('<file...>', 'what gpg --export writes, armoured or not; - is standard input')
    .option('--json', 'print JSON')
    .action(async (files: string[], options: ServerOrDataOptions & { json?: boolean }) => {
      const { runKeyAdd } = await import('./key.ts');
      finish(await runKeyAdd(loadExisting(options), { files, json: options.json === true }));
    });
  withServerOrData(key.command('list'))
    .description('list the keys')
    .option('--json', 'print JSON')
    .action(async (options: ServerOrDataOptions & { json?: boolean }) => {
      const { runKeyList } = await import('./key.ts');
      finish(await runKeyList(loadExisting(options), options.json === true));
    });
  withServerOrData(key.command('show'))
    .description('show a key with its subkeys, and print it armoured')
    .argument('<fingerprint>', '40 hex digits, or the key ID of 16')
    .option('--json', 'print JSON')
    .action(async (name: string, options: ServerOrDataOptions & { json?: boolean }) => {
      const { runKeyShow } = await import('./key.ts');
      finish(await runKeyShow(loadExisting(options), { name, json: options.json === true }));
    });
  withServerOrData(key.command('export'))
    .description('write keys, armoured in one block, for the file that a policy names')
    .argument('[fingerprint...]', '40 hex digits, or the key ID of 16; all keys unless named')
    .addOption(
      new Option(
        '--for <client>',
        'the client that reads them; keys that it cannot read are left out and named',
      )
        .choices(KEY_READERS)
        .default('gpg-2.2'),
    )
    .option('--json', 'print JSON')
    .action(
      async (names: string[], options: ServerOrDataOptions & { for: KeyReaderName; json?: boolean }) => {
        const { runKeyExport } = await import('./key-export.ts');
        const { for: reader, json = false } = options;
        finish(await runKeyExport(loadExisting(options), { names, reader, json }));
      },
    );
  withServerOrData(key.command('remove'))
    .description(
      'trust a key no longer; what it has signed goes on being served, as signed by an unknown key',
    )
    .argument('<fingerprint>', '40 hex digits, or the key ID of 16; keep a copy with: lookaside key export')
    .option('--json', 'print JSON')
    .action(async (name: string, options: ServerOrDataOptions & { json?: boolean }) => {
      const { runKeyRemove } = await import('./key.ts');
      finish(await runKeyRemove(loadExisting(options), { name, json: options.json === true }));
    });
}

function addVerifying(program: Command, { finish }: ProgramParts): void {
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

function addClients(program: Command, { finish }: ProgramParts): void {
  program
    .command('doctor')
    .description('tell why podman, skopeo or CRI-O refuse an image on this machine, and what to change')
    .argument('<image>', 'as it is pulled: HOST/REPOSITORY:TAG')
    .option('--policy <file>', "in place of the user's or the system's policy.json")
    .option('--registries.d <folder>', "in place of the user's or the system's registries.d")
    .option('--registries-conf <file>', 'in place of registries.conf (CONTAINERS_REGISTRIES_CONF)')
    .addOption(
      new Option('--client <generation>', 'old: before containers/image 5.22; podman-6: merged folders')
        .choices(CLIENT_GENERATIONS)
        .default('current'),
    )
    .option('--tls-verify <boolean>', 'false: take any certificate, and plain HTTP, as podman does', 'true')
    .option('--explain', 'name the rule of clients behind each step')
    .option('--json', 'print JSON')
    .action(async (image: string, options: DoctorFlags) => {
      const { runDoctor } = await import('./doctor.ts');
      const {
        policy = null,
        registriesConf = null,
        client,
        tlsVerify,
        explain = false,
        json = false,
      } = options;
      finish(
        await runDoctor({
          ...{ image, policy, registriesConf, explain, json },
          registriesD: options['registries.d'] ?? null,
          generation: client,
          isInsecure: tlsVerify === 'false',
          home: homedir(),
          environment: process.env,
        }),
      );
    });
}

function addTokens(program: Command, { finish }: ProgramParts): void {
  const token = program.command('token').description('make, list and revoke tokens');
  withServerOrData(token.command('create'))
    .description('print a new token, once')
    .requiredOption('--name <name>', 'who or what will use it')
    .addOption(
      new Option(
        '--role <role>',
        'reader: read and list; auditor: that, and ask who did what; uploader: read, list and upload; admin: everything',
      )
        .choices(ROLES)
        .default('uploader'),
    )
    .option(
      '--signer <name>',
      'whose grants say what it may upload; by default it may upload for every repository',
    )
    .option('--expires <time>', 'how long it is valid, like 90d or 12h; by default until it is revoked', life)
    .option('--json', 'print JSON')
    .action(async (options: ServerOrDataOptions & TokenCreateFlags) => {
      const { runTokenCreate } = await import('./token.ts');
      const { name, role, expires: lifeMs = null, signer = null, json = false } = options;
      finish(await runTokenCreate(loadExisting(options), { name, role, lifeMs, signer, json }));
    });
  withServerOrData(token.command('list'))
    .description('list the tokens')
    .option('--json', 'print JSON')
    .action(async (options: ServerOrDataOptions & { json?: boolean }) => {
      const { runTokenList } = await import('./token.ts');
      finish(await runTokenList(loadExisting(options), options.json === true));
    });
  withServerOrData(token.command('revoke'))
    .description('make a token useless at once')
    .argument('<name>')
    .option('--json', 'print JSON')
    .action(async (name: string, options: ServerOrDataOptions & { json?: boolean }) => {
      const { runTokenRevoke } = await import('./token.ts');
      finish(await runTokenRevoke(loadExisting(options), { name, json: options.json === true }));
    });
}

function addRecords(program: Command, { finish }: ProgramParts): void {
  const tools: CommandTools = { finish, withServerOrData, loadExisting };
  const audit = program.command('audit').description('ask who signed, who uploaded and who changed what');
  addAuditCommands(audit, tools);
  addAuditProofs(audit, finish);
  const access = program.command('access').description('ask who fetched what');
  addAccessCommands(access, tools);
}

type JsonOptions = ServerOrDataOptions & { readonly json?: boolean };

function addSigners(program: Command, { finish }: ProgramParts): void {
  const signer = program
    .command('signer')
    .description('add, list, show, disable and remove signers: people and pipelines that grants bind');
  withServerOrData(signer.command('add'))
    .description('add a signer, which may sign nothing until a grant says what')
    .argument('<name>', 'like ci-team-app')
    .option('--description <text>', 'for people')
    .option('--json', 'print JSON')
    .action(async (name: string, options: JsonOptions & { readonly description?: string }) => {
      const { runSignerAdd } = await import('./signer.ts');
      const { description = '', json = false } = options;
      finish(await runSignerAdd(loadExisting(options), { name, description, json }));
    });
  withServerOrData(signer.command('list'))
    .description('list the signers')
    .option('--json', 'print JSON')
    .action(async (options: JsonOptions) => {
      const { runSignerList } = await import('./signer.ts');
      finish(await runSignerList(loadExisting(options), options.json === true));
    });
  withServerOrData(signer.command('show'))
    .description('show a signer with its grants and tokens')
    .argument('<name>')
    .option('--json', 'print JSON')
    .action(async (name: string, options: JsonOptions) => {
      const { runSignerShow } = await import('./signer.ts');
      finish(await runSignerShow(loadExisting(options), { name, json: options.json === true }));
    });
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

function addGrants(program: Command, { finish }: ProgramParts): void {
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
    .requiredOption('--key <fingerprint>', 'of the signature, 40 hex digits or the key ID of 16')
    .option('--tag <tag>', 'of the signed reference; by default it has none', tagName)
    .option('--json', 'print JSON')
    .action(async (options: JsonOptions & GrantTestFlags) => {
      const { runGrantTest } = await import('./grant.ts');
      const { signer, repository, key, tag = null, json = false } = options;
      finish(await runGrantTest(loadExisting(options), { signer, repository, key, tag, json }));
    });
}

function addAuditProofs(audit: Command, finish: ProgramParts['finish']): void {
  withServerOrData(audit.command('verify'))
    .description(
      'check every audit event against the tree of the log, and the tree against its signed checkpoints',
    )
    .option('--from <checkpoint>', 'file of an older checkpoint that the log must go on from')
    .option(
      '--key <vkey>',
      "the log's verifier key, or a file that holds it; by default the one that the log itself names",
    )
    .option('--json', 'print JSON')
    .action(async (options: ServerOrDataOptions & { from?: string; key?: string; json?: boolean }) => {
      const { runAuditVerify } = await import('./audit-proof.ts');
      const { from = null, key = null, json = false } = options;
      finish(await runAuditVerify(loadExisting(options), { from, key, json }));
    });
  withServerOrData(audit.command('prove'))
    .description('write a proof that an event is in the log, to be checked without the server')
    .argument(
      '<path|seq>',
      'a signature like team/app@sha256=0123…/signature-1, or the number of an audit event',
    )
    .option(
      '-o, --output <file>',
      'where to write it, usually with the ending .tlog-proof (default: standard output)',
    )
    .option('--json', 'print JSON')
    .action(async (what: string, options: ServerOrDataOptions & { output?: string; json?: boolean }) => {
      const { runAuditProve } = await import('./audit-proof.ts');
      const { output = null, json = false } = options;
      finish(await runAuditProve(loadExisting(options), { what, output, json }));
    });
  audit
    .command('check')
    .description('check a proof with nothing but the key of the log, and show the event')
    .argument('<file>', 'the proof that lookaside audit prove has written; - is standard input')
    .requiredOption('--key <vkey>', "the log's verifier key, or a file that holds it")
    .option(
      '--witness <vkey>',
      'the verifier key of a witness that must have cosigned, or a file that holds it; repeatable',
      collect,
    )
    .option('--signature <file>', 'the signature that the proof must be about')
    .option('--json', 'print JSON')
    .action(async (file: string, options: AuditCheckFlags) => {
      const { runAuditCheck } = await import('./audit-check.ts');
      const { key, witness: witnesses = [], signature = null, json = false } = options;
      finish(await runAuditCheck({ file, key, witnesses, signature, json }));
    });
}

function addMirrors(program: Command, { finish }: ProgramParts): void {
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
        finish(await runMirrorFrom(loadForServer(options), { file, apply, json }));
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
      'show how the mirrors are doing; exit code 1 when an upstream is not asked for a while after faults',
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
    .description('stop serving a mirror; its signatures stay on the disk')
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
    .option('--changed-only', 'name only images that are new, refused or failed')
    .option('--json', 'print JSON, with every image')
    .action(async (name: string, files: string[], options: MirrorOptions) => {
      const { runMirrorSync } = await import('./mirror.ts');
      const { maxAge: maxAgeMs = null, changedOnly = false, json = false } = options;
      const sources = files.length === 0 ? ['-'] : files;
      finish(
        await runMirrorSync(loadExisting(options), { name, files: sources, maxAgeMs, changedOnly, json }),
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

function withData(command: Command): Command {
  return command
    .option('--data <folder>', 'where everything but a shared tree lies (LOOKASIDE_DATA, ./data)')
    .option(
      '--root <folder>',
      'a tree that podman or rsync write to as well (LOOKASIDE_ROOT, DATA/sigstore)',
    );
}

function withServer(command: Command): Command {
  return command
    .option('--server <url>', 'the server, with the path below which it serves (LOOKASIDE_URL)')
    .option('--token-file <file>', 'the file that holds the token (LOOKASIDE_TOKEN_FILE, LOOKASIDE_TOKEN)')
    .option('--ca <file>', 'certificates in PEM to trust beside those of Node.js (LOOKASIDE_CA)');
}

function withRemote(command: Command): Command {
  return withServer(command).option(
    '--data <folder>',
    'instead of --server: the data directory of a server that runs on this machine (LOOKASIDE_DATA, ./data)',
  );
}

function withServerOrData(command: Command): Command {
  return withData(withServer(command));
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

/** The values of an option that may be given several times. */
function collect(value: string, before: readonly string[] = []): readonly string[] {
  return [...before, value];
}

/** @throws InvalidArgumentError, as all of these, which commander tells */
function tagName(text: string): string {
  if (isTag(text)) return text;
  throw new InvalidArgumentError('Wanted letters, digits and . _ -, at most 128.');
}

function keyName(text: string): string {
  if (isKeyName(text)) return parseKeyName(text);
  throw new InvalidArgumentError('Wanted a fingerprint of 40 hex digits or a key ID of 16.');
}

function grantId(text: string): number {
  if (/^[1-9][0-9]{0,14}$/.test(text)) return Number(text);
  throw new InvalidArgumentError('Wanted the number of a grant, as grant list shows it.');
}

const TIME = /^\d{4}-\d{2}-\d{2}(?:T\d{2}:\d{2}(?::\d{2}(?:\.\d{1,3})?)?(?:Z|[+-]\d{2}:\d{2}))?$/;

function time(text: string): Date {
  const at = new Date(TIME.test(text) ? text : Number.NaN);
  if (!Number.isNaN(at.getTime())) return at;
  throw new InvalidArgumentError('Wanted a day like 2026-11-22, or a time like 2026-11-22T10:00:00Z.');
}

function age(text: string): number {
  const ms = durationMs(text);
  if (ms !== null) return ms;
  throw new InvalidArgumentError('Wanted a time like 1h, 30m or 7d.');
}

function missingStatus(text: string, before: readonly number[] = []): readonly number[] {
  const status = Number(text);
  if (Number.isInteger(status) && status >= 400 && status <= 499) return [...before, status];
  throw new InvalidArgumentError('Wanted a status from 400 to 499.');
}

function life(text: string): number {
  const ms = durationMs(text);
  if (ms !== null && ms <= MAX_TOKEN_LIFE_MS) return ms;
  throw new InvalidArgumentError('Wanted how long the token is taken, like 90d, 12h or 30m; at most 36500d.');
}

type Options = DataOptions & RemoteOptions & ServeOptions;

/** Loaded ahead of every command; the environment stays the one that it was loaded for. */
let parseYaml: ParseYaml | null = null;

/** For commands that may make a data directory. */
function load(options: Options): Config {
  return loadConfig(inputOf(options)).config;
}

/** For commands to a server: the one that is named, or that of the data directory on this machine. */
function loadForServer(options: Options): Config {
  return loadConfig({ ...inputOf(options), systemData: SYSTEM_DATA }).config;
}

/** For commands that make no data directory. @throws LookasideError CONFIG_INVALID when no server is named and there is none */
function loadExisting(options: Options): Config {
  const config = loadForServer(options);
  if (config.remote.url === null) requireDataDirectory(config.data);
  return config;
}

/** For commands that ask no server elsewhere. @throws LookasideError CONFIG_INVALID when there is no data directory */
function loadHere(options: Options): Config {
  const config = loadForServer(options);
  requireDataDirectory(config.data);
  return config;
}

function inputOf(options: Options) {
  const { data, root, listen, tlsCert, tlsKey, registry, server, tokenFile, ca } = options;
  const flags = {
    ...(data === undefined ? {} : { data }),
    ...(root === undefined ? {} : { root }),
    ...(listen === undefined ? {} : { listen }),
    ...(tlsCert === undefined ? {} : { tls_cert: tlsCert }),
    ...(tlsKey === undefined ? {} : { tls_key: tlsKey }),
    ...(registry === undefined ? {} : { registry }),
    ...(server === undefined ? {} : { url: server }),
    ...(tokenFile === undefined ? {} : { token_file: tokenFile }),
    ...(ca === undefined ? {} : { ca }),
  };
  return { flags, workingFolder: process.cwd(), parseYaml };
}
