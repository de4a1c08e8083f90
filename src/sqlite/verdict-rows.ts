// The columns of table signature that hold verdicts, changed by the writer thread.
import type { Database, Statement } from 'better-sqlite3';
import type { ImageId } from '../domain/image.ts';
import { tagOf } from '../domain/reference.ts';
import type { Judgement } from '../domain/verdict.ts';

export interface JudgeAgain {
  readonly site: string;
  /** Fingerprints and key IDs. */
  readonly issuers: readonly string[];
  /** Ids up to this one are done. */
  readonly after: number;
}

/** In the order of verdictValues(). */
export const VERDICT_COLUMNS = [
  'verdict',
  'reason',
  'form',
  'issuer',
  'fingerprint',
  'signing_fingerprint',
  'signed_at_ms',
  'expires_at_ms',
  'claimed_algorithm',
  'claimed_digest',
  'docker_reference',
  'creator',
  'signed_sha256',
  'digest_bits',
  'obstacles',
  'tag',
  'judge_at_ms',
] as const;

export type Value = string | number | Uint8Array | null;
type Values = Readonly<Record<(typeof VERDICT_COLUMNS)[number], Value>>;

interface Match {
  readonly site: string;
  readonly after: number;
  readonly last: number;
  /** JSON arrays. */
  readonly names: string;
  readonly keyIds: string;
}

const KEY_ID_DIGITS = 16;
const FINGERPRINT_DIGITS = 40;
// A small step, so that other writes do not wait long.
const MARKED_AT_ONCE = 10_000;

export class VerdictRows {
  readonly #judge: Statement<[Values & Record<string, Value>]>;
  readonly #copy: Statement<{ from: number; to: number }>;
  readonly #lastId: Statement<[], number>;
  readonly #markForJudging: Statement<Match>;

  constructor(db: Database) {
    const set = VERDICT_COLUMNS.map((column) => `${column} = @${column}`).join(', ');
    this.#judge = db.prepare(`
      UPDATE signature
      SET ${set}
      WHERE site = @site AND path = @path AND layout = @layout AND algorithm = @algorithm
        AND digest = @digest AND sha256 = @sha256`);
    this.#copy = db.prepare(`
      UPDATE signature
      SET (${VERDICT_COLUMNS.join(', ')}) = (SELECT ${VERDICT_COLUMNS.join(', ')} FROM signature WHERE id = @from)
      WHERE id = @to`);
    this.#lastId = db.prepare<[], number>('SELECT coalesce(max(id), 0) FROM signature').pluck();
    // a stored fingerprint of version 4 ends in its key ID
    const isMeant = (column: string): string => `
        ${column} IN (SELECT value FROM json_each(@names))
        OR (length(${column}) = ${FINGERPRINT_DIGITS}
          AND substr(${column}, -${KEY_ID_DIGITS}) IN (SELECT value FROM json_each(@keyIds)))`;
    this.#markForJudging = db.prepare(`
      UPDATE signature
      SET judge_at_ms = 0
      WHERE site = @site AND id > @after AND id <= @last AND judge_at_ms IS NULL
        AND (${['issuer', 'fingerprint', 'signing_fingerprint'].map(isMeant).join(' OR ')})`);
  }

  /** Writes the verdict to every row of the image with these bytes. */
  judge({ site, path, layout, algorithm, hex }: ImageId, sha256: string, judgement: Judgement): void {
    this.#judge.run({
      ...valuesOf(judgement),
      site,
      path,
      layout,
      algorithm,
      digest: Buffer.from(hex, 'hex'),
      sha256: Buffer.from(sha256, 'hex'),
    });
  }

  /** Gives one row the verdict of another. */
  copy(from: number, to: number): void {
    this.#copy.run({ from, to });
  }

  /**
   * Marks the matching rows among the next ids for another look by the judge. Returns the id up to which the work is done;
   * null at the end.
   */
  judgeAgain({ site, issuers, after }: JudgeAgain): number | null {
    const last = after + MARKED_AT_ONCE;
    const keyIds = issuers.filter(({ length }) => length === KEY_ID_DIGITS);
    const fingerprints = issuers.filter(({ length }) => length === FINGERPRINT_DIGITS);
    const names = [...issuers, ...fingerprints.map((fingerprint) => fingerprint.slice(-KEY_ID_DIGITS))];
    this.#markForJudging.run({
      site,
      after,
      last,
      names: JSON.stringify(names),
      keyIds: JSON.stringify(keyIds),
    });
    return last < (this.#lastId.get() ?? 0) ? last : null;
  }
}

/** For the columns, to be written with the row itself. */
export function verdictValues(judgement: Judgement): readonly Value[] {
  const values = valuesOf(judgement);
  return VERDICT_COLUMNS.map((column) => values[column]);
}

function valuesOf(judgement: Judgement): Values {
  const { verdict, refusal, form, issuer, signedAt, expiresAt, claim, traits } = judgement;
  return {
    verdict,
    reason: refusal?.code ?? null,
    form,
    issuer,
    fingerprint: judgement.fingerprint,
    signing_fingerprint: judgement.signingFingerprint,
    signed_at_ms: signedAt?.getTime() ?? null,
    expires_at_ms: expiresAt?.getTime() ?? null,
    claimed_algorithm: claim?.algorithm ?? null,
    claimed_digest: claim === null ? null : Buffer.from(claim.hex, 'hex'),
    docker_reference: claim?.dockerReference ?? null,
    creator: claim?.creator ?? null,
    signed_sha256: traits === null ? null : Buffer.from(traits.signedSha256, 'hex'),
    digest_bits: traits?.digestBits ?? null,
    obstacles: traits?.obstacles.join(' ') ?? null,
    tag: claim === null ? null : tagOf(claim.dockerReference),
    judge_at_ms: judgeAtMs(judgement),
  };
}

function judgeAtMs({ verdict, judgeAgainAt }: Judgement): number | null {
  if (judgeAgainAt !== null) return judgeAgainAt.getTime();
  return verdict === 'unverified' ? 0 : null;
}
