// lookaside client-config: the files by which clients demand signatures; printed, written as a tree, compared or put in place.
import {
  findKeys,
  type InstallPlan,
  install,
  type PlannedChange,
  planFresh,
  planHanded,
  planInstall,
  type Target,
  undo,
  writeTree,
} from '../compose/client-config.ts';
import { type Config, loadMirrorParsers } from '../config.ts';
import { type ClientKind, KINDS_WITH_POLICY } from '../domain/client-config/kind.ts';
import { sourcesOf, withMirrors } from '../domain/client-config/mirrored-scopes.ts';
import type { Note } from '../domain/client-config/policy-merge.ts';
import { unifiedDiff } from '../domain/client-config/unified-diff.ts';
import {
  requireRegistryScope,
  SCOPE_WANTED,
  type TrustedKey,
  type WantedConfig,
} from '../domain/client-config/wanted.ts';
import { LookasideError } from '../domain/errors.ts';
import { parseKeyName } from '../domain/key.ts';
import { MAX_CERTIFICATES_BYTES, MAX_INSTALLED_BYTES } from '../domain/limits.ts';
import { type MirroredSource, mirroredSources } from '../domain/mirror-sets.ts';
import { escapeTerminal, quoted } from '../domain/text.ts';
import { readInput } from './input.ts';
import { EXIT, plural, print, printJson, QUESTION_PATIENCE_MS, tell, tellRetry } from './terminal.ts';

export interface ClientConfigCommand {
  readonly kind: ClientKind;
  readonly namespaces: readonly string[];
  /** The image that the pods run; null: the default one. */
  readonly image: string | null;
  readonly registries: readonly string[];
  readonly keys: readonly string[];
  readonly signers: readonly string[];
  readonly isAllKeys: boolean;
  readonly keyrings: readonly string[];
  /** Where mirrors are named; null: they are not asked for. */
  readonly registriesConf: string | null;
  /** Null: the URL of the server. */
  readonly lookaside: string | null;
  readonly staging: { readonly isChosen: boolean; readonly url: string | null };
  readonly keysIn: WantedConfig['keysIn'];
  readonly policy: string | null;
  readonly mayWiden: boolean;
  readonly target: Target;
  readonly act: 'print' | 'write' | 'diff' | 'install' | 'undo';
  /** The folder of `write`. */
  readonly output: string | null;
  readonly json: boolean;
}

/** EXIT.failed of `diff`: something would change. */
export async function runClientConfig(load: () => Config, command: ClientConfigCommand): Promise<number> {
  refuseElsewhere(command);
  if (command.act === 'undo') return takeBack(command);
  const mirrors = await readMirrors(command.registriesConf);
  const registries = registriesOf(command, mirrors);
  const config = load();
  const { wanted, notes } = await readWanted(config, { registries, mirrors }, command);
  const options = { wanted, isStagingChosen: command.staging.isChosen, mayWiden: command.mayWiden };
  const plan = await planFor(config, command, options);
  const all = { ...plan, notes: [...notes, ...plan.notes] };
  switch (command.act) {
    case 'print':
      return show(all, wanted, command, formatFiles(all, wanted));
    case 'write':
      await writeTree(command.output ?? '', plan.changes);
      return show(all, wanted, command, formatWritten(all, command.output ?? ''));
    case 'diff':
      show(all, wanted, command, formatDiff(all));
      return plan.changes.length === 0 ? EXIT.done : EXIT.failed;
    case 'install': {
      const backup = plan.changes.length === 0 ? null : await install(plan);
      return show(all, wanted, command, formatInstalled(all, backup, command.target), backup);
    }
  }
}

async function planFor(
  config: Config,
  command: ClientConfigCommand,
  options: Pick<Parameters<typeof planFresh>[0], 'wanted' | 'isStagingChosen' | 'mayWiden'>,
): Promise<InstallPlan> {
  const { kind, act, target, namespaces } = command;
  if (act === 'diff' || act === 'install') return planInstall({ ...options, target, namespaces });
  const policy = await readPolicy(command.policy);
  if (kind === 'podman') return planFresh({ ...options, policy });
  // keys from files are none of a server's
  const server = command.keyrings.length > 0 ? null : { url: baseUrl(serverUrl(config)), isClosed: false };
  return planHanded({ ...options, kind, policy, namespaces, server, image: command.image });
}

