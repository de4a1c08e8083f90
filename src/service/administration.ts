// Answers an administrator's requests in the process that owns the data directory.
import type { AboutTree, Administration } from '../domain/administration.ts';
import { DEFAULT_SITE } from '../domain/image.ts';
import {
  type ExportedKey,
  isWithheld,
  type PartSignatures,
  type RegisteredKey,
  type ShownKey,
} from '../domain/key.ts';
import { endingWithin } from '../domain/key-expiry.ts';
import { type KeyFile, type KeyLeftOut, type KeyReaderName, whyUnreadable } from '../domain/key-readers.ts';
import type { Clock } from '../domain/ports.ts';
import type { RecordLookups } from '../domain/records.ts';
import type { RevocationFollowing, RevokedKey, WantedRevocation } from '../domain/revocation.ts';
import type { AccessRulesService } from './access-rules.ts';
import type { Actor } from './audit.ts';
import type { Importer } from './import.ts';
import { type KeyService, showKey } from './keys.ts';
import type { MirrorService } from './mirrors.ts';
import type { ReadyQuestions } from './ready-questions.ts';
import type { Records } from './records.ts';
import type { RevocationService } from './revocation.ts';
import type { RotationService } from './rotation.ts';
import type { SessionService } from './sessions.ts';
import type { SignerService } from './signers.ts';
import type { SubjectService } from './subjects.ts';
import type { TokenService } from './tokens.ts';
import type { Upkeep } from './upkeep.ts';
import type { WithdrawService } from './withdraw.ts';

export interface AdministrationOptions {
  readonly keys: KeyService;
  readonly tokens: Pick<TokenService, 'list' | 'create' | 'revoke'>;
  readonly sessions: Pick<SessionService, 'list' | 'end'>;
  readonly signers: Omit<SignerService, 'permit'>;
  readonly subjects: SubjectService;
  readonly rules: AccessRulesService;
  readonly mirrors: MirrorService;
  readonly withdrawals: Pick<WithdrawService, 'withdraw'>;
  readonly upkeep: Pick<Upkeep, 'fsck' | 'reindex'>;
  readonly importer: Importer;
  readonly clock: Pick<Clock, 'now'>;
  readonly records: Pick<Records, 'page' | 'sums' | 'export' | 'forget'>;
  readonly readyQuestions: ReadyQuestions;
  readonly rotation: RotationService;
  readonly lookups: RecordLookups;
  readonly revocations: Pick<RevocationService, 'impact' | 'mark' | 'carryOut'>;
  readonly about: AboutTree;
}

/** The signal for askers who stay until they have their answer. */
const NEVER = new AbortController().signal;

/** The audit log names `actor` as the author of the changes. Once `signal` is aborted nobody waits for answers from the records. */
export function createAdministration(
  options: AdministrationOptions,
  actor: Actor,
  signal: AbortSignal = NEVER,
): Administration {
  const {
    keys,
    tokens,
    sessions,
    mirrors,
    signers,
    subjects,
    rules,
    withdrawals,
    upkeep,
    importer,
    clock,
    about,
    records,
    readyQuestions,
  } = options;
  const asker = { actor, signal };
  return {
    about: async () => ({ root: about.root, tree: about.tree }),
    keys: {
      list: (expiringWithinMs) => shownKeys(keys, clock.now(), expiringWithinMs),
      show: (name) => exportedKey(keys, name, clock.now()),
      add: (untrusted) => keys.add(untrusted, actor),
      refresh: (untrusted, names) => keys.refresh(untrusted, names, actor),
      export: (names, reader) => keyFile(keys, names, reader),
      rotation: (old, next) => options.rotation(old, next, asker),
      signatures: (name) => partSignatures(options, name, asker),
      revocation: (name) => options.revocations.impact(name, asker),
      revoke: (name, wanted) => revokeKey(options, name, wanted, actor),
      retire: async (name) => showKey(await keys.setRetired(name, true, actor), clock.now()),
      unretire: async (name) => showKey(await keys.setRetired(name, false, actor), clock.now()),
      remove: (name) => keys.remove(name, actor),
    },
    tokens: {
      list: async () => await tokens.list(),
      create: (wanted) => tokens.create(wanted, actor),
      revoke: (name) => tokens.revoke(name, actor),
      sessions: () => sessions.list(),
      endSession: (id) => sessions.end(id, actor),
    },
    records: {
      page: (question, wanted) => records.page(question, wanted, asker),
      sums: (question, by, limit) => records.sums(question, by, limit, asker),
      forget: (person, before) => records.forget(person, before, actor),
      ready: (question) => readyQuestions.ask(question, asker),
      export: (question, format) => records.export(question, format, asker),
    },
    signers: {
      list: () => signers.list(),
      show: (name) => signers.show(name),
      add: (wanted) => signers.add(wanted, actor),
      disable: (name) => signers.setDisabled(name, true, actor),
      enable: (name) => signers.setDisabled(name, false, actor),
      remove: (name) => signers.remove(name, actor),
    },
    grants: {
      list: (signer) => signers.listGrants(signer),
      add: (wanted) => signers.addGrant(wanted, actor),
      remove: (id) => signers.removeGrant(id, actor),
      test: (question) => signers.test(question),
    },
    subjects: {
      list: (signer) => subjects.list(signer),
      add: (wanted) => subjects.add(wanted, actor),
      remove: (id) => subjects.remove(id, actor),
    },
    rules: {
      export: () => rules.export(),
      plan: (document, wanted) => rules.plan(document, wanted),
      apply: (document, wanted) => rules.apply(document, wanted, actor),
    },
    mirrors: {
      list: mirrors.list,
      show: mirrors.show,
      add: (name, settings) => mirrors.add(name, settings, actor),
      edit: (name, changes) => mirrors.edit(name, changes, actor),
      remove: (name) => mirrors.remove(name, actor),
      missed: (name, since) => mirrors.missed(name, since, asker),
      sync: (name, request) => mirrors.sync(name, request, actor),
    },
    withdraw: (wanted) => withdrawals.withdraw(wanted, actor),
    fsck: upkeep.fsck,
    reindex: upkeep.reindex,
    importBatch: (parts, { dryRun }) => importer.importBatch(parts, { site: DEFAULT_SITE, dryRun }, actor),
  };
}

