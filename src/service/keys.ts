// Keys: which OpenPGP certificates may sign images, and what is known about each.
import { isLookasideError, LookasideError } from '../domain/errors.ts';
import {
  type CertifiedKey,
  isFingerprint,
  issuersOf,
  type KeyPart,
  type KeyPartUse,
  type KeyResult,
  type KeyState,
  type KeyWarning,
  parseKeyName,
  type RefreshedKeys,
  type RegisteredKey,
  type RemovedKey,
  type ShownKey,
  type ShownPart,
  unknownKey,
} from '../domain/key.ts';
import { keyState } from '../domain/key-expiry.ts';
import type { AuditLog, CleanedCertificate, Clock, KeyStore, Verifier } from '../domain/ports.ts';
import { checkRevocationReason, type WantedRevocation } from '../domain/revocation.ts';
import type { Actor, Deed, MakeEvent } from './audit.ts';

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
  /**
   * Retires the key, or ends its retirement. Resolves to the key as it is afterwards. A second time changes nothing. An upload that has been
   * compared with its image before may still be stored. @throws as find()
   */
  setRetired(name: string, isRetired: boolean, actor: Actor): Promise<RegisteredKey>;
  /**
   * Marks the key as revoked by an administrator, and merges the revocation of the file where one is given. `changed` is false
   * when it was revoked so already. @throws as find(); REQUEST_INVALID without a reason, or for a file without a revocation of
   * this key; refusals of a certificate
   */
  revoke(
    name: string,
    wanted: WantedRevocation,
    actor: Actor,
  ): Promise<{ readonly key: RegisteredKey; readonly changed: boolean }>;
  /**
   * Runs `act` while no other change of keys is made; `clean` merges with those of now. The keys that it says it has changed, as
   * they were and as they are, are in force once this resolves.
   */
  whileUnchanged<T>(
    act: (clean: (untrusted: Uint8Array) => Promise<readonly CleanedCertificate[]>) => Promise<{
      readonly result: T;
      readonly changed: readonly Pick<RegisteredKey, 'fingerprint' | 'subkeys'>[];
    }>,
  ): Promise<T>;
  /**
   * Merges what is new in the certificates of registered keys, or of those of these names alone; certificates of others are left
   * out. Durable and in force once this resolves. @throws as add() and find()
   */
  refresh(untrusted: Uint8Array, names: readonly string[], actor: Actor): Promise<RefreshedKeys>;
  /** In the order of adding. */
  list(): Promise<readonly RegisteredKey[]>;
  /**
   * Finds a key by fingerprint (40 hex digits in either case, with spaces as gpg prints it) or key ID (16).
   * @throws REQUEST_INVALID when it is neither, or the key ID of several keys; NOT_FOUND
   */
  find(name: string): Promise<RegisteredKey>;
  /** ASCII armour without comments, all keys in one block. */
  armor(...keys: readonly Pick<RegisteredKey, 'certificate'>[]): string;
  /** Which parts of it were left out, and which clients cannot use it. */
  warnings(key: RegisteredKey): readonly KeyWarning[];
  /** What its parts are for, and why they were revoked. */
  uses(key: RegisteredKey): readonly KeyPartUse[];
}