/** @throws LookasideError CONFIG_INVALID for what this kind does not have */
function refuseElsewhere({ kind, act, policy, namespaces, target }: ClientConfigCommand): void {
  if (kind === 'podman') {
    if (namespaces.length === 0) return;
    throw new LookasideError('CONFIG_INVALID', 'podman knows no namespaces; leave out --namespace');
  }
  if (kind === 'crio') {
    if (namespaces.length === 0 && act !== 'undo')
      throw new LookasideError('CONFIG_INVALID', '--kind crio needs --namespace: whose pods it is about');
    if (target.kind === 'system' || act === 'print' || act === 'write') return;
    throw new LookasideError(
      'CONFIG_INVALID',
      'CRI-O reads no files of users; run the command as root, or name the machine with --root',
    );
  }
  if (act !== 'print' && act !== 'write')
    throw new LookasideError(
      'CONFIG_INVALID',
      `the files of --kind ${kind} are not for this machine, and --${act} is; write them with -o FOLDER`,
    );
  if (policy !== null && !KINDS_WITH_POLICY.includes(kind))
    throw new LookasideError('CONFIG_INVALID', `${kind} reads no policy.json; leave out --policy`);
}

function registriesOf(
  { registries }: ClientConfigCommand,
  mirrors: readonly MirroredSource[],
): readonly string[] {
  if (registries.length === 0 && mirrors.length > 0) return sourcesOf(mirrors);
  if (registries.length === 0)
    throw new LookasideError(
      'CONFIG_INVALID',
      `--registry is missing: for which images signatures are demanded; ${SCOPE_WANTED}`,
    );
  return [...new Set(registries.map(requireRegistryScope))];
}

/** @throws LookasideError REQUEST_INVALID when the file names no mirror */
async function readMirrors(file: string | null): Promise<readonly MirroredSource[]> {
  if (file === null) return [];
  const remedy = 'name a registries.conf or a file with an ImageDigestMirrorSet';
  const bytes = await readInput(file, { maxBytes: MAX_INSTALLED_BYTES, remedy });
  return mirroredSources(Buffer.from(bytes).toString('utf8'), await loadMirrorParsers());
}

async function readWanted(
  config: Config,
  {
    registries,
    mirrors,
  }: { readonly registries: readonly string[]; readonly mirrors: readonly MirroredSource[] },
  command: ClientConfigCommand,
): Promise<{ readonly wanted: WantedConfig; readonly notes: readonly Note[] }> {
  const { keys, signers, isAllKeys, staging, keysIn } = command;
  const lookaside = baseUrl(command.lookaside ?? serverUrl(config));
  const keyrings = await Promise.all(
    command.keyrings.map(async (source) => ({ source, bytes: await readInput(source, KEYRING) })),
  );
  const keyed = await findKeys(config, {
    registries,
    keyrings,
    choice: { keys: keys.map(parseKeyName), signers, isAllKeys },
    onRetry: tellRetry,
    patienceMs: QUESTION_PATIENCE_MS,
  });
  const url = staging.url === null ? null : stagingUrl(staging.url);
  const { scopes, notes } = withMirrors(keyed.scopes, mirrors);
  return { wanted: { scopes, lookaside, staging: url, keysIn }, notes: [...keyed.notes, ...notes] };
}

const KEYRING = {
  maxBytes: MAX_CERTIFICATES_BYTES,
  remedy: 'name a file of public keys, which this writes: gpg --export FINGERPRINT > FILE',
};

/** Without the user and the password by which an administrator asks it: every user of the client reads the file. */
function serverUrl({ remote, publicUrl }: Config): string {
  const text = remote.url ?? publicUrl;
  if (text === null)
    throw new LookasideError(
      'CONFIG_INVALID',
      'it is not known where clients find the signatures; give the URL of the server with --server',
    );
  const url = new URL(text);
  url.username = '';
  url.password = '';
  return url.href;
}

