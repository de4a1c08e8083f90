// The questions of readers for sets, several in one: a database that is far away answers many of them as soon as one.
import { type ImageId, imageFolder } from '../domain/image.ts';
import { MAX_INDEXED_BYTES, MAX_SIGNATURES_PER_IMAGE } from '../domain/limits.ts';
import type { SetEntry, SignatureSet } from '../domain/ports.ts';
import { isAboutRows, type Query } from './connect.ts';
import { inTime } from './in-time.ts';

export interface AnsweredSet {
  /** The known one, where that holds. */
  readonly set: SignatureSet;
  /** The highest generation of all sets, as the same look at the database saw it; 0: there is none. */
  readonly newest: number;
}

export interface SetQuestionsOptions {
  readonly query: Query;
  /** The error for who has waited too long, and whose image is asked for no more. */
  readonly late: (image: ImageId) => Error;
  /** @throws STORE_UNAVAILABLE when they are other bytes */
  readonly check: (bytes: Uint8Array, sha256: string) => Uint8Array;
}

interface Asked {
  readonly image: ImageId;
  readonly known: SignatureSet | undefined;
  isLate: boolean;
  /** It goes with no other: a question for several failed over the rows of one. */
  isAlone: boolean;
  readonly resolve: (answer: AnsweredSet) => void;
  readonly reject: (error: unknown) => void;
}

interface SetRow {
  /** Which of those that were asked for; from 1. */
  readonly n: number;
  /** Null: there is no image. */
  readonly newest: number | null;
  /** Null when the database has no such image, or nothing new of it. */
  readonly generation: number | null;
  /** Null when the image has no signature. */
  readonly sha256: Buffer | null;
  readonly size_bytes: number;
  readonly stored_at_ms: number;
  readonly filler: boolean;
  readonly bytes: Buffer | null;
}

/** The generation of an image that the database has never had. */
const NEVER = 0;
const UNKNOWN = -1;

/** Connections that readers take, so that some of the pool are left to others. */
const QUESTIONS_AT_ONCE = 4;
/** A set has a megabyte at most. */
const SETS_AT_ONCE = 16;

/** As the database has the set from when it is asked for; never an answer to an earlier question. */
export function createSetQuestions(options: SetQuestionsOptions) {
  const { query, late, check } = options;
  const waiting: Asked[] = [];
  let underWay = 0;
  let isComing = false;

  /** What the sockets bring in this turn of the event loop goes together. */
  function soon(): void {
    if (isComing) return;
    isComing = true;
    setImmediate(() => {
      isComing = false;
      while (waiting.length > 0 && underWay < QUESTIONS_AT_ONCE) void ask(next());
    });
  }

  function next(): readonly Asked[] {
    const together = waiting.findIndex(({ isAlone }) => isAlone);
    if (together === 0) return waiting.splice(0, 1);
    return waiting.splice(0, together === -1 ? SETS_AT_ONCE : Math.min(together, SETS_AT_ONCE));
  }

  async function ask(all: readonly Asked[]): Promise<void> {
    const few = all.filter(({ isLate }) => !isLate);
    if (few.length === 0) return;
    underWay += 1;
    try {
      const rows = await rowsOf(few);
      for (const [position, asked] of few.entries()) {
        answer(
          asked,
          rows.filter(({ n }) => n === position + 1),
        );
      }
    } catch (error) {
      if (few.length > 1 && isAboutRows(error)) askOneByOne(few);
      else for (const { reject } of few) reject(error);
    } finally {
      underWay -= 1;
      soon();
    }
  }

  /** Broken rows of one image fail the question for all: none of the others is refused for it. */
  function askOneByOne(few: readonly Asked[]): void {
    for (const asked of few) asked.isAlone = true;
    waiting.unshift(...few);
  }

  function rowsOf(few: readonly Asked[]): Promise<readonly SetRow[]> {
    return query<SetRow>(
      `
      SELECT asked.n, (SELECT max(generation) FROM image) AS newest, i.generation,
        s.sha256, s.size_bytes, s.stored_at_ms, s.filler,
        CASE WHEN s.size_bytes <= ${MAX_INDEXED_BYTES} THEN b.bytes END AS bytes
      FROM unnest($1::text[], $2::text[], $3::bigint[]) WITH ORDINALITY AS asked (site, folder, known, n)
      LEFT JOIN image AS i ON i.site = asked.site AND i.folder = asked.folder AND i.generation <> asked.known
      LEFT JOIN signature AS s ON s.image_id = i.id
      LEFT JOIN blob AS b ON b.image_id = s.image_id AND b.sha256 = s.sha256
      ORDER BY asked.n, s.number`,
      [
        few.map(({ image }) => image.site),
        few.map(({ image }) => imageFolder(image)),
        few.map(({ known }) => known?.generation ?? UNKNOWN),
      ],
    );
  }

  function answer({ known, resolve, reject }: Asked, rows: readonly SetRow[]): void {
    const [first] = rows;
    const newest = first?.newest ?? 0;
    const generation = first?.generation ?? null;
    if (generation === null) {
      resolve({ set: known ?? { generation: NEVER, entries: [] }, newest });
      return;
    }
    try {
      const entries = rows.slice(0, MAX_SIGNATURES_PER_IMAGE).flatMap((row) => entryOf(row) ?? []);
      resolve({ set: { generation, entries }, newest });
    } catch (error) {
      reject(error); // of this set alone
    }
  }

  function entryOf({ sha256, size_bytes, stored_at_ms, filler, bytes }: SetRow): SetEntry | null {
    if (sha256 === null) return null;
    const hex = sha256.toString('hex');
    return {
      sha256: hex,
      sizeBytes: size_bytes,
      storedAt: new Date(stored_at_ms),
      bytes: bytes === null ? null : check(bytes, hex),
      ...(filler ? { isFiller: true } : {}),
    };
  }

  return (image: ImageId, known: SignatureSet | undefined): Promise<AnsweredSet> => {
    let leave: () => void = () => undefined;
    const answering = new Promise<AnsweredSet>((resolve, reject) => {
      const asked = { image, known, isLate: false, isAlone: false, resolve, reject };
      leave = () => {
        asked.isLate = true;
      };
      waiting.push(asked);
      soon();
    });
    return inTime(answering, () => {
      leave();
      return late(image);
    });
  };
}
