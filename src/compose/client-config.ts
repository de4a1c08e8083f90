// Builds what lookaside client-config uses: keys of a server or of files, the files of this machine, and how they are changed.
import { createHash } from 'node:crypto';
import path from 'node:path';
import type { Config } from '../config.ts';
import { CRIO_POLICIES, type NamespacePolicy, planNamespaces } from '../domain/client-config/crio.ts';
import { yamlEditor } from '../domain/client-config/edit-yaml.ts';
import type { HandedKind, KindOptions } from '../domain/client-config/kind.ts';
import { planKind, requireNamespaces } from '../domain/client-config/kinds.ts';
import {
  type InstalledFiles,
  type PlannedFile,
  planPodmanFiles,
} from '../domain/client-config/podman-files.ts';
import type { Note } from '../domain/client-config/policy-merge.ts';
import type { EditYaml, RegistriesFile } from '../domain/client-config/registries-merge.ts';
import type { TrustedKey, TrustedScope, WantedConfig } from '../domain/client-config/wanted.ts';
import { LookasideError } from '../domain/errors.ts';
import { PolicyFault } from '../domain/policy/policy.ts';
import { RegistriesDFault } from '../domain/policy/registries-d.ts';
import type { Verifier } from '../domain/ports.ts';
import {
  type FileToInstall,
  type InstallPlace,
  installFiles,
  isThere,
  namesInstalled,
  readInstalled,
  realFolder,
  type Undone,
  undoInstall,
  writeFiles,
} from '../files/client-install.ts';
import { armorPublicKey } from '../openpgp/armor.ts';
import { openVerifier } from '../openpgp/pool.ts';
import { askKeys, type KeyQuestion } from '../upstream/client-config.ts';
import { askingBy, type ConnectServerOptions, localServerOf, remoteOf } from './client.ts';
import { systemClock } from './clock.ts';

/** Whose files: those of the system below a root, or those of one user. */
export type Target =
  | { readonly kind: 'system'; readonly root: string; readonly home: string }
  | { readonly kind: 'user'; readonly home: string; readonly root: string };

export interface KeysWanted extends ConnectServerOptions {
  readonly registries: readonly string[];
  readonly choice: Omit<KeyQuestion, 'registry'>;
  /** What `gpg --export` writes, in place of a server's keys. */
  readonly keyrings: readonly { readonly source: string; readonly bytes: Uint8Array }[];
}

export interface FoundKeys {
  readonly scopes: readonly TrustedScope[];
  readonly notes: readonly Note[];
}

/**
 * The keys, read here: a key that was named by its fingerprint is that key, whatever a server sends.
 * @throws LookasideError as askKeys() does; CONFIG_INVALID for what is no key
 */
export async function findKeys(config: Config, wanted: KeysWanted): Promise<FoundKeys> {
  const verifier = openVerifier();
  try {
    return wanted.keyrings.length > 0
      ? await keysOfFiles(verifier, wanted)
      : await keysOfServer(verifier, config, wanted);
  } finally {
    await verifier.close();
  }
}

async function keysOfServer(verifier: Verifier, config: Config, wanted: KeysWanted): Promise<FoundKeys> {
  const { registries, choice } = wanted;
  const at = remoteOf(config) ?? localServerOf(config);
  const questions = registries.map((registry) => ({ registry, ...choice }));
  const offered = await askKeys({ at, ...askingBy(wanted) }, questions);
  const scopes: TrustedScope[] = [];
  for (const [index, registry] of registries.entries()) {
    const keys = new Map<string, TrustedKey>();
    for (const { fingerprint, untrusted } of offered[index]?.keys ?? []) {
      const sent = await readKeys(verifier, `the key ${fingerprint} of the server`, untrusted);
      const key = sent.find((one) => one.fingerprint === fingerprint);
      if (sent.length !== 1 || key === undefined)
        throw new LookasideError(
          'CONFIG_INVALID',
          `the server sent another key than ${fingerprint}, and nothing of it is trusted; check that its URL is right`,
        );
      keys.set(fingerprint, key);
    }
    const chosen = [...keys.values()];
    requireNamed(choice.keys, chosen);
    scopes.push({ registry, keys: chosen, identity: null });
  }
  return { scopes, notes: offered.flatMap(({ notes }) => notes) };
}