function baseUrl(text: string): string {
  const isUrl = URL.canParse(text) && /^(?:https?|file):$/.test(new URL(text).protocol);
  // clients put the path of a signature behind it: a slash doubles, and a query would stand before it
  if (isUrl && !/[?#\s]/.test(text)) return text.replace(/\/+$/, '');
  throw new LookasideError(
    'CONFIG_INVALID',
    `--lookaside is ${quoted(text)}; wanted a URL like https://signatures.example.com, without ? and #`,
  );
}

function stagingUrl(text: string): string {
  if (/^\/[^?#\s]*$/.test(text)) return `file://${text}`;
  if (/^file:\/\/\/[^?#\s]*$/.test(text)) return text;
  throw new LookasideError(
    'CONFIG_INVALID',
    `--staging is ${quoted(text)}; wanted a folder like /var/lib/containers/sigstore, to which clients can write`,
  );
}

async function readPolicy(
  file: string | null,
): Promise<{ readonly file: string; readonly bytes: Uint8Array } | null> {
  if (file === null) return null;
  const bytes = await readInput(file, { maxBytes: MAX_INSTALLED_BYTES, remedy: 'name a policy.json' });
  if (bytes.length <= MAX_INSTALLED_BYTES) return { file, bytes };
  throw new LookasideError(
    'CONFIG_INVALID',
    `${file} has more than ${MAX_INSTALLED_BYTES} bytes; name a policy.json`,
  );
}

function show(
  plan: InstallPlan,
  { scopes, lookaside }: WantedConfig,
  { json, act, kind }: ClientConfigCommand,
  text: string,
  backup: string | null = null,
): number {
  if (!json) {
    print(text);
    if (plan.commands.length > 0 && (act === 'print' || act === 'write'))
      print(`\n# to use them:\n${plan.commands.map(escapeTerminal).join('\n')}`);
    for (const { message } of plan.notes) tell(`note: ${message}`);
    return EXIT.done;
  }
  printJson({
    kind,
    lookaside,
    sections: scopes.map(({ registry, keys }) => ({
      registry,
      keys: keys.map(({ fingerprint }) => fingerprint),
    })),
    keys: keysOf(scopes).map(({ fingerprint, userIds }) => ({ fingerprint, userIds })),
    files: plan.changes.map(shownFile),
    ...(kind === 'podman' ? {} : { commands: plan.commands }),
    notes: plan.notes,
    ...(act === 'install' ? { backup } : {}),
  });
  return EXIT.done;
}

function shownFile({ path, place, action, before, content, keys }: PlannedChange) {
  const bytes = Buffer.from(content);
  const isText = keys === null;
  return {
    ...{ path, place, action, mode: '0644', encoding: isText ? 'utf-8' : 'base64' },
    content: bytes.toString(isText ? 'utf8' : 'base64'),
    diff: isText ? diffOf({ path, before, content }) : null,
    keys,
  };
}

function keysOf(scopes: WantedConfig['scopes']): readonly TrustedKey[] {
  return [...new Map(scopes.flatMap(({ keys }) => keys).map((key) => [key.fingerprint, key])).values()];
}

/** Each file under its name; keys are binary, and only described. */
function formatFiles({ changes }: InstallPlan, { scopes }: WantedConfig): string {
  const owners = new Map(
    keysOf(scopes).map(({ fingerprint, userIds: [first = ''] }) => [fingerprint, first]),
  );
  return changes
    .map(({ path, content, keys }) => {
      if (keys === null) return `# ${path}\n${shownText(new TextDecoder().decode(content))}`;
      const held = keys.map((key) => `#   ${key} ${escapeTerminal(owners.get(key) ?? '')}`);
      return [
        `# ${path}: ${plural(content.length, 'byte')}, binary, as -o FOLDER and --install write it`,
        ...held,
        '',
      ].join('\n');
    })
    .join('\n')
    .trimEnd();
}

function formatWritten({ changes }: InstallPlan, folder: string): string {
  return changes
    .map(
      ({ path }) => `written ${escapeTerminal(`${folder.replace(/\/+$/, '')}/${path.replace(/^\//, '')}`)}`,
    )
    .join('\n');
}

function formatDiff({ changes }: InstallPlan): string {
  if (changes.length === 0) return UNCHANGED;
  return changes
    .map((change) => {
      if (change.keys === null) return shownText(diffOf(change)).trimEnd();
      const what = change.action === 'create' ? 'is new' : 'changes';
      return `the key file ${change.path} ${what}: ${change.keys.join(', ')}`;
    })
    .join('\n');
}

const UNCHANGED = 'nothing has to be changed: everything is there';

function formatInstalled({ changes }: InstallPlan, backup: string | null, target: Target): string {
  if (backup === null) return UNCHANGED;
  const lines = changes.map(({ place, action }) => `${action === 'create' ? 'created' : 'changed'} ${place}`);
  const where = target.kind === 'user' ? ' --user' : target.root === '/' ? '' : ` --root ${target.root}`;
  return [
    ...lines,
    `what was there is kept in ${backup}`,
    `to take it back: lookaside client-config --undo${where}`,
  ]
    .map(escapeTerminal)
    .join('\n');
}

function diffOf({ path, before, content }: Pick<PlannedChange, 'path' | 'before' | 'content'>): string {
  const text = new TextDecoder();
  return unifiedDiff(path, before === null ? null : text.decode(before), text.decode(content));
}

/** Tabs and line ends stay; what else could control a terminal does not. */
function shownText(text: string): string {
  return text
    .split(/([\n\t])/)
    .map((part) => (part === '\n' || part === '\t' ? part : escapeTerminal(part)))
    .join('');
}

async function takeBack({ target, json }: ClientConfigCommand): Promise<number> {
  const undone = await undo(target);
  if (json) printJson({ undone });
  else if (undone.length === 0) print('every file is as it was before already');
  else print(undone.map(({ path, action }) => escapeTerminal(`${action} ${path}`)).join('\n'));
  return EXIT.done;
}
