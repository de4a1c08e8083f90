// Makes verdicts for signatures that were not uploaded, and new verdicts for signatures whose key has changed. Each verdict
// is made once, in the background; requested images come first, and a scan that has just begun before them.
import { isLookasideError } from '../domain/errors.ts';
import { type ImageId, imageKey } from '../domain/image.ts';
import { digestRefusal, signaturePath } from '../domain/placement.ts';
import type {
  Clock,
  IndexedSignature,
  Log,
  SignatureStore,
  Urgency,
  VerdictIndex,
  Verifier,
} from '../domain/ports.ts';
import type { Judgement } from '../domain/verdict.ts';

export interface JudgeOptions {
  readonly site: string;
  readonly index: VerdictIndex;
  readonly store: Pick<SignatureStore, 'readBlob'>;
  readonly verifier: Pick<Verifier, 'examine'>;
  readonly clock: Clock;
  readonly log: Log;
  /** For messages that every signature of a tree could cause. */
  readonly badLog: Log;
}

export interface Judge {
  /** Works through the signatures without a verdict, now and whenever woken. */
  start(): void;
  /** Stops at the current signature, whose verdict it does not wait for: on a busy machine that takes seconds. */
  stop(): Promise<void>;
  /** Call it when there is something new to judge. */
  wake(): void;
  /** The keyring has changed: verdicts begun with the old one are not written. Call it before VerdictIndex.judgeAgain. */
  keysChanged(): void;
  /** How often the keyring has changed. */
  readonly keyringChanges: number;
  /**
   * Somebody asked for this image, so its signatures without a verdict go first. Resolves once that is noted; never rejects.
   */
  prefer(image: ImageId): Promise<void>;
  /**
   * Resolves when every signature that now has no verdict has got one, or cannot get one now; at once when the judge is not
   * running. Never rejects.
   */
  settled(): Promise<void>;
  /** Resolves when the image's signatures have verdicts, or cannot get them now. */
  judgeImage(image: ImageId): Promise<void>;
}

/** The judge of one site, whose scans come before what nobody waits for. */
export interface SiteJudge extends Judge {
  /**
   * A scan records images that were not known: the background waits for two seconds, so that they are recorded sooner, and for five
   * minutes of one scan at most. Images that somebody asks for wait for ten seconds of it at most.
   */
  makeWay(): void;
  /** The scan has ended: there is nothing to make way for, and there may be something new to judge. */
  goOn(): void;
}

const ROWS_A_ROUND = 100;
const MAX_PREFERRED = 1000;
/** The pause between rounds without a wake(): a later round takes up what had to wait and what was signed in the future. */
const IDLE_MS = 60_000;
const BUSY_PAUSE_MS = 1000;
/** Longer than a scan takes for a pack of new images, on a slow disk too. */
const WAY_MS = 2000;
/** How long one scan has the way: a million images are recorded in less. A scan of a slow disk takes hours, and leaves the processor idle meanwhile. */
const MOST_WAY_MS = 300_000;
/** How long it goes before images that somebody asks for: reads of a server that has just started are the slowest of all, and come first. */
const ASKED_WAY_MS = 10_000;