async function keysOfFiles(
  verifier: Verifier,
  { registries, keyrings, choice }: KeysWanted,
): Promise<FoundKeys> {
  const all = new Map<string, TrustedKey>();
  for (const { source, bytes } of keyrings)
    for (const key of await readKeys(verifier, source, bytes)) all.set(key.fingerprint, key);
  const named = choice.keys.map((name) => name.toUpperCase());
  const keys = [...all.values()].filter(
    ({ fingerprint }) => named.length === 0 || named.some((name) => fingerprint.endsWith(name)),
  );
  requireNamed(choice.keys, keys);
  return { scopes: registries.map((registry) => ({ registry, keys, identity: null })), notes: [] };
}

function requireNamed(names: readonly string[], keys: readonly TrustedKey[]): void {
  const missing = names.find((name) => !keys.some(({ fingerprint }) => fingerprint.endsWith(name)));
  if (missing === undefined) return;
  throw new LookasideError(
    'CONFIG_INVALID',
    `there is no key ${missing} where keys were looked for; name another with --key`,
  );
}

async function readKeys(
  verifier: Verifier,
  source: string,
  untrusted: Uint8Array,
): Promise<readonly TrustedKey[]> {
  return (await verifier.cleanCertificates(untrusted, systemClock.now())).map((result) => {
    if (result.kind === 'refused') throw new LookasideError('CONFIG_INVALID', `${source}: ${result.message}`);
    const { fingerprint, userIds } = result.details;
    return { fingerprint, userIds, certificate: result.certificate };
  });
}

export interface PlanWanted {
  readonly target: Target;
  readonly wanted: WantedConfig;
  readonly isStagingChosen: boolean;
  readonly mayWiden: boolean;
  /** The namespaces of CRI-O whose policies are wanted; none: the policy of all. */
  readonly namespaces: readonly string[];
}

/** A file as it will be; its path is relative where it is handed on. */
export interface PlannedChange extends PlannedFile {
  /** On this machine. */
  readonly place: string;
  readonly action: 'create' | 'change';
  readonly before: Uint8Array | null;
}

export interface InstallPlan {
  readonly place: InstallPlace;
  /** In the order in which they are put in place; empty: everything is there already. */
  readonly changes: readonly PlannedChange[];
  /** What to run where the files are. */
  readonly commands: readonly string[];
  readonly notes: readonly Note[];
}

export interface FreshWanted extends Omit<PlanWanted, 'target' | 'namespaces'> {
  /** What is merged into; null: a new policy. */
  readonly policy: { readonly file: string; readonly bytes: Uint8Array } | null;
}

/** For a machine that has no such files. @throws as planInstall() */
export async function planFresh({ policy, ...options }: FreshWanted): Promise<InstallPlan> {
  const target: Target = { kind: 'system', root: '/', home: '/' };
  const { folder, place } = placeOf(target);
  const planned = await refusingFaults({ policyFile: policy?.file ?? '', folder: folder.seen }, () =>
    planPodmanFiles({
      ...options,
      installed: { policy: policy?.bytes ?? null, registriesD: [] },
      paths: { folder: folder.seen, builtInStaging: builtInStaging(target) },
      editYaml: (text) => text, // there is no file to edit
      sha256,
    }),
  );
  const changes = planned.files.map(
    (file) => ({ ...file, place: file.path, action: 'create', before: null }) as const,
  );
  return { place, changes, commands: [], notes: planned.notes };
}

export interface HandedWanted extends Omit<KindOptions, 'policy' | 'sha256' | 'armor'> {
  readonly kind: HandedKind;
  readonly policy: FreshWanted['policy'];
}

/** The files that somebody hands to a cluster, a fleet or another program. @throws as planInstall() */
export async function planHanded({ kind, policy, ...options }: HandedWanted): Promise<InstallPlan> {
  const { place } = placeOf({ kind: 'system', root: '/', home: '/' });
  const planned = await refusingFaults({ policyFile: policy?.file ?? '', folder: '/' }, () =>
    planKind(kind, { ...options, policy: policy?.bytes ?? null, sha256, armor: armorPublicKey }),
  );
  const changes = planned.files.map(
    (file) => ({ ...file, place: file.path, action: 'create', before: null }) as const,
  );
  return { place, changes, commands: planned.commands, notes: planned.notes };
}

