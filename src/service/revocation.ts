// The revocation of a key by an administrator: what it breaks, and the withdrawal of what the key has signed. The order to
// withdraw stands in the key's row, so it is carried out whatever cuts it short, and for what comes later.
import { forEachConcurrently } from '../domain/concurrency.ts';
import { isLookasideError, LookasideError } from '../domain/errors.ts';
import { type ImageId, imageFolder, imageKey } from '../domain/image.ts';
import { issuersOf, type KeyRevocation, type RegisteredKey } from '../domain/key.ts';
import { keyState } from '../domain/key-expiry.ts';
import type {
  Clock,
  IndexedSignature,
  Log,
  SignatureAppender,
  SignatureFilter,
  SignatureIndex,
  SignatureStore,
  VerdictIndex,
  Verifier,
} from '../domain/ports.ts';
import type { RecordLookups } from '../domain/records.ts';
import {
  type ImagePlace,
  REASONS_OF_KEYS,
  type RevocationPart,
  type RevocationProgress,
  usableWithout,
  type WantedRevocation,
} from '../domain/revocation.ts';
import type { Actor } from './audit.ts';
import type { KeyService } from './keys.ts';
import type { Asker } from './records.ts';

export interface RevocationOptions {
  readonly keys: Pick<KeyService, 'list' | 'find' | 'revoke'>;
  readonly lookups: RecordLookups;
  readonly index: Pick<VerdictIndex, 'imagesByKey' | 'ofImage' | 'search' | 'unjudged'> &
    Pick<SignatureIndex, 'isComplete'>;
  readonly store: Pick<SignatureStore, 'readBlob'>;
  readonly verifier: Pick<Verifier, 'examine'>;
  readonly appender: Pick<SignatureAppender, 'withdrawOrdered'>;
  /** Names of all sites, as they are now. */
  readonly sites: () => readonly string[];
  /** Nothing may ever be withdrawn here. */
  readonly isAppendOnly: () => boolean;
  readonly clock: Pick<Clock, 'now'>;
  readonly log: Log;
}

export interface CarriedOut {
  readonly withdrawn: number;
  /** In words for people, what may be left and is withdrawn later by itself. */
  readonly left: readonly string[];
  /** Those of `left` that are no matter of waiting for verdicts. */
  readonly failed: readonly string[];
}

export interface RevocationService {
  /** What the revocation of the key would break. @throws LookasideError REQUEST_INVALID, NOT_FOUND; as Records */
  impact(name: string, asker: Asker): AsyncIterable<RevocationPart>;
  /** Durable and in force once this resolves; what is to be withdrawn is still served. @throws as KeyService.revoke(); APPEND_ONLY */
  mark(
    name: string,
    wanted: WantedRevocation,
    actor: Actor,
  ): Promise<{ readonly key: RegisteredKey; readonly changed: boolean }>;
  /** Withdraws what the key has signed, if that was ordered. @throws LookasideError NOT_FOUND */
  carryOut(fingerprint: string, onProgress?: (progress: RevocationProgress) => void): Promise<CarriedOut>;
  /** What carryOut() would withdraw; nothing is changed. @throws LookasideError NOT_FOUND */
  count(fingerprint: string): Promise<CarriedOut>;
  /** carryOut() for every key, one after the other; never throws. */
  carryOutAll(): Promise<void>;
  /** Begins no other image; resolves when those under way are done. */
  stop(): Promise<void>;
}

const ROWS_AT_ONCE = 2000;
const IMAGES_A_PAGE = 500;
const IMAGES_AT_ONCE = 16;

type Order = KeyRevocation & {
  readonly fingerprint: string;
  /** Fingerprints of the key and its subkeys. */
  readonly parts: readonly string[];
  /** Nothing is withdrawn. */
  readonly isCount: boolean;
};

type Outcome = number | { readonly error: unknown };

const REFUSED: SignatureFilter = {
  path: null,
  digest: null,
  fingerprint: null,
  tag: null,
  verdict: 'bad',
  since: null,
  until: null,
};

