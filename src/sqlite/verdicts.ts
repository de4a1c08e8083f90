// Looks up the results of verification in table signature.
import type { Database, Statement } from 'better-sqlite3';
import type { ImageId } from '../domain/image.ts';
import type { IndexedSignature, SignatureFilter, SignaturePage } from '../domain/ports.ts';
import { OBSTACLES, type SignatureForm, type Traits, type Verdict } from '../domain/verdict.ts';
import { UnusableFile } from './open.ts';

interface VerdictRow {
  readonly id: number;
  readonly site: string;
  readonly path: string;
  readonly layout: ImageId['layout'];
  readonly algorithm: ImageId['algorithm'];
  readonly digest: Buffer;
  readonly number: number;
  readonly served_number: number;
  readonly sha256: Buffer;
  readonly size_bytes: number;
  readonly stored_at_ms: number;
  readonly verdict: Verdict;
  readonly reason: string | null;
  readonly form: SignatureForm | null;
  readonly issuer: string | null;
  readonly fingerprint: string | null;
  readonly signing_fingerprint: string | null;
  readonly signed_at_ms: number | null;
  readonly expires_at_ms: number | null;
  readonly claimed_algorithm: string | null;
  readonly claimed_digest: Buffer | null;
  readonly docker_reference: string | null;
  readonly creator: string | null;
  readonly signed_sha256: Buffer | null;
  readonly digest_bits: number | null;
  readonly obstacles: string | null;
}

interface ImageRow {
  readonly path: string;
  readonly layout: ImageId['layout'];
  readonly algorithm: ImageId['algorithm'];
  readonly digest: Buffer;
}

type ImageValues = [
  site: string,
  fingerprint: string,
  path: string,
  layout: string,
  algorithm: string,
  digest: Uint8Array,
];

interface SearchValues {
  readonly site: string;
  readonly path: string | null;
  readonly algorithm: string | null;
  readonly digest: Uint8Array | null;
  readonly fingerprint: string | null;
  readonly tag: string | null;
  readonly verdict: Verdict | null;
  readonly since: number;
  readonly until: number;
  readonly after: number;
  readonly limit: number;
}

/** The conditions that a search can follow; each has an index, which is ordered by id. */
const PATHS = {
  digest: { index: 'signature_by_digest', condition: 'substr(digest, 1, 6) = substr(@digest, 1, 6)' },
  pathAndTag: { index: 'signature_by_path_and_tag', condition: 'path = @path AND tag = @tag' },
  tag: { index: 'signature_by_tag', condition: 'tag = @tag' },
  path: { index: 'signature_by_path', condition: 'path = @path' },
  fingerprint: { index: 'signature_by_fingerprint', condition: 'fingerprint = @fingerprint' },
  // SQLite takes an index of some rows alone when the condition of the index stands there as it is
  notGood: { index: 'signature_not_good', condition: "verdict <> 'good' AND verdict = @verdict" },
  id: { index: 'signature_by_id', condition: 'TRUE' },
} as const;

type SearchPath = keyof typeof PATHS;
type Searches = Readonly<Record<SearchPath, Statement<SearchValues, VerdictRow>>>;

// every column except the bytes
const COLUMNS = `
  id, site, path, layout, algorithm, digest, number, sha256, size_bytes, stored_at_ms, verdict, reason, form,
  issuer, fingerprint, signing_fingerprint, signed_at_ms, expires_at_ms, claimed_algorithm, claimed_digest,
  docker_reference, creator, signed_sha256, digest_bits, obstacles,
  CASE number
    WHEN 1 THEN 1 -- nothing is before it
    ELSE (
      SELECT count(*)
      FROM signature AS lower
      WHERE lower.site = signature.site AND lower.path = signature.path AND lower.layout = signature.layout
        AND lower.algorithm = signature.algorithm AND lower.digest = signature.digest
        AND lower.number <= signature.number
    )
  END AS served_number`;

