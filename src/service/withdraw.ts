// Withdrawing signatures, and putting those back whose time has come.
import { isLookasideError, LookasideError } from '../domain/errors.ts';
import { DEFAULT_SITE, type ImageId, imageFolder, imageName } from '../domain/image.ts';
import { parseTarget } from '../domain/lookaside-path.ts';
import { signaturePath, unknownSignaturePath } from '../domain/placement.ts';
import type { Clock, Log, SignatureAppender, TombstoneStore } from '../domain/ports.ts';
import { isPlain } from '../domain/text.ts';
import type {
  ListedWithdrawal,
  Tombstone,
  WantedWithdrawal,
  Withdrawn,
  WithdrawnFilter,
  WithdrawnPlace,
} from '../domain/tombstone.ts';
import type { Actor, MakeEvent } from './audit.ts';

export interface WithdrawServiceOptions {
  readonly appender: Pick<SignatureAppender, 'withdraw' | 'lift'>;
  readonly tombstones: Pick<TombstoneStore, 'ofImage' | 'page' | 'ended'>;
  /** Names of all sites, as they are now. */
  readonly sites: () => readonly string[];
  readonly makeEvent: MakeEvent;
  readonly clock: Pick<Clock, 'now'>;
  /** Nothing may ever be withdrawn here. */
  readonly isAppendOnly: () => boolean;
  readonly log: Log;
}

export interface WithdrawService {
  /**
   * From now on clients do not get the signature, and its bytes are refused.
   * @throws LookasideError APPEND_ONLY, REQUEST_INVALID, PATH_INVALID, NOT_FOUND, BUSY, STORE_UNAVAILABLE
   */
  withdraw(wanted: WantedWithdrawal, actor: Actor): Promise<Withdrawn>;
  /** The same for a path that is parsed already. */
  withdrawAt(at: SignatureAt, why: Omit<WantedWithdrawal, 'path'>, actor: Actor): Promise<Withdrawn>;
  /** What is withdrawn from the image now. */
  ofImage(image: ImageId): Promise<readonly Withdrawn[]>;
  /** One page of those in force, by site and image. @throws REQUEST_INVALID for a cursor that this server did not give out */
  list(query: WithdrawnQuery): Promise<FoundWithdrawals>;
  /** Puts back what was withdrawn until now; never throws. */
  putBack(): Promise<void>;
}

export interface WithdrawnQuery {
  /** Null: of all sites. */
  readonly site: string | null;
  readonly filter: WithdrawnFilter;
  /** 1 to MAX_PAGE_ROWS. */
  readonly limit: number;
  readonly cursor: string | null;
}

export interface FoundWithdrawals {
  readonly withdrawn: readonly ListedWithdrawal[];
  /** The cursor of the next page; null at the end. */
  readonly next: string | null;
}

export interface SignatureAt {
  readonly image: ImageId;
  /** Under which clients get it. */
  readonly number: number;
}

const MAX_REASON_CHARACTERS = 500;
const LOOKED_UP_AT_ONCE = 100;
const NO_ROOM =
  'a signature was withdrawn until now, and stays so: its image has no number left for it. It comes back by itself when the last signature of the image is withdrawn';