/** Below the folder, which is made if it is not there. @throws LookasideError as installFiles() does */
export function writeTree(folder: string, changes: readonly PlannedChange[]): Promise<void> {
  return writeFiles(
    path.resolve(folder),
    changes.map(({ path: file, content }) => ({
      path: file.replace(/^\//, ''),
      before: null,
      after: content,
    })),
  );
}

/** Reads what is installed. @throws LookasideError CONFIG_INVALID naming file, line and column of what clients refuse */
export async function planInstall(options: PlanWanted): Promise<InstallPlan> {
  const { wanted, isStagingChosen, mayWiden, namespaces } = options;
  requireNamespaces(namespaces);
  const target = await resolveTarget(options.target);
  const { folder, place } = placeOf(target);
  const registriesD = path.join(place.base, folder.below, 'registries.d');
  const inForce = await refusingFaults({ policyFile: '', folder: registriesD }, () => readAll(target));
  const plan = {
    ...{
      wanted,
      isStagingChosen,
      mayWiden,
      installed: inForce.installed,
      editYaml: inForce.editYaml,
      sha256,
    },
    paths: { folder: folder.seen, builtInStaging: builtInStaging(target) },
  };
  const planned = await refusingFaults({ policyFile: inForce.policyFile, folder: registriesD }, async () => {
    if (namespaces.length === 0) return planPodmanFiles(plan);
    const policies: NamespacePolicy[] = [];
    for (const namespace of namespaces) {
      const own = await readInstalled(place.base, `${CRIO_POLICIES}/${namespace}.json`.slice(1));
      policies.push({ namespace, inForce: own ?? inForce.policyBytes });
    }
    return planNamespaces(plan, policies);
  });
  const changes: PlannedChange[] = [];
  const files = [...planned.files, ...copiesOf(inForce, planned.files, folder.seen)];
  for (const file of files.sort((a, b) => rankOf(a.path) - rankOf(b.path))) {
    const isBelow = file.path.startsWith(`${folder.seen}/`);
    const relative = isBelow ? `${folder.below}${file.path.slice(folder.seen.length)}` : file.path.slice(1);
    const before = await readInstalled(place.base, relative);
    if (before !== null && Buffer.compare(before, file.content) === 0) continue;
    // a policy that is read from elsewhere already says it
    if (
      before === null &&
      isSameBytes(inForce.policyBytes, file.content) &&
      file.path.endsWith('/policy.json')
    )
      continue;
    if (before !== null && file.keys !== null)
      await refuseOtherKeys(path.join(place.base, relative), before, file.keys);
    changes.push({
      ...file,
      place: path.join(place.base, relative),
      action: before === null ? 'create' : 'change',
      before,
    });
  }
  return { place, changes, commands: [], notes: [...planned.notes, ...(await hidingNotes(target, changes))] };
}

/** The folder of the backup. @throws as installFiles() does; and then every file is as it was */
export function install({ place, changes }: InstallPlan): Promise<string> {
  const files = changes.map(({ place: file, before, content }): FileToInstall => {
    return { path: path.relative(place.base, file), before, after: content };
  });
  return installFiles(place, files, systemClock.now());
}

/** @throws as undoInstall() does */
export async function undo(target: Target): Promise<readonly Undone[]> {
  return undoInstall(placeOf(await resolveTarget(target)).place);
}

async function resolveTarget(target: Target): Promise<Target> {
  if (target.kind === 'system') return { ...target, root: await realFolder(target.root) };
  return { ...target, home: await realFolder(target.home) };
}

/** `seen`: as clients name the folder. `below`: from the base. */
function placeOf(target: Target) {
  const isSystem = target.kind === 'system';
  const below = isSystem ? 'etc/containers' : '.config/containers';
  const base = isSystem ? target.root : target.home;
  const seen = isSystem ? '/etc/containers' : path.join(target.home, below);
  return { folder: { below, seen }, place: { base, backups: `${below}/lookaside-backup` } };
}

function builtInStaging(target: Target): string {
  if (target.kind === 'system') return 'file:///var/lib/containers/sigstore';
  return `file://${path.join(target.home, '.local/share/containers/sigstore')}`;
}

// what the policy names is there before the policy
function rankOf(file: string): number {
  return file.endsWith('.json') ? 2 : file.endsWith('.gpg') ? 0 : 1;
}

interface Found {
  readonly installed: InstalledFiles;
  /** Where the policy was read. */
  readonly policyFile: string;
  readonly policyBytes: Uint8Array | null;
  /** The files of registries.d that clients no longer read once a folder of the user is there. */
  readonly hidden: readonly RegistriesFile[];
  readonly editYaml: EditYaml;
}

/** What clients read now, of the user or the system. */
async function readAll(target: Target): Promise<Found> {
  const yaml = await import('yaml');
  const { folder, place } = placeOf(target);
  const parse = (file: string, text: string): unknown => {
    try {
      return yaml.parse(text);
    } catch (error) {
      const [first = ''] = String(error instanceof Error ? error.message : error).split('\n');
      throw new RegistriesDFault(file, `is not YAML that clients read: ${first.replace(/:$/, '')}`);
    }
  };
  const own = { base: place.base, folder: folder.below };
  const system = { base: target.root, folder: 'etc/containers' };
  const vendor = { base: target.root, folder: 'usr/share/containers' };
  const places = target.kind === 'system' ? [own, vendor] : [own, system, vendor];
  let policy: { readonly file: string; readonly bytes: Uint8Array } | null = null;
  for (const one of places) {
    const bytes = await readInstalled(one.base, `${one.folder}/policy.json`);
    if (bytes === null) continue;
    policy = { file: path.join(one.base, one.folder, 'policy.json'), bytes };
    break;
  }
  const files = new Map<string, RegistriesFile>();
  const owned = new Set<string>();
  for (const one of [...places].reverse()) {
    for (const name of await namesInstalled(one.base, `${one.folder}/registries.d`)) {
      if (!name.endsWith('.yaml')) continue;
      const bytes = await readInstalled(one.base, `${one.folder}/registries.d/${name}`);
      if (bytes === null) continue;
      const text = new TextDecoder().decode(bytes);
      files.set(name, {
        name,
        text,
        value: parse(path.join(one.base, one.folder, 'registries.d', name), text),
      });
      if (one === own) owned.add(name);
    }
  }
  // clients before podman 6 read no other folder once the user has one
  const isHiding = target.kind === 'user' && owned.size === 0;
  return {
    installed: { policy: policy?.bytes ?? null, registriesD: [...files.values()] },
    policyFile: policy?.file ?? path.join(place.base, folder.below, 'policy.json'),
    policyBytes: policy?.bytes ?? null,
    hidden: isHiding ? [...files.values()] : [],
    editYaml: yamlEditor(yaml),
  };
}

/** Files of the system that the user's new registries.d would hide. */
function copiesOf(
  { hidden }: Found,
  planned: readonly PlannedFile[],
  folder: string,
): readonly PlannedFile[] {
  if (!planned.some((file) => file.path.includes('/registries.d/'))) return [];
  return hidden
    .map(({ name, text }) => ({
      path: `${folder}/registries.d/${name}`,
      content: new TextEncoder().encode(text),
      keys: null,
    }))
    .filter((copy) => !planned.some((file) => file.path === copy.path));
}

async function refusingFaults<T>(
  { policyFile, folder }: { readonly policyFile: string; readonly folder: string },
  act: () => T | Promise<T>,
): Promise<T> {
  try {
    return await act();
  } catch (error) {
    const refused =
      'clients refuse the whole of it, and every image with it. Mend it, then run the command again';
    if (error instanceof PolicyFault) {
      const { line, column } = error;
      throw new LookasideError(
        'CONFIG_INVALID',
        `${policyFile}, line ${line}, column ${column}: ${error.message}; ${refused}`,
        {
          detail: { file: policyFile, line, column },
          cause: error,
        },
      );
    }
    if (error instanceof RegistriesDFault) {
      const file = path.resolve(folder, error.file);
      throw new LookasideError('CONFIG_INVALID', `${file}: ${error.message}; ${refused}`, {
        detail: { file },
        cause: error,
      });
    }
    throw error;
  }
}

/** A file of that name may be the key of another section. */
async function refuseOtherKeys(file: string, before: Uint8Array, keys: readonly string[]): Promise<void> {
  const verifier = openVerifier();
  try {
    const certificates = await verifier.cleanCertificates(before, systemClock.now()).catch(() => []); // no certificate: no key
    const others = certificates.flatMap((one) =>
      one.kind === 'clean' ? [one.details.fingerprint] : [one.fingerprint ?? '?'],
    );
    const other = others.find((one) => !keys.includes(one));
    if (other === undefined) return;
    throw new LookasideError(
      'CONFIG_INVALID',
      `${file} holds the key ${other}, and a section of the policy may rest on it; expected ${keys.join(', ')}. Move the file away, then run the command again`,
    );
  } finally {
    await verifier.close();
  }
}

async function hidingNotes(target: Target, changes: readonly PlannedChange[]): Promise<readonly Note[]> {
  if (target.kind === 'user' || target.root !== '/' || changes.length === 0) return [];
  const notes: Note[] = [];
  for (const name of ['policy.json', 'registries.d']) {
    const own = path.join(target.home, '.config/containers', name);
    if (!(await isThere(own))) continue;
    notes.push({
      code: 'HIDDEN_FILES',
      message: `${own} is there, and hides /etc/containers/${name} from clients of this user; install with --user for them`,
    });
  }
  return notes;
}

function isSameBytes(one: Uint8Array | null, other: Uint8Array): boolean {
  return one !== null && Buffer.compare(one, other) === 0;
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