/** The prepared look-ups of one read-only connection. */
export class Verdicts {
  readonly #generation: Statement<[], string>;
  readonly #ofImage: Statement<[string, string, string, string, Uint8Array], VerdictRow>;
  readonly #oldest: Searches;
  readonly #newest: Searches;
  readonly #imagesByKey: Statement<[...ImageValues, number], ImageRow>;
  readonly #countByKey: Statement<[string, string, string, string], number>;
  readonly #unjudged: Statement<[string, number, number, number], VerdictRow>;
  readonly #unjudgedOf: Statement<[string, string, string, string, Uint8Array], VerdictRow>;

  constructor(db: Database) {
    this.#generation = db
      .prepare<[], string>(`
        SELECT value
        FROM generation
        WHERE id = 1`)
      .pluck();
    this.#ofImage = db.prepare(`
      SELECT ${COLUMNS}
      FROM signature
      WHERE site = ? AND path = ? AND layout = ? AND algorithm = ? AND digest = ? AND filler = 0
      ORDER BY number`);
    this.#oldest = prepareSearches(db, 'id > @after', 'ASC');
    this.#newest = prepareSearches(db, 'id < @after', 'DESC');
    // a filler is of the same image as what it is a copy of
    this.#imagesByKey = db.prepare(`
      SELECT DISTINCT path, layout, algorithm, digest
      FROM signature INDEXED BY signature_by_key
      WHERE site = ? AND fingerprint = ? AND (path, layout, algorithm, digest) > (?, ?, ?, ?)
      ORDER BY path, layout, algorithm, digest
      LIMIT ?`);
    // uses only indexes, so that many signatures of a key are counted without reading their rows
    this.#countByKey = db
      .prepare<[string, string, string, string], number>(`
        SELECT (
          SELECT count(*)
          FROM signature INDEXED BY signature_by_fingerprint
          WHERE site = ? AND fingerprint = ?
        ) - (
          SELECT count(*)
          FROM signature INDEXED BY signature_filler
          WHERE site = ? AND fingerprint = ? AND filler = 1
        )`)
      .pluck();
    this.#unjudged = db.prepare(`
      SELECT ${COLUMNS}
      FROM signature INDEXED BY signature_to_judge
      WHERE site = ? AND judge_at_ms <= ? AND id > ?
      ORDER BY id
      LIMIT ?`);
    // the plus keeps SQLite from walking through all signatures that need judging
    this.#unjudgedOf = db.prepare(`
      SELECT ${COLUMNS}
      FROM signature
      WHERE site = ? AND path = ? AND layout = ? AND algorithm = ? AND digest = ? AND +judge_at_ms IS NOT NULL
      ORDER BY number`);
  }

  generation(): string {
    const value = this.#generation.get();
    if (value === undefined) throw new UnusableFile('corrupt', 'the index does not say which one it is');
    return value;
  }

  ofImage({ site, path, layout, algorithm, hex }: ImageId): readonly IndexedSignature[] {
    return this.#ofImage.all(site, path, layout, algorithm, Buffer.from(hex, 'hex')).map(indexedOf);
  }

  search(site: string, { filter, order, after, limit }: SignaturePage): readonly IndexedSignature[] {
    const searches = order === 'oldest' ? this.#oldest : this.#newest;
    const beginning = order === 'oldest' ? 0 : Number.MAX_SAFE_INTEGER;
    const { path, digest, fingerprint, tag, verdict, since, until } = filter;
    return searches[searchPathOf(filter)]
      .all({
        site,
        path,
        algorithm: digest?.algorithm ?? null,
        digest: digest === null ? null : Buffer.from(digest.hex, 'hex'),
        fingerprint,
        tag,
        verdict,
        since: since?.getTime() ?? Number.MIN_SAFE_INTEGER,
        until: until?.getTime() ?? Number.MAX_SAFE_INTEGER,
        after: after ?? beginning,
        limit,
      })
      .map(indexedOf);
  }

  countByKey(site: string, fingerprint: string): number {
    return this.#countByKey.get(site, fingerprint, site, fingerprint) ?? 0;
  }

  imagesByKey(site: string, fingerprint: string, after: ImageId | null, limit: number): readonly ImageId[] {
    const { path = '', layout = '', algorithm = '', hex = '' } = after ?? {};
    return this.#imagesByKey
      .all(site, fingerprint, path, layout, algorithm, Buffer.from(hex, 'hex'), limit)
      .map(({ digest, ...image }) => ({ site, ...image, hex: digest.toString('hex') }));
  }

  unjudged(site: string, now: Date, after: number, limit: number): readonly IndexedSignature[] {
    return this.#unjudged.all(site, now.getTime(), after, limit).map(indexedOf);
  }

  unjudgedOf({ site, path, layout, algorithm, hex }: ImageId): readonly IndexedSignature[] {
    return this.#unjudgedOf.all(site, path, layout, algorithm, Buffer.from(hex, 'hex')).map(indexedOf);
  }
}

/** The narrowest: a digest has few signatures, a path fewer than a key; a tag may be that of every image. */
function searchPathOf({ digest, tag, path, fingerprint, verdict }: SignatureFilter): SearchPath {
  if (digest !== null) return 'digest';
  if (tag !== null) return path === null ? 'tag' : 'pathAndTag';
  if (path !== null) return 'path';
  if (verdict !== null && verdict !== 'good') return 'notGood';
  return fingerprint === null ? 'id' : 'fingerprint';
}

function prepareSearches(db: Database, keyset: string, direction: 'ASC' | 'DESC'): Searches {
  const prepare = (along: SearchPath): Statement<SearchValues, VerdictRow> => {
    const { index, condition } = PATHS[along];
    return db.prepare(`
      SELECT ${COLUMNS}
      FROM signature INDEXED BY ${index}
      WHERE site = @site AND ${condition} AND ${keyset} AND filler = 0
        AND stored_at_ms >= @since AND stored_at_ms < @until
        AND (@digest IS NULL OR (algorithm = @algorithm AND digest = @digest))
        AND (@path IS NULL OR path = @path)
        AND (@fingerprint IS NULL OR fingerprint = @fingerprint)
        AND (@tag IS NULL OR (tag = @tag AND verdict = 'good'))
        AND (@verdict IS NULL OR verdict = @verdict)
      ORDER BY id ${direction}
      LIMIT @limit`);
  };
  return {
    digest: prepare('digest'),
    pathAndTag: prepare('pathAndTag'),
    tag: prepare('tag'),
    path: prepare('path'),
    fingerprint: prepare('fingerprint'),
    notGood: prepare('notGood'),
    id: prepare('id'),
  };
}

function indexedOf(row: VerdictRow): IndexedSignature {
  const { site, path, layout, algorithm, claimed_algorithm, claimed_digest } = row;
  return {
    id: row.id,
    image: { site, layout, path, algorithm, hex: row.digest.toString('hex') },
    number: row.number,
    servedNumber: row.served_number,
    sha256: row.sha256.toString('hex'),
    sizeBytes: row.size_bytes,
    storedAt: new Date(row.stored_at_ms),
    verdict: row.verdict,
    reason: row.reason,
    form: row.form,
    issuer: row.issuer,
    fingerprint: row.fingerprint,
    signingFingerprint: row.signing_fingerprint,
    signedAt: dateOf(row.signed_at_ms),
    expiresAt: dateOf(row.expires_at_ms),
    manifestDigest: claimed_digest === null ? null : `${claimed_algorithm}:${claimed_digest.toString('hex')}`,
    dockerReference: row.docker_reference,
    creator: row.creator,
    traits: traitsOf(row),
  };
}

function traitsOf({ signed_sha256, digest_bits, obstacles }: VerdictRow): Traits | null {
  if (signed_sha256 === null || digest_bits === null || obstacles === null) return null;
  const words = obstacles.split(' ');
  return {
    signedSha256: signed_sha256.toString('hex'),
    digestBits: digest_bits,
    obstacles: OBSTACLES.filter((obstacle) => words.includes(obstacle)),
  };
}

function dateOf(ms: number | null): Date | null {
  return ms === null ? null : new Date(ms);
}
