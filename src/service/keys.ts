// Keys: which OpenPGP certificates may sign images, and what is known about each.
import { isLookasideError, LookasideError } from '../domain/errors.ts';
import {
  isFingerprint,
  type KeyPart,
  type KeyResult,
  type KeyState,
  type KeyWarning,
  parseKeyName,
  type RegisteredKey,
  type RemovedKey,
  type ShownKey,
  type ShownPart,
  unknownKey,
} from '../domain/key.ts';
import type { AuditLog, CleanedCertificate, Clock, KeyStore, Verifier } from '../domain/ports.ts';
import type { Actor, MakeEvent } from './audit.ts';

export interface KeyService {
  /**
   * One result for each certificate, in their order; a refused certificate does not stop the others. Accepted ones are
   * durable and in force once this resolves. @throws LookasideError REQUEST_INVALID, TOO_LARGE, BUSY, STORE_UNAVAILABLE
   */
  add(untrusted: Uint8Array, actor: Actor): Promise<readonly KeyResult[]>;
  /**
   * Durable and in force once this resolves. Signatures by the key are served as before, and count as made by an unknown key.
   * @throws as find()
   */
  remove(name: string, actor: Actor): Promise<RemovedKey>;
  /** In the order of adding. */
  list(): Promise<readonly RegisteredKey[]>;
  /**
   * Finds a key by fingerprint (40 hex digits in either case, with spaces as gpg prints it) or key ID (16).
   * @throws REQUEST_INVALID when it is neither, or the key ID of several keys; NOT_FOUND
   */
  find(name: string): Promise<RegisteredKey>;
  /** ASCII armour without comments, all keys in one block. */
  armor(...keys: readonly RegisteredKey[]): string;
  /** Which parts of it were left out, and which clients cannot use it. */
  warnings(key: RegisteredKey): readonly KeyWarning[];
}

export interface KeyServiceOptions {
  readonly store: KeyStore;
  readonly audit: AuditLog;
  readonly verifier: Pick<Verifier, 'cleanCertificates' | 'setKeyring' | 'armor' | 'warningsOf'>;
  readonly makeEvent: MakeEvent;
  readonly clock: Clock;
  /** How many signatures verified by the key with this fingerprint. @throws INDEX_UNUSABLE */
  readonly countByKey: (fingerprint: string) => Promise<number>;
  /**
   * Called with the fingerprints and key IDs of the primary keys and subkeys that were added, updated or removed: verdicts on
   * their signatures are out of date. If it fails, the change fails although it is in force, and the next change passes the
   * same names again.
   */
  readonly onChanged: (issuers: readonly string[]) => Promise<void>;
}

/** From now on the verifier's keyring is the one in the store. */
export async function createKeyService(options: KeyServiceOptions): Promise<KeyService> {
  const { store, verifier, clock, onChanged } = options;
  const untold = new Set<string>();
  verifier.setKeyring((await store.list()).map(({ certificate }) => certificate));
  let last: Promise<unknown> = Promise.resolve();

  return {
    // One after the other: each is merged with the result of the one before, so that no revocation is lost.
    add: (untrusted, actor) => inTurn(() => addAll(untrusted, actor)),
    remove: (name, actor) => inTurn(() => remove(name, actor)),
    list: () => store.list(),
    find: (name) => findKey(store, name),
    armor: (...keys) => verifier.armor(joined(keys)),
    warnings: ({ certificate }) => verifier.warningsOf(certificate),
  };

  function inTurn<T>(act: () => Promise<T>): Promise<T> {
    const done = last.then(act);
    last = done.catch(() => undefined); // its caller gets the failure; it does not affect the next one
    return done;
  }

  async function remove(name: string, actor: Actor): Promise<RemovedKey> {
    const key = await findKey(store, name);
    const { fingerprint, userIds } = key;
    const signatures = await countIfPossible(options, fingerprint);
    const event = options.makeEvent({ action: 'key-remove', fingerprint, result: 'removed' }, actor);
    try {
      if (!(await store.remove(fingerprint, event))) throw unknownKey(fingerprint);
    } finally {
      // also when the store failed: a thread may have committed and died before it could answer
      if ((await store.find(fingerprint)) === null) for (const issuer of issuersOf(key)) untold.add(issuer);
      await tell();
    }
    return { fingerprint, userIds, signatures };
  }

  async function addAll(untrusted: Uint8Array, actor: Actor): Promise<readonly KeyResult[]> {
    const results: KeyResult[] = [];
    try {
      for (const cleaned of await verifier.cleanCertificates(untrusted, clock.now())) {
        const { result, changed } = await settle(options, cleaned, actor);
        results.push(result);
        if (changed !== null) for (const issuer of issuersOf(changed)) untold.add(issuer);
      }
    } finally {
      await tell(); // also when the store failed half way: the keys that it stored are in force
    }
    return results;
  }

  async function tell(): Promise<void> {
    if (untold.size === 0) return;
    verifier.setKeyring((await store.list()).map(({ certificate }) => certificate));
    await onChanged([...untold]);
    untold.clear();
  }
}