export interface KeyServiceOptions {
  readonly store: KeyStore;
  readonly audit: AuditLog;
  readonly verifier: Pick<Verifier, 'cleanCertificates' | 'setKeyring' | 'armor' | 'warningsOf' | 'usesOf'>;
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
  /** Runs one change at a time over all processes that share the store, with their keys in the verifier; left out for one process. */
  readonly alone?: <T>(act: () => Promise<T>) => Promise<T>;
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
    setRetired: (name, isRetired, actor) => inTurn(() => setRetired(name, isRetired, actor)),
    refresh: (untrusted, names, actor) => inTurn(() => refresh(untrusted, names, actor)),
    revoke: (name, wanted, actor) => inTurn(() => revoke(name, wanted, actor)),
    whileUnchanged: (act) =>
      inTurn(async () => {
        const { result, changed } = await act((untrusted) =>
          verifier.cleanCertificates(untrusted, clock.now()),
        );
        for (const key of changed) for (const issuer of issuersOf(key)) untold.add(issuer);
        await tell();
        return result;
      }),
    list: () => store.list(),
    find: (name) => findKey(store, name),
    armor: (...keys) => verifier.armor(joined(keys)),
    warnings: ({ certificate }) => verifier.warningsOf(certificate),
    uses: ({ certificate }) => verifier.usesOf(certificate),
  };

  function inTurn<T>(act: () => Promise<T>): Promise<T> {
    const { alone } = options;
    const done = last.then(alone === undefined ? act : () => alone(act));
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

  async function setRetired(name: string, isRetired: boolean, actor: Actor): Promise<RegisteredKey> {
    const { fingerprint } = await findKey(store, name);
    const event = options.makeEvent(retirementOf(fingerprint, isRetired), actor);
    await store.setRetired(fingerprint, isRetired, event);
    return findKey(store, fingerprint);
  }

  async function revoke(name: string, { reason, withdraw, certificate }: WantedRevocation, actor: Actor) {
    checkRevocationReason(reason);
    const known = await findKey(store, name);
    const { fingerprint } = known;
    const merged = certificate === null ? null : await withRevocation(options, known, certificate);
    const result = withdraw ? 'withdrawn' : 'revoked';
    const event = options.makeEvent({ action: 'key-revoke', fingerprint, result, reason }, actor);
    const revoked = { fingerprint, key: merged, by: actor.name, reason, withdraws: withdraw };
    try {
      const changed = await store.revoke(revoked, event);
      return { key: await findKey(store, fingerprint), changed };
    } finally {
      // also after a failure, as in remove()
      if (merged !== null) for (const issuer of issuersOf(merged)) untold.add(issuer);
      await tell();
    }
  }

  async function refresh(
    untrusted: Uint8Array,
    names: readonly string[],
    actor: Actor,
  ): Promise<RefreshedKeys> {
    const named = new Set<string>();
    for (const name of names) named.add((await findKey(store, name)).fingerprint);
    const results: KeyResult[] = [];
    let ignored = 0;
    try {
      for (const cleaned of await verifier.cleanCertificates(untrusted, clock.now())) {
        const fingerprint = cleaned.kind === 'clean' ? cleaned.details.fingerprint : cleaned.fingerprint;
        const known = fingerprint === null ? null : await store.find(fingerprint);
        if (known === null || (named.size > 0 && !named.has(known.fingerprint))) ignored += 1;
        else results.push(await refreshOne(known, cleaned, actor));
      }
    } finally {
      await tell(); // as in addAll()
    }
    return { results, ignored };
  }

  async function refreshOne(
    known: RegisteredKey,
    cleaned: CleanedCertificate,
    actor: Actor,
  ): Promise<KeyResult> {
    if (cleaned.kind === 'refused') {
      const { fingerprint, code, message } = cleaned;
      return { result: 'refused', fingerprint, code, message };
    }
    const { details, certificate, warnings } = cleaned;
    const { fingerprint, userIds, expiresAt } = details;
    const summary = { fingerprint, userIds, expiresAt, state: keyState(details, clock.now()), warnings };
    if (sameBytes(known.certificate, certificate)) return { result: 'unchanged', ...summary };
    const event = options.makeEvent({ action: 'key-refresh', fingerprint, result: 'updated' }, actor);
    for (const issuer of issuersOf(details)) untold.add(issuer);
    await store.put({ ...details, certificate }, event);
    return { result: 'updated', ...summary };
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
export function joined(keys: readonly Pick<RegisteredKey, 'certificate'>[]): Uint8Array {
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
  const summary = { fingerprint, userIds, expiresAt, state: keyState(details, clock.now()), warnings };
  if (known !== null && sameBytes(known.certificate, certificate)) {
    return { result: { result: 'unchanged', ...summary }, changed: null };
  }
  const result = known === null ? 'added' : 'updated';
  const event = makeEvent({ action: 'key-add', fingerprint, result }, actor);
  return { result: { result, ...summary }, changed: await store.put({ ...details, certificate }, event) };
}

/** The key with its revocation merged; null when it has that already. */
async function withRevocation(
  { verifier, clock }: Pick<KeyServiceOptions, 'verifier' | 'clock'>,
  known: RegisteredKey,
  file: Uint8Array,
): Promise<CertifiedKey | null> {
  const { fingerprint } = known;
  const certificates = await verifier.cleanCertificates(file, clock.now());
  for (const cleaned of certificates) {
    if (cleaned.kind !== 'clean') continue;
    const { details, certificate } = cleaned;
    if (details.fingerprint !== fingerprint || details.revokedAt === null) continue;
    return sameBytes(known.certificate, certificate) ? null : { ...details, certificate };
  }
  const refused = certificates.find((one) => one.kind === 'refused');
  const why = refused === undefined ? '' : `: ${refused.message}`;
  throw new LookasideError(
    'REQUEST_INVALID',
    `the file holds no revocation of the key ${fingerprint}${why}. Wanted what gpg --gen-revoke ${fingerprint} writes; without the file an administrator's word alone is kept`,
  );
}

/** For the audit event. */
export function retirementOf(fingerprint: string, isRetired: boolean): Deed {
  return isRetired
    ? { action: 'key-retire', result: 'retired', fingerprint }
    : { action: 'key-unretire', result: 'unretired', fingerprint };
}

/** Audit events name only keys of version 4. */
function shortOf(fingerprint: string | null): string | null {
  return fingerprint !== null && isFingerprint(fingerprint) ? fingerprint : null;
}

export function showKey(key: RegisteredKey, now: Date): ShownKey {
  const { userIds, subkeys, addedAt, changedAt, retiredAt } = key;
  return {
    ...showPart(key, now),
    userIds,
    subkeys: subkeys.map((subkey) => showSubkey(subkey, key, now)),
    addedAt,
    changedAt,
    retiredAt,
    revocation: key.revocation ?? null,
  };
}

/** A subkey's state is never better than that of its primary key, as gpg shows it. */
function showSubkey(subkey: KeyPart, primary: KeyPart, now: Date): ShownPart {
  const part = showPart(subkey, now);
  const states = [part.state, keyState(primary, now)];
  return { ...part, state: WORST_FIRST.find((state) => states.includes(state)) ?? part.state };
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

function sameBytes(one: Uint8Array, other: Uint8Array): boolean {
  return one.length === other.length && one.every((byte, at) => byte === other[at]);
}