export function createRevocations(options: RevocationOptions): RevocationService {
  const { keys, index, appender, clock, log } = options;
  const underWay = new Set<Promise<unknown>>();
  let isStopped = false;
  let isRound = false;

  async function mark(name: string, wanted: WantedRevocation, actor: Actor) {
    if (wanted.withdraw && options.isAppendOnly()) {
      throw new LookasideError(
        'APPEND_ONLY',
        'nothing is withdrawn from this server (LOOKASIDE_APPEND_ONLY=true), and the key was not revoked; revoke it without --withdraw',
      );
    }
    return keys.revoke(name, wanted, actor);
  }

  async function carryOut(
    fingerprint: string,
    onProgress?: (progress: RevocationProgress) => void,
    isCount = false,
  ): Promise<CarriedOut> {
    const { revocation = null, subkeys } = await keys.find(fingerprint);
    const parts = [fingerprint, ...subkeys.map((subkey) => subkey.fingerprint)];
    if (revocation === null || !revocation.withdraws) return { withdrawn: 0, left: [], failed: [] };
    if (options.isAppendOnly()) {
      const left = ['nothing is withdrawn while LOOKASIDE_APPEND_ONLY=true'];
      return { withdrawn: 0, left, failed: left };
    }
    const done = { images: 0, signatures: 0 };
    const [failed, unjudged]: [string[], string[]] = [[], []];
    for (const site of options.sites()) {
      const taken = await withdrawFrom(site, { ...revocation, fingerprint, parts, isCount }, (signatures) => {
        if (signatures === 0) return;
        done.images += 1;
        done.signatures += signatures;
        onProgress?.({ ...done });
      });
      failed.push(...taken.failed);
      unjudged.push(...taken.unjudged);
    }
    return { withdrawn: done.signatures, left: [...failed, ...unjudged], failed };
  }

  /** In words, what may be left of the site. */
  async function withdrawFrom(
    site: string,
    order: Order,
    onImage: (signatures: number) => void,
  ): Promise<Left> {
    try {
      const isComplete = await index.isComplete(site);
      const failed: unknown[] = [];
      const count = (outcome: Outcome) =>
        typeof outcome === 'number' ? onImage(outcome) : void failed.push(outcome.error);
      await withdrawGood(site, order, count);
      // after the good ones: meanwhile the judge refuses those of a key whose certificate has a revocation
      await withdrawRefused(site, order, count);
      const [unjudged] = await index.unjudged(site, clock.now(), 0, 1);
      return leftOf(site, { isStopped, isComplete, isJudged: unjudged === undefined, failed });
    } catch (error) {
      if (!isLookasideError(error, 'INDEX_UNUSABLE')) throw error;
      const rebuilt = `the index is being rebuilt, so the signatures of the site ${site} are not known yet`;
      return { failed: [rebuilt], unjudged: [] };
    }
  }

  async function withdrawGood(site: string, order: Order, onOutcome: (outcome: Outcome) => void) {
    let after: ImageId | null = null;
    do {
      const page: readonly ImageId[] = await index.imagesByKey(site, order.fingerprint, after, IMAGES_A_PAGE);
      await forEachConcurrently(page, IMAGES_AT_ONCE, async (image) => {
        if (!isStopped) onOutcome(await tried(image, order, () => goodOf(options, image, order)));
      });
      after = page.at(-1) ?? null;
    } while (after !== null && !isStopped);
  }

  async function withdrawRefused(site: string, order: Order, onOutcome: (outcome: Outcome) => void) {
    for await (const images of refusedIn(index, site, order)) {
      await forEachConcurrently(images, IMAGES_AT_ONCE, async (rows) => {
        const [first] = rows;
        if (isStopped || first === undefined) return;
        onOutcome(await tried(first.image, order, () => madeBy(options, rows, order)));
      });
      if (isStopped) return;
    }
  }

  async function tried(
    image: ImageId,
    order: Order,
    find: () => Promise<ReadonlySet<string>>,
  ): Promise<Outcome> {
    const withdrawing = withdrawn(image, order, find);
    underWay.add(withdrawing);
    try {
      return await withdrawing;
    } catch (error) {
      if (!isLookasideError(error)) throw error;
      log.error(
        { err: error, image: imageFolder(image) },
        'signatures of a revoked key are not withdrawn yet',
      );
      return { error };
    } finally {
      underWay.delete(withdrawing);
    }
  }

  async function withdrawn(
    image: ImageId,
    { by, reason, at, auditSeq, isCount }: Order,
    find: () => Promise<ReadonlySet<string>>,
  ): Promise<number> {
    const sha256s = await find();
    return isCount || sha256s.size === 0
      ? sha256s.size
      : appender.withdrawOrdered({ image, sha256s, by, reason, at, auditSeq });
  }

  async function carryOutAll(): Promise<void> {
    if (isRound || isStopped) return;
    isRound = true;
    try {
      for (const { fingerprint, revocation = null } of await keys.list()) {
        if (revocation === null || !revocation.withdraws) continue;
        await carryOutOne(carryOut, fingerprint, log);
      }
    } catch (error) {
      log.error(
        { err: error },
        'signatures of revoked keys could not be withdrawn; this is tried again in a minute',
      );
    } finally {
      isRound = false;
    }
  }

  return {
    impact: (name, asker) => impactOf(options, name, asker),
    mark,
    carryOut: (fingerprint, onProgress) => carryOut(fingerprint, onProgress),
    count: (fingerprint) => carryOut(fingerprint, undefined, true),
    carryOutAll,
    async stop() {
      isStopped = true;
      await Promise.allSettled(underWay);
    },
  };
}

