// The log of a server, read over HTTP as C2SP tlog-tiles lays it out: of lookaside, or of whoever else serves a log so.
import { createHash } from 'node:crypto';
import { parseCheckpoint, parseEntryBundle, tilePath, widthIn } from '../domain/checkpoint.ts';
import { LookasideError } from '../domain/errors.ts';
import type { ImageId } from '../domain/image.ts';
import type { LoggedEvent, LogReaderStore, StoredCheckpoint } from '../domain/log.ts';
import { HASH_BYTES, TILE_WIDTH } from '../domain/merkle.ts';
import { signaturePath } from '../domain/placement.ts';
import { strange } from './answers.ts';
import { type AskerOptions, connectAsker } from './asker.ts';

export interface RemoteLog extends LogReaderStore {
  /** For people: the URL without a password. */
  readonly name: string;
  /** SHA-256 of what is served as signature-N; null when there is none. */
  servedSha256(image: ImageId, number: number): Promise<string | null>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** Tiles and bundles that are kept: proofs and walks ask for the same ones again soon. */
const KEPT = 64;

/** Connects at the first request. Nothing that comes back is verified. Look-ups reject as those of SignatureServer. */
export function connectLog(options: AskerOptions): RemoteLog {
  const asker = connectAsker(options);
  const { name: server } = asker;
  const kept = new Map<string, Promise<Buffer>>();
  let size = 0;

  async function newest(): Promise<StoredCheckpoint> {
    const { body } = await asker.ask({ method: 'GET', path: '/log/checkpoint', mayFindNothing: true });
    const note = body.toString('utf8');
    const checkpoint = parseCheckpoint(note);
    if (checkpoint === null) throw strange(server, '/log/checkpoint: no checkpoint');
    size = Math.max(size, checkpoint.size);
    return { id: 1, size: checkpoint.size, root: checkpoint.root, note, at: new Date(0) };
  }

  /** The part of that number at that level, as wide as the newest checkpoint that was seen makes it; empty beyond. */
  async function part(level: number | null, number: number): Promise<Buffer> {
    if (size === 0) await newest();
    const width = widthIn(size, level ?? 0, number);
    if (width === 0) return Buffer.alloc(0);
    const path = `/log/tile/${tilePath({ level, number, width })}`;
    const known = kept.get(path);
    if (known !== undefined) return known;
    const asked = asker.ask({ method: 'GET', path }).then(({ body }) => body);
    kept.set(path, asked);
    for (const old of [...kept.keys()].slice(0, -KEPT)) kept.delete(old);
    return asked;
  }

  async function hashes(level: number, from: number, count: number): Promise<readonly Uint8Array[]> {
    const number = Math.floor(from / TILE_WIDTH);
    const tile = await part(level, number);
    if (tile.length % HASH_BYTES !== 0)
      throw strange(server, `tile ${level}/${number}: ${tile.length} bytes`);
    const first = from - number * TILE_WIDTH;
    const last = Math.min(first + count, tile.length / HASH_BYTES);
    return Array.from({ length: Math.max(0, last - first) }, (_, n) => {
      const at = (first + n) * HASH_BYTES;
      return tile.subarray(at, at + HASH_BYTES);
    });
  }

  async function entriesOf(number: number): Promise<readonly LoggedEvent[]> {
    const entries = parseEntryBundle(await part(null, number));
    if (entries === null) throw strange(server, `entries/${number}: no bundle of entries`);
    return entries.flatMap((entry, position) => {
      const leaf = Buffer.from(entry).toString('utf8');
      // an event that is gone has an empty entry
      return leaf === ''
        ? []
        : [{ seq: number * TILE_WIDTH + position + 1, atMs: null, leaf, private: null, salt: null }];
    });
  }

  async function events(fromSeq: number, count: number): Promise<readonly LoggedEvent[]> {
    const events: LoggedEvent[] = [];
    const [first, last] = [fromSeq - 1, fromSeq + count - 2].map((index) => Math.floor(index / TILE_WIDTH));
    for (let number = first ?? 0; number <= (last ?? -1); number += 1)
      events.push(...(await entriesOf(number)));
    return events.filter(({ seq }) => seq >= fromSeq && seq < fromSeq + count);
  }

  async function key(): Promise<string> {
    const { body } = await asker.ask({ method: 'GET', path: '/log/key', mayFindNothing: true });
    return body.toString('utf8').trim();
  }

  /** Newest first, until it is there. */
  async function seqOfUpload(site: string, image: string, sha256: string): Promise<number | null> {
    const { size: length } = await newest();
    for (let number = Math.ceil(length / TILE_WIDTH) - 1; number >= 0; number -= 1) {
      const entry = (await entriesOf(number)).findLast(({ leaf }) =>
        isUploadOf(leaf, { site, image, sha256 }),
      );
      if (entry !== undefined) return entry.seq;
    }
    return null;
  }

  return {
    name: server,
    extent: async () => {
      const checkpoint = await newest();
      return { hashes: checkpoint.size, lastSeq: checkpoint.size, givenSeq: checkpoint.size };
    },
    hashes,
    events,
    lastCheckpoint: newest,
    async checkpointHolding(wanted) {
      const checkpoint = await newest();
      return checkpoint.size >= wanted ? checkpoint : null;
    },
    checkpoints: async (after) => (after === 0 ? [await newest()] : []),
    identities: async () => {
      const vkey = await key();
      return [{ origin: vkey.slice(0, Math.max(0, vkey.indexOf('+'))), vkey }];
    },
    seqOfUpload,
    async servedSha256(image, number) {
      const { status, body } = await asker.ask(
        { method: 'GET', path: signaturePath(image, number) },
        [200, 404],
      );
      return status === 404 ? null : createHash('sha256').update(body).digest('hex');
    },
    witnessed: () => {
      throw new LookasideError('NOT_FOUND', `${server} is not asked what it has witnessed`);
    },
    [Symbol.asyncDispose]: () => asker[Symbol.asyncDispose](),
  };
}

interface Wanted {
  readonly site: string;
  readonly image: string;
  readonly sha256: string;
}

function isUploadOf(leaf: string, { site, image, sha256 }: Wanted): boolean {
  if (!leaf.includes(sha256)) return false;
  try {
    const event: unknown = JSON.parse(leaf);
    if (typeof event !== 'object' || event === null) return false;
    const { action, result, ...about } = event as Record<string, unknown>; // each is compared below
    const isStored = (action === 'upload' || action === 'import') && result === 'created';
    return isStored && about.site === site && about.image === image && about.signatureSha256 === sha256;
  } catch {
    return false; // only SyntaxError: no event of ours
  }
}
