// Which of the registered keys clients are to trust for which registry, and the files that tell them so.
import { createHash } from 'node:crypto';
import type { HandedKind, KindOptions, KindPlan } from '../domain/client-config/kind.ts';
import { planKind } from '../domain/client-config/kinds.ts';
import { type PlannedFiles, planPodmanFiles } from '../domain/client-config/podman-files.ts';
import type { Note } from '../domain/client-config/policy-merge.ts';
import { repositoryPrefixOf, type TrustedScope, type WantedConfig } from '../domain/client-config/wanted.ts';
import { isLookasideError, LookasideError } from '../domain/errors.ts';
import type { RegisteredKey } from '../domain/key.ts';
import { touchesPrefix } from '../domain/pattern.ts';
import { PolicyFault } from '../domain/policy/policy.ts';
import type { Clock } from '../domain/ports.ts';
import { quoted } from '../domain/text.ts';
import type { KeyService } from './keys.ts';
import type { SignerService } from './signers.ts';

export interface ClientConfigPorts {
  readonly keys: Pick<KeyService, 'list' | 'find'>;
  readonly signers: Pick<SignerService, 'listGrants'>;
  readonly clock: Pick<Clock, 'now'>;
}

export interface KeyChoice {
  /** Fingerprints or key IDs. */
  readonly keys: readonly string[];
  readonly signers: readonly string[];
  readonly isAllKeys: boolean;
}

export interface ChosenKeys {
  readonly scopes: readonly TrustedScope[];
  readonly notes: readonly Note[];
}

/**
 * The keys of each registry: those that are named, those in grants of the signers for it, or all; when nothing is chosen, those
 * that any grant names for it. Keys that are not named count only while they are in force.
 * @throws LookasideError NOT_FOUND for an unknown key or signer, and for a registry without a key
 */
export async function chooseKeys(
  ports: ClientConfigPorts,
  registries: readonly string[],
  choice: KeyChoice,
): Promise<ChosenKeys> {
  const named: RegisteredKey[] = [];
  for (const key of choice.keys) named.push(await ports.keys.find(key));
  const all = await ports.keys.list();
  const grants = await grantsOf(ports, choice);
  const now = ports.clock.now();
  const notes: Note[] = [];
  const scopes = registries.map((registry): TrustedScope => {
    const granted = grants
      .filter(({ repositories }) => repositories.some((pattern) => isGrantedIn(pattern, registry)))
      .flatMap(({ fingerprints }) => fingerprints);
    const candidates = all.filter(({ fingerprint }) => choice.isAllKeys || granted.includes(fingerprint));
    for (const key of candidates) if (whyOut(key, now) !== null) notes.push(leftOut(registry, key, now));
    const chosen = [...named, ...candidates.filter((key) => whyOut(key, now) === null)];
    const keys = new Map(chosen.map((key) => [key.fingerprint, key]));
    if (keys.size === 0) throw noKey(registry, choice, all.length);
    return { registry, keys: [...keys.values()], identity: null };
  });
  return { scopes, notes };
}

async function grantsOf({ signers }: ClientConfigPorts, choice: KeyChoice) {
  if (choice.isAllKeys) return [];
  if (choice.signers.length > 0)
    return (await Promise.all(choice.signers.map((name) => signers.listGrants(name)))).flat();
  return choice.keys.length > 0 ? [] : signers.listGrants(null);
}

function isGrantedIn(pattern: string, registry: string): boolean {
  const prefix = repositoryPrefixOf(registry);
  return prefix === '' || touchesPrefix(pattern, prefix);
}

function whyOut({ revokedAt, expiresAt }: RegisteredKey, now: Date): string | null {
  if (revokedAt !== null) return 'it is revoked';
  return expiresAt !== null && expiresAt.getTime() <= now.getTime() ? 'it has expired' : null;
}

function leftOut(registry: string, key: RegisteredKey, now: Date): Note {
  return {
    code: 'KEY_LEFT_OUT',
    message: `the key ${key.fingerprint} is left out for ${registry}: ${whyOut(key, now)}`,
  };
}

function noKey(registry: string, { signers, isAllKeys }: KeyChoice, count: number): LookasideError {
  if (count === 0)
    return new LookasideError('NOT_FOUND', 'no key is registered yet; add one with: lookaside key add FILE');
  const where = quoted(registry);
  if (isAllKeys) return new LookasideError('NOT_FOUND', `no registered key is in force for ${where}`);
  const who = signers.length === 0 ? 'nobody' : signers.map(quoted).join(', ');
  const what = signers.length === 0 ? 'has a grant for' : 'has no grant for';
  return new LookasideError(
    'NOT_FOUND',
    `${who} ${what} ${where}, so no key is known for it; name keys with --key FINGERPRINT or --all-keys, or have an administrator grant one: lookaside grant add`,
  );
}

/**
 * The policy of a machine, merged. @throws LookasideError REQUEST_INVALID for a policy that clients refuse, with line and column,
 * and for one that the merge would widen
 */
export function mergeFor(
  wanted: WantedConfig,
  existing: Uint8Array,
  mayWiden: boolean,
): { readonly policy: Uint8Array; readonly notes: readonly Note[] } {
  return refusingSent(() => {
    const planned = planFrom(wanted, { existing, mayWiden, isStagingChosen: false });
    const policy = planned.files.find(({ path }) => path.endsWith('/policy.json'));
    if (policy === undefined) throw new Error('no policy was planned');
    // where signatures lie is nothing that was sent, and nothing to be said
    return { policy: policy.content, notes: planned.notes };
  });
}

/** What a cluster, a fleet or another program is handed. @throws as mergeFor() */
export function handedFiles(
  keys: Pick<KeyService, 'armor'>,
  kind: HandedKind,
  options: Omit<KindOptions, 'sha256' | 'armor'>,
): KindPlan {
  const armor = (certificate: Uint8Array) => keys.armor({ certificate });
  return refusingSent(() => planKind(kind, { ...options, sha256: sha256Of, armor }));
}

function refusingSent<T>(act: () => T): T {
  try {
    return act();
  } catch (error) {
    if (error instanceof PolicyFault)
      throw new LookasideError(
        'REQUEST_INVALID',
        `policy.json, line ${error.line}, column ${error.column}: ${error.message}; clients refuse the whole file, and every image with it`,
        { detail: { line: error.line, column: error.column }, cause: error },
      );
    if (isLookasideError(error, 'CONFIG_INVALID'))
      throw new LookasideError('REQUEST_INVALID', error.message, {
        detail: error.detail ?? {},
        cause: error,
      });
    throw error;
  }
}

/** The files of a machine that has none yet. */
export function freshFiles(wanted: WantedConfig, isStagingChosen: boolean): PlannedFiles {
  return planFrom(wanted, { existing: null, mayWiden: false, isStagingChosen });
}

function planFrom(
  wanted: WantedConfig,
  given: {
    readonly existing: Uint8Array | null;
    readonly mayWiden: boolean;
    readonly isStagingChosen: boolean;
  },
): PlannedFiles {
  const { existing, mayWiden, isStagingChosen } = given;
  return planPodmanFiles({
    wanted,
    isStagingChosen,
    mayWiden,
    installed: { policy: existing, registriesD: [] },
    paths: { folder: '/etc/containers', builtInStaging: 'file:///var/lib/containers/sigstore' },
    editYaml: () => {
      throw new Error('there is no file yet that could be edited');
    },
    sha256: sha256Of,
  });
}

function sha256Of(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