async function revokeKey(
  { revocations, clock }: Pick<AdministrationOptions, 'revocations' | 'clock'>,
  name: string,
  { onProgress, ...wanted }: WantedRevocation & RevocationFollowing,
  actor: Actor,
): Promise<RevokedKey> {
  const { key, changed } = await revocations.mark(name, wanted, actor);
  const result = { key: showKey(key, clock.now()), changed };
  if (!wanted.withdraw) return { ...result, withdrawn: null, left: [] };
  const { withdrawn, left } = await revocations.carryOut(key.fingerprint, onProgress);
  return { ...result, withdrawn, left };
}

/** In the order of the key's parts, first the primary key; those that it has no longer come last. */
async function partSignatures(
  { keys, lookups }: Pick<AdministrationOptions, 'keys' | 'lookups'>,
  name: string,
  { signal }: { readonly signal: AbortSignal },
): Promise<readonly PartSignatures[]> {
  const { fingerprint, subkeys } = await keys.find(name);
  await using session = await lookups.open(signal);
  const counted = await session.signaturesBy(fingerprint);
  const parts = [fingerprint, ...subkeys.map((subkey) => subkey.fingerprint)];
  return [
    ...parts.map(
      (part) => counted.find((one) => one.fingerprint === part) ?? { fingerprint: part, signatures: 0 },
    ),
    ...counted.filter((one) => !parts.includes(one.fingerprint)),
  ];
}

/** With `expiringWithinMs` only those that expire within that time. */
export async function shownKeys(
  keys: Pick<KeyService, 'list'>,
  now: Date,
  expiringWithinMs: number | null = null,
): Promise<readonly ShownKey[]> {
  const all = await keys.list();
  const wanted = expiringWithinMs === null ? all : endingWithin(all, { withinMs: expiringWithinMs, now });
  return wanted.map((key) => showKey(key, now));
}

/** @throws LookasideError REQUEST_INVALID, NOT_FOUND */
export async function exportedKey(
  keys: Pick<KeyService, 'find' | 'armor' | 'warnings' | 'uses'>,
  name: string,
  now: Date,
): Promise<ExportedKey> {
  const key = await keys.find(name);
  return {
    ...showKey(key, now),
    addedBy: key.addedBy ?? null,
    parts: keys.uses(key),
    warnings: keys.warnings(key),
    armored: keys.armor(key),
  };
}

const WITHHELD =
  'an administrator revoked it, and its certificate does not say so: clients that got it would trust it';

/** @throws LookasideError REQUEST_INVALID, NOT_FOUND */
export async function keyFile(
  keys: Pick<KeyService, 'list' | 'find' | 'armor' | 'warnings'>,
  names: readonly string[],
  reader: KeyReaderName,
): Promise<KeyFile> {
  const named =
    names.length === 0 ? await keys.list() : await Promise.all(names.map((name) => keys.find(name)));
  const kept: RegisteredKey[] = [];
  const leftOut: KeyLeftOut[] = [];
  for (const key of new Map(named.map((one) => [one.fingerprint, one])).values()) {
    const reason = isWithheld(key) ? WITHHELD : whyUnreadable(key, keys.warnings(key), reader);
    if (reason === null) kept.push(key);
    else leftOut.push({ fingerprint: key.fingerprint, reason });
  }
  return { armored: kept.length === 0 ? null : keys.armor(...kept), leftOut };
}