export function createWithdrawService(options: WithdrawServiceOptions): WithdrawService {
  const { appender, tombstones, makeEvent, clock, log } = options;
  /** Null: none is under way. */
  let round: Promise<void> | null = null;
  /** Withdrawals that have no room to end, which the log has told of. */
  let withoutRoom: ReadonlySet<number> = new Set();

  async function withdrawAt(
    { image, number }: SignatureAt,
    { sha256, reason, until }: Omit<WantedWithdrawal, 'path'>,
    actor: Actor,
  ): Promise<Withdrawn> {
    if (options.isAppendOnly()) {
      throw new LookasideError(
        'APPEND_ONLY',
        'nothing is withdrawn from this server (LOOKASIDE_APPEND_ONLY=true); add the revocation of the key instead, with: lookaside key add',
      );
    }
    checkWhy(reason, until, clock.now());
    const back = until === null ? '' : ` (until ${until.toISOString()})`;
    // the store asks for the event when it has found what stands there, and before it changes anything
    const event = (signatureSha256: string) => {
      if (sha256 !== undefined && sha256 !== signatureSha256) throw another(image, number);
      return makeEvent(
        { action: 'withdraw', image, signatureSha256, result: 'withdrawn', reason: `${reason}${back}` },
        actor,
      );
    };
    return withdrawnOf(await appender.withdraw({ image, number, by: actor.name, reason, until, event }));
  }

  /** All of them: those that cannot come back yet stand first, and are more each time. */
  async function* allEnded(): AsyncGenerator<Tombstone> {
    const now = clock.now();
    for (let after: Tombstone | undefined; ; ) {
      const page = await tombstones.ended(now, LOOKED_UP_AT_ONCE, after);
      yield* page;
      after = page.at(-1);
      if (page.length < LOOKED_UP_AT_ONCE) return;
    }
  }

  async function putBackEnded(): Promise<void> {
    try {
      const full = new Set<number>();
      for await (const tombstone of allEnded()) {
        // of a mirror that was removed, or has not come along: it waits for a mirror of that name
        if (!options.sites().includes(tombstone.image.site)) continue;
        const fields = { image: imageFolder(tombstone.image), sha256: tombstone.sha256 };
        try {
          const number = await appender.lift(tombstone);
          if (number === null) continue;
          log.info({ ...fields, number }, 'a signature was withdrawn until now, and is served again');
        } catch (error) {
          if (isLookasideError(error, 'TOO_MANY_SIGNATURES')) {
            full.add(tombstone.auditSeq);
            if (!withoutRoom.has(tombstone.auditSeq)) log.warn({ ...fields, err: error }, NO_ROOM);
            continue;
          }
          log.error({ ...fields, err: error }, 'a withdrawn signature could not be put back yet');
        }
      }
      withoutRoom = full;
    } catch (error) {
      if (!isLookasideError(error)) throw error;
      log.error({ err: error }, 'withdrawals could not be looked up; this is tried again in a minute');
    }
  }

  return {
    withdraw: async ({ path, ...why }, actor) => withdrawAt(parseSignaturePath(path), why, actor),
    withdrawAt,
    async ofImage(image) {
      return (await tombstones.ofImage(image)).filter(({ isInForce }) => isInForce).map(withdrawnOf);
    },
    async list({ site, filter, limit, cursor }) {
      const after = cursor === null ? null : parsePlace(cursor);
      const names = [...options.sites()].sort().filter((name) => site === null || name === site);
      const rows: Tombstone[] = [];
      for (const name of names) {
        if (rows.length > limit || (after !== null && name < after.site)) continue;
        const behind = after?.site === name ? after : null;
        // one more shows whether others follow
        rows.push(...(await tombstones.page(name, filter, behind, limit + 1 - rows.length)));
      }
      const page = rows.slice(0, limit);
      const last = page.at(-1);
      const isEnd = rows.length <= limit || last === undefined;
      return { withdrawn: page.map(listed), next: isEnd ? null : formatPlace(last) };
    },
    async putBack() {
      // a second round would wait for the same images with a list that is out of date by then
      round ??= putBackEnded().finally(() => {
        round = null;
      });
      await round;
    },
  };
}

function another(image: ImageId, number: number): LookasideError {
  return new LookasideError(
    'NOT_FOUND',
    `another signature than the one that was meant stands at ${imageFolder(image)}/signature-${number} now, and stays; lookaside show names the signatures of an image`,
  );
}

/** @throws LookasideError PATH_INVALID */
function parseSignaturePath(path: string): SignatureAt {
  const target = parseTarget(DEFAULT_SITE, '', `/${path.replace(/^\/+/, '')}`);
  if (target.kind === 'signature' && target.number !== null) {
    return { image: target.image, number: target.number };
  }
  throw unknownSignaturePath(path);
}

function checkWhy(reason: string, until: Date | null, now: Date): void {
  if (reason.trim() === '' || reason.length > MAX_REASON_CHARACTERS || !isPlain(reason)) {
    throw new LookasideError(
      'REQUEST_INVALID',
      `a withdrawal needs a reason of 1 to ${MAX_REASON_CHARACTERS} characters without control characters, which is kept and shown to who uploads it again; give --reason TEXT, or ?reason= by HTTP`,
    );
  }
  if (until !== null && !(until.getTime() > now.getTime())) {
    throw new LookasideError(
      'REQUEST_INVALID',
      'the time until which it is withdrawn is past; wanted one that is to come',
    );
  }
}

type Place = WithdrawnPlace & { readonly site: string };

function formatPlace({ image, sha256 }: Tombstone): string {
  return Buffer.from(JSON.stringify([image.site, imageFolder(image), sha256])).toString('base64url');
}

/** @throws LookasideError REQUEST_INVALID */
function parsePlace(cursor: string): Place {
  try {
    const value: unknown = JSON.parse(Buffer.from(cursor, 'base64url').toString());
    const [site, image, sha256]: readonly unknown[] = Array.isArray(value) ? value : [];
    if (typeof site === 'string' && typeof image === 'string' && typeof sha256 === 'string')
      return { site, image, sha256 };
  } catch {
    // only SyntaxError: not JSON
  }
  throw new LookasideError(
    'REQUEST_INVALID',
    'this server did not give out this cursor; begin again without one',
  );
}

function listed(tombstone: Tombstone): ListedWithdrawal {
  const { image } = tombstone;
  return { site: image.site, image: imageName(image), ...withdrawnOf(tombstone) };
}

function withdrawnOf(tombstone: Tombstone): Withdrawn {
  const { image, number, sha256, withdrawnAt, withdrawnBy, reason, until, auditSeq } = tombstone;
  return {
    path: signaturePath(image, number),
    number,
    signatureSha256: sha256,
    withdrawnAt,
    withdrawnBy,
    reason,
    until,
    auditSeq,
  };
}