export function createJudge(options: JudgeOptions): SiteJudge {
  const { site, index, clock, log } = options;
  const preferred = new Map<string, ImageId>();
  let keyringChanges = 0;
  /** Since when the background makes way for the scan that is under way; null: it does not. */
  let wayFromMs: number | null = null;
  let wayUntilMs = Number.NEGATIVE_INFINITY;
  // the index is made anew or its queue is full: it is asked again
  const rounds = createRounds(judgeRest, (error) =>
    log.debug({ err: error }, 'signatures are verified later'),
  );

  /** Judges every signature that needs it, by id, and those of preferred images in between. */
  async function judgeRest(): Promise<void> {
    for (let after = 0; !rounds.isStopped; ) {
      if (!isWayBeforeAsked()) {
        await judgePreferred();
        if (preferred.size > 0) continue;
      }
      if (clock.monotonicMs() < wayUntilMs) {
        await rounds.sleep(WAY_MS);
        continue;
      }
      const rows = await index.unjudged(site, clock.now(), after, ROWS_A_ROUND);
      const last = rows.at(-1);
      if (last === undefined) return;
      await judgeAll(rows, 'idle');
      after = last.id;
    }
  }

  async function judgePreferred(): Promise<void> {
    for (const [key, image] of preferred) {
      preferred.delete(key);
      await judgeAll(await index.unjudgedOf(image), 'idle');
    }
  }

  function isWayBeforeAsked(): boolean {
    const nowMs = clock.monotonicMs();
    return wayFromMs !== null && nowMs < Math.min(wayUntilMs, wayFromMs + ASKED_WAY_MS);
  }

  /** So that repeated requests for one image cause a look at that image only. */
  async function hasUnjudged(image: ImageId): Promise<boolean> {
    try {
      return (await index.unjudgedOf(image)).length > 0;
    } catch (error) {
      log.debug(
        { err: error },
        'cannot find out whether an image has signatures to verify; this is tried again',
      );
      return false; // an index that is made anew has all of its images judged
    }
  }

  async function judgeAll(rows: readonly IndexedSignature[], urgency: Urgency): Promise<void> {
    const judged: { image: ImageId; sha256: string; judgement: Judgement; keyring: number }[] = [];
    for (const row of rows) {
      if (rounds.isStopped) break;
      const keyring = keyringChanges;
      const judgement = await judge(row, urgency);
      if (judgement !== null) judged.push({ image: row.image, sha256: row.sha256, judgement, keyring });
    }
    const current = judged.filter(({ keyring }) => keyring === keyringChanges);
    if (current.length > 0) await index.judge(current);
  }

  /** Null when no verdict can be made now; one signature must not hold up the others. */
  async function judge(row: IndexedSignature, urgency: Urgency): Promise<Judgement | null> {
    try {
      const bytes = await options.store.readBlob(row.image, row.sha256);
      if (bytes === null) return null;
      const examining = options.verifier.examine(bytes, clock.now(), urgency);
      const examined = await (urgency === 'idle' ? rounds.unlessStopped(examining) : examining);
      if (examined === null) return null;
      const judgement = judgedInPlace(row.image, examined);
      tell(row, judgement);
      return judgement;
    } catch (error) {
      await passOver(row, error, urgency);
      return null;
    }
  }

  async function passOver(
    { image, number }: IndexedSignature,
    error: unknown,
    urgency: Urgency,
  ): Promise<void> {
    const path = signaturePath(image, number);
    if (isLookasideError(error, 'STORE_UNAVAILABLE')) return; // the read itself logs this
    if (!isLookasideError(error, 'BUSY')) {
      log.error({ err: error, path }, 'a signature could not be verified; this is tried again');
      return;
    }
    log.debug({ err: error, path }, 'a signature is verified later');
    if (urgency === 'idle') await rounds.sleep(BUSY_PAUSE_MS);
  }

  function tell({ image, number }: IndexedSignature, { verdict, refusal }: Judgement): void {
    if (verdict !== 'bad' && verdict !== 'unreadable') return;
    options.badLog.warn(
      { path: signaturePath(image, number), code: refusal?.code, reason: refusal?.message },
      'this signature does not verify, and as an upload it would be refused; it is served all the same',
    );
  }

  return {
    start: rounds.start,
    stop: rounds.stop,
    wake: rounds.wake,
    settled: rounds.settled,
    keysChanged() {
      keyringChanges += 1;
    },
    get keyringChanges() {
      return keyringChanges;
    },
    makeWay() {
      const nowMs = clock.monotonicMs();
      wayFromMs ??= nowMs;
      wayUntilMs = Math.min(nowMs + WAY_MS, wayFromMs + MOST_WAY_MS);
    },
    goOn() {
      wayFromMs = null;
      wayUntilMs = Number.NEGATIVE_INFINITY;
      rounds.wake();
    },
    async prefer(image) {
      const isLater = isWayBeforeAsked();
      if (!isLater && !(await hasUnjudged(image))) return;
      if (preferred.size < MAX_PREFERRED) preferred.set(imageKey(image), image);
      if (!isLater) rounds.wake();
    },
    async judgeImage(image) {
      if (index.peekLacks?.(image) === true) return;
      try {
        await judgeAll(await index.unjudgedOf(image), 'upload');
      } catch (error) {
        log.debug({ err: error }, 'signatures are verified later');
      }
    },
  };
}

interface Rounds extends Pick<Judge, 'start' | 'stop' | 'wake' | 'settled'> {
  readonly isStopped: boolean;
  /** Until then, or until somebody wakes or stops it. */
  sleep(ms: number): Promise<void>;
  /** Null once it is stopped. */
  unlessStopped<T>(work: Promise<T>): Promise<T | null>;
}

/** One round after the other, with a rest in between that ends when it is woken. */
function createRounds(round: () => Promise<void>, onTrouble: (error: unknown) => void): Rounds {
  let isStopped = false;
  let isAwake = true;
  let rouse = () => {};
  let running: Promise<void> | null = null;
  let giveUp = () => {};
  /** Callbacks of those who wait for the end of a round that has not begun. */
  let settling: (() => void)[] = [];

  async function run(): Promise<void> {
    while (!isStopped) {
      isAwake = false;
      const settled = settling;
      settling = [];
      try {
        await round();
      } catch (error) {
        onTrouble(error);
      }
      for (const resolve of settled) resolve();
      if (!isAwake) await sleep(IDLE_MS);
    }
  }

  /** Releases those who wait for a round that will not come. */
  function endRunning(): void {
    running = null;
    for (const resolve of settling.splice(0)) resolve();
  }

  function sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      timer.unref();
      rouse = () => {
        clearTimeout(timer);
        resolve();
      };
      if (isStopped) rouse();
    });
  }

  function wake(): void {
    isAwake = true;
    rouse();
  }

  /** One piece of work at a time. */
  function unlessStopped<T>(work: Promise<T>): Promise<T | null> {
    return new Promise((resolve, reject) => {
      giveUp = () => resolve(null);
      if (isStopped) giveUp();
      work.then(resolve, reject);
    });
  }

  return {
    get isStopped() {
      return isStopped;
    },
    sleep,
    unlessStopped,
    wake,
    start() {
      running = run().finally(endRunning);
    },
    async stop() {
      isStopped = true;
      rouse();
      giveUp();
      await running;
    },
    settled() {
      if (running === null) return Promise.resolve();
      return new Promise((resolve) => {
        settling.push(resolve);
        wake();
      });
    },
  };
}

/** The verdict at this place: a signature of another manifest can never verify here. */
export function judgedInPlace(image: ImageId, judgement: Judgement): Judgement {
  if (judgement.verdict !== 'good' || judgement.claim === null) return judgement;
  const mismatch = digestRefusal(image, judgement.claim);
  // what stands against an upload now is the key's state, which is computed at each request
  return mismatch === null
    ? { ...judgement, refusal: null }
    : { ...judgement, verdict: 'bad', refusal: mismatch };
}