/** All keys as one block: some clients read no second block of armour. */
export function joined(keys: readonly RegisteredKey[]): Uint8Array {
  return Buffer.concat(keys.map(({ certificate }) => certificate));
}

/** Null while the index is being rebuilt: the removal of a key must not wait for that. */
async function countIfPossible(
  { countByKey }: KeyServiceOptions,
  fingerprint: string,
): Promise<number | null> {
  try {
    return await countByKey(fingerprint);
  } catch (error) {
    if (isLookasideError(error, 'INDEX_UNUSABLE')) return null;
    throw error;
  }
}

interface Settled {
  readonly result: KeyResult;
  /** Null when nothing has changed. */
  readonly changed: RegisteredKey | null;
}

async function settle(
  { store, audit, makeEvent, clock }: KeyServiceOptions,
  cleaned: CleanedCertificate,
  actor: Actor,
): Promise<Settled> {
  if (cleaned.kind === 'refused') {
    const { fingerprint, code, message } = cleaned;
    await audit.append(
      makeEvent(
        { action: 'key-add', fingerprint: shortOf(fingerprint), result: code, reason: message },
        actor,
      ),
    );
    return { result: { result: 'refused', fingerprint, code, message }, changed: null };
  }
  const { details, certificate, warnings } = cleaned;
  const { fingerprint, userIds, expiresAt } = details;
  const known = await store.find(fingerprint);
  const shown = { fingerprint, userIds, expiresAt, state: keyState(details, clock.now()), warnings };
  if (known !== null && sameBytes(known.certificate, certificate)) {
    return { result: { result: 'unchanged', ...shown }, changed: null };
  }
  const result = known === null ? 'added' : 'updated';
  const event = makeEvent({ action: 'key-add', fingerprint, result }, actor);
  return { result: { result, ...shown }, changed: await store.put({ ...details, certificate }, event) };
}

/** Audit events name only keys of version 4. */
function shortOf(fingerprint: string | null): string | null {
  return fingerprint !== null && isFingerprint(fingerprint) ? fingerprint : null;
}

/** For people. */
export function keyState({ revokedAt, expiresAt }: KeyPart, now: Date): KeyState {
  if (revokedAt !== null) return 'revoked';
  return expiresAt !== null && expiresAt.getTime() <= now.getTime() ? 'expired' : 'valid';
}

export function showKey(key: RegisteredKey, now: Date): ShownKey {
  const { userIds, subkeys, addedAt, changedAt } = key;
  return {
    ...showPart(key, now),
    userIds,
    subkeys: subkeys.map((subkey) => showSubkey(subkey, key, now)),
    addedAt,
    changedAt,
  };
}

/** A subkey's state is never better than that of its primary key, as gpg shows it. */
function showSubkey(subkey: KeyPart, primary: KeyPart, now: Date): ShownPart {
  const shown = showPart(subkey, now);
  const states = [shown.state, keyState(primary, now)];
  return { ...shown, state: WORST_FIRST.find((state) => states.includes(state)) ?? shown.state };
}

const WORST_FIRST: readonly KeyState[] = ['revoked', 'expired', 'valid'];

function showPart(part: KeyPart, now: Date): ShownPart {
  const { fingerprint, algorithm, canSign, createdAt, expiresAt, revokedAt } = part;
  return { fingerprint, algorithm, state: keyState(part, now), canSign, createdAt, expiresAt, revokedAt };
}

/** As KeyService.find, for commands that only read. @throws LookasideError REQUEST_INVALID, NOT_FOUND */
export async function findKey(store: Pick<KeyStore, 'find' | 'list'>, name: string): Promise<RegisteredKey> {
  const wanted = parseKeyName(name);
  if (isFingerprint(wanted)) {
    const key = await store.find(wanted);
    if (key !== null) return key;
    throw unknownKey(wanted);
  }
  const [key, another] = (await store.list()).filter(({ fingerprint }) => fingerprint.endsWith(wanted));
  if (key === undefined) throw unknownKey(wanted);
  if (another === undefined) return key;
  throw new LookasideError(
    'REQUEST_INVALID',
    `several keys have the ID ${wanted}; wanted the fingerprint of one: ${key.fingerprint} or ${another.fingerprint}`,
  );
}

function issuersOf({ fingerprint, subkeys }: RegisteredKey): readonly string[] {
  return [fingerprint, ...subkeys.map((subkey) => subkey.fingerprint)].flatMap((name) => [
    name,
    name.slice(-16),
  ]);
}

function sameBytes(one: Uint8Array, other: Uint8Array): boolean {
  return one.length === other.length && one.every((byte, at) => byte === other[at]);
}
