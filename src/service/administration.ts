// Answers an administrator's requests in the process that owns the data directory.
import type { AboutTree, Administration } from '../domain/administration.ts';
import { DEFAULT_SITE } from '../domain/image.ts';
import type { ExportedKey, RegisteredKey, ShownKey } from '../domain/key.ts';
import { type KeyFile, type KeyLeftOut, type KeyReaderName, whyUnreadable } from '../domain/key-readers.ts';
import type { Clock } from '../domain/ports.ts';
import type { Actor } from './audit.ts';
import type { Importer } from './import.ts';
import { type KeyService, showKey } from './keys.ts';
import type { MirrorService } from './mirrors.ts';
import type { ReadyQuestions } from './ready-questions.ts';
import type { Records } from './records.ts';
import type { SignerService } from './signers.ts';
import type { TokenService } from './tokens.ts';
import type { Upkeep } from './upkeep.ts';
import type { WithdrawService } from './withdraw.ts';

export interface AdministrationOptions {
  readonly keys: KeyService;
  readonly tokens: Pick<TokenService, 'list' | 'create' | 'revoke'>;
  readonly signers: Omit<SignerService, 'permit'>;
  readonly mirrors: MirrorService;
  readonly withdrawals: Pick<WithdrawService, 'withdraw'>;
  readonly upkeep: Pick<Upkeep, 'fsck' | 'reindex'>;
  readonly importer: Importer;
  readonly clock: Pick<Clock, 'now'>;
  readonly records: Pick<Records, 'page' | 'sums' | 'export' | 'forget'>;
  readonly readyQuestions: ReadyQuestions;
  readonly about: AboutTree;
}

/** Of askers who stay until they have their answer. */
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
    mirrors,
    signers,
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
      list: () => shownKeys(keys, clock.now()),
      show: (name) => exportedKey(keys, name, clock.now()),
      add: (untrusted) => keys.add(untrusted, actor),
      export: (names, reader) => keyFile(keys, names, reader),
      remove: (name) => keys.remove(name, actor),
    },
    tokens: {
      list: async () => await tokens.list(),
      create: (wanted) => tokens.create(wanted, actor),
      revoke: (name) => tokens.revoke(name, actor),
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
    mirrors: {
      list: mirrors.list,
      show: mirrors.show,
      add: (name, settings) => mirrors.add(name, settings, actor),
      edit: (name, changes) => mirrors.edit(name, changes, actor),
      remove: (name) => mirrors.remove(name, actor),
      sync: (name, request) => mirrors.sync(name, request, actor),
    },
    withdraw: (wanted) => withdrawals.withdraw(wanted, actor),
    fsck: upkeep.fsck,
    reindex: upkeep.reindex,
    importBatch: (parts, { dryRun }) => importer.importBatch(parts, { site: DEFAULT_SITE, dryRun }, actor),
  };
}

export async function shownKeys(keys: Pick<KeyService, 'list'>, now: Date): Promise<readonly ShownKey[]> {
  return (await keys.list()).map((key) => showKey(key, now));
}

/** @throws LookasideError REQUEST_INVALID, NOT_FOUND */
export async function exportedKey(
  keys: Pick<KeyService, 'find' | 'armor' | 'warnings'>,
  name: string,
  now: Date,
): Promise<ExportedKey> {
  const key = await keys.find(name);
  return { ...showKey(key, now), warnings: keys.warnings(key), armored: keys.armor(key) };
}

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
    const reason = whyUnreadable(key, keys.warnings(key), reader);
    if (reason === null) kept.push(key);
    else leftOut.push({ fingerprint: key.fingerprint, reason });
  }
  return { armored: kept.length === 0 ? null : keys.armor(...kept), leftOut };
}