/** Never throws: keys behind one that fails are carried out all the same. */
async function carryOutOne(
  carryOut: (fingerprint: string) => Promise<CarriedOut>,
  fingerprint: string,
  log: RevocationOptions['log'],
): Promise<void> {
  try {
    const { withdrawn: signatures } = await carryOut(fingerprint);
    if (signatures > 0) log.info({ fingerprint, signatures }, 'signatures of a revoked key were withdrawn');
  } catch (error) {
    log.error(
      { err: error, fingerprint },
      'signatures of a revoked key could not be withdrawn; this is tried again in a minute',
    );
  }
}

async function* impactOf(
  { keys, lookups, clock }: Pick<RevocationOptions, 'keys' | 'lookups' | 'clock'>,
  name: string,
  asker: Asker,
): AsyncGenerator<RevocationPart> {
  const { fingerprint, userIds, ...key } = await keys.find(name);
  const now = clock.now();
  const others = usableWithout(fingerprint, await keys.list(), now);
  await using session = await lookups.open(asker.signal);
  const issuers = issuersOf({ fingerprint, ...key });
  const counts = await session.revocation(fingerprint, issuers, others, now);
  yield { fingerprint, userIds, state: keyState({ fingerprint, ...key }, now), ...counts };
  let [place, images]: [ImagePlace, number] = [null, 0];
  do {
    const piece = await session.revocationBroken(fingerprint, others, now, place, ROWS_AT_ONCE);
    if (piece.images.length > 0) yield { images: piece.images };
    images += piece.images.length;
    place = piece.next;
  } while (place !== null);
  yield { end: { images } };
}

async function goodOf(
  { index }: Pick<RevocationOptions, 'index'>,
  image: ImageId,
  { fingerprint }: Order,
): Promise<ReadonlySet<string>> {
  const rows = await index.ofImage(image);
  const good = rows.filter((row) => row.verdict === 'good' && row.fingerprint === fingerprint);
  return new Set(good.map(({ sha256 }) => sha256));
}

/** Those that name the key and are refused for what a key is: rows of one image together, of many images at a time. */
async function* refusedIn(
  index: Pick<VerdictIndex, 'search'>,
  site: string,
  order: Order,
): AsyncGenerator<readonly (readonly IndexedSignature[])[]> {
  let after: number | null = null;
  do {
    const page = { filter: REFUSED, order: 'oldest', after, limit: ROWS_AT_ONCE } as const;
    const rows: readonly IndexedSignature[] = await index.search(site, page);
    const byImage = new Map<string, IndexedSignature[]>();
    for (const row of rows.filter((one) => claims(one, order))) {
      const known = byImage.get(imageKey(row.image));
      if (known === undefined) byImage.set(imageKey(row.image), [row]);
      else known.push(row);
    }
    yield [...byImage.values()];
    after = rows.at(-1)?.id ?? null;
  } while (after !== null);
}

/**
 * The index does not say who made a signature that is refused for its key: that is found again from its bytes.
 * @throws LookasideError BUSY, STORE_UNAVAILABLE
 */
async function madeBy(
  { store, verifier, clock }: Pick<RevocationOptions, 'store' | 'verifier' | 'clock'>,
  rows: readonly IndexedSignature[],
  { fingerprint }: Order,
): Promise<ReadonlySet<string>> {
  const signatures = new Set<string>();
  for (const { image, sha256 } of rows) {
    const bytes = await store.readBlob(image, sha256);
    if (bytes === null) continue;
    const judgement = await verifier.examine(bytes, clock.now(), 'background');
    if ((judgement.fingerprint ?? judgement.refusedSigner) === fingerprint) signatures.add(sha256);
  }
  return signatures;
}

/** Whether the signature names the key and is refused for what a key is. */
function claims({ reason, issuer }: IndexedSignature, { parts }: Order): boolean {
  return REASONS_OF_KEYS.includes(reason) && issuer !== null && parts.some((part) => part.endsWith(issuer));
}

interface Left {
  readonly failed: readonly string[];
  readonly unjudged: readonly string[];
}

interface Found {
  readonly isStopped: boolean;
  readonly isComplete: boolean;
  readonly isJudged: boolean;
  readonly failed: readonly unknown[];
}

function leftOf(site: string, { isStopped, isComplete, isJudged, failed }: Found): Left {
  return {
    failed: [
      ...(isStopped ? ['the server stops'] : []),
      ...(isComplete ? [] : [`the tree of the site ${site} is not wholly indexed yet`]),
      ...failuresOf(site, failed),
    ],
    unjudged: isJudged ? [] : [`signatures of the site ${site} are not verified yet`],
  };
}

function failuresOf(site: string, failed: readonly unknown[]): readonly string[] {
  if (failed.length === 0) return [];
  return [`${failed.length} images of the site ${site} failed: ${messageOf(failed[0])}`];
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
