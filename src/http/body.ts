// Bodies of requests: read whole within a size and a time, and all of them together within a bound.
import type { IncomingMessage, ServerResponse } from 'node:http';
import { LookasideError } from '../domain/errors.ts';
import type { Claim, Holder, Room } from '../domain/room.ts';
import { isPassedOn } from './client.ts';

export interface BodyRequest {
  readonly req: IncomingMessage;
  readonly res: ServerResponse;
  readonly maxBytes: number;
  readonly maxMs: number;
  /** Whose share of the room it takes. */
  readonly holder: Holder;
}

export interface BodyReader {
  /**
   * What `use` returns for the whole body: its pieces in their order, none when no body was sent. `use` owns the list, so
   * that it can drop pieces that it has copied. The pieces keep their room until `use` is done. After a refusal the rest of
   * the body flows on unread.
   * @throws LookasideError TOO_LARGE, TOO_SLOW, REQUEST_INVALID, BUSY; ClientGone; whatever `use` throws
   */
  read<T>(request: BodyRequest, use: (pieces: Buffer[]) => Promise<T>): Promise<T>;
}

/** The client went away before the end of its request or of its answer: nobody is left to answer. */
export class ClientGone extends Error {}

/**
 * `room`: the memory of all bodies that are being read or used at one time. A body takes room as its bytes come, so a slow
 * one holds only what it has sent, whatever it announces. A body that finds no room is refused at once; others go on.
 */
export function createBodyReader(room: Room): BodyReader {
  return {
    async read(request, use) {
      const { req, maxBytes, holder } = request;
      requirePlain(req);
      const announced = announcedLength(req);
      if (announced !== null && announced > maxBytes) throw tooLarge(`${announced} bytes`, maxBytes);
      const claim = room.open(holder);
      // a body that cannot fit now is refused before its bytes come
      if (claim.leftBytes() < (announced ?? FIRST_BLOCK_BYTES)) throw busy(claim, room);
      try {
        const mostBytes = announced ?? maxBytes;
        const store = createStore({ claim, mostBytes });
        const reading = { announced, mostBytes, store, noRoom: () => busy(claim, room) };
        return await use(await readAll(request, reading));
      } finally {
        claim.release();
      }
    },
  };
}

/** All bytes in one buffer; the list of pieces is emptied. */
export function joinPieces(pieces: Buffer[]): Buffer {
  const whole = Buffer.concat(pieces);
  pieces.length = 0;
  return whole;
}

/**
 * Node.js runs its timers before it reads its sockets, so to a process that was stopped a body may have come in time that it has not
 * read. A late body therefore has one more turn of the event loop, and others while each brings more of it. This bounds them: a
 * turn reads 64 KiB or more, and Linux holds 6 MiB for a connection (tcp_rmem).
 */
export const MOST_LATE_TURNS = 128;

/** The same where a reader process passes the body on: both were stopped, and it is to read and write what came before this one looks. */
const PASSING_MS = 250;

/** Calls `expire` when the time of the body is over; what it returns prevents that. */
export function atDeadline({ req, maxMs }: Pick<BodyRequest, 'req' | 'maxMs'>, expire: () => void) {
  let timer = setTimeout(() => {
    if (!isPassedOn(req)) expire();
    else timer = setTimeout(expire, PASSING_MS);
  }, maxMs);
  return () => clearTimeout(timer);
}

const FIRST_BLOCK_BYTES = 1024;
const LARGEST_BLOCK_BYTES = 64 * 1024;

interface Store {
  /** Keeps a copy. False: there is no room for it. */
  add(piece: Buffer): boolean;
  readonly length: number;
  /** All that was added, in blocks. */
  end(): Buffer[];
}

/**
 * Copies what comes into blocks of its own and takes room for those. A piece from node:http weighs a hundred bytes more
 * than its content and keeps its whole packet: a body in chunks of one byte held a hundred times its length.
 */
function createStore({ claim, mostBytes }: { readonly claim: Claim; readonly mostBytes: number }): Store {
  const blocks: Buffer[] = [];
  let length = 0;
  /** How many bytes of the last block are in use. */
  let filled = 0;

  /** Adds a block as large as all before it, within bounds, so that little stays empty. False: there is no room for it. */
  function grow(): boolean {
    const wanted = Math.min(Math.max(length, FIRST_BLOCK_BYTES), LARGEST_BLOCK_BYTES);
    const sizeBytes = Math.min(wanted, mostBytes - length);
    if (!claim.take(sizeBytes)) return false;
    blocks.push(Buffer.allocUnsafeSlow(sizeBytes)); // a block from the pool would hold 8 KiB
    filled = 0;
    return true;
  }

  return {
    add(piece) {
      for (let at = 0; at < piece.length; ) {
        const last = blocks.at(-1);
        if (last === undefined || filled === last.length) {
          if (!grow()) return false;
          continue;
        }
        const copied = piece.copy(last, filled, at);
        at += copied;
        filled += copied;
        length += copied;
      }
      return true;
    },
    get length() {
      return length;
    },
    end() {
      const last = blocks.pop();
      return last === undefined ? [] : [...blocks, last.subarray(0, filled)];
    },
  };
}

interface Reading {
  readonly announced: number | null;
  readonly mostBytes: number;
  readonly store: Store;
  readonly noRoom: () => LookasideError;
}

/** Sends 100 Continue to a client that does not send its body before that. */
export function goOn({ req, res }: Pick<BodyRequest, 'req' | 'res'>): void {
  if (/(?:^|\W)100-continue(?:$|\W)/i.test(req.headers.expect ?? '')) res.writeContinue();
}

function readAll(
  { req, res, maxBytes, maxMs }: BodyRequest,
  { announced, mostBytes, store, noRoom }: Reading,
): Promise<Buffer[]> {
  if (req.destroyed) return Promise.reject(new ClientGone());
  goOn({ req, res });

  return new Promise((resolve, reject) => {
    let lastLook: NodeJS.Immediate | undefined;
    const late = () => settle(() => reject(tooSlow({ length: store.length, announced, maxMs })));
    const lookAgain = (knownBytes: number, turns: number) => {
      lastLook = setImmediate(() => {
        if (store.length > knownBytes && turns < MOST_LATE_TURNS) lookAgain(store.length, turns + 1);
        else late();
      });
    };
    const forgetDeadline = atDeadline({ req, maxMs }, () => lookAgain(store.length, 1));

    function settle(act: () => void): void {
      forgetDeadline();
      clearImmediate(lastLook);
      req.off('data', take);
      req.off('end', finish);
      req.off('close', giveUp);
      req.off('error', giveUp);
      act();
    }
    function take(piece: Buffer): void {
      if (store.length + piece.length > mostBytes) {
        settle(() => reject(tooLarge(`more than ${maxBytes} bytes`, maxBytes)));
      } else if (!store.add(piece)) settle(() => reject(noRoom()));
    }
    const finish = () => settle(() => resolve(store.end()));
    const giveUp = () => settle(() => reject(new ClientGone()));

    // events, not an iterator: leaving an iterator early would cut the connection, and the answer with it
    req.on('data', take);
    req.on('end', finish);
    req.on('close', giveUp);
    req.on('error', giveUp);
  });
}

function busy(claim: Claim, { maxBytes }: Room): LookasideError {
  const { ownBytes, networkBytes, othersBytes } = claim.held();
  const advice =
    ownBytes > 0
      ? 'wait for your own to end, or send less at a time, then send this one again'
      : 'send this one again in a few seconds';
  return new LookasideError(
    'BUSY',
    `no room is left for this upload: ${mebibytes(maxBytes)} are shared, and nobody may hold all of it; your own uploads under way hold ${mebibytes(ownBytes)}, those of others in your network ${mebibytes(networkBytes)} and those of everybody else ${mebibytes(othersBytes)}; ${advice}`,
  );
}

function mebibytes(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(1)} MiB`;
}

/** @throws LookasideError REQUEST_INVALID when the body is compressed */
export function requirePlain({ headers }: IncomingMessage): void {
  const encoding = (headers['content-encoding'] ?? 'identity').trim().toLowerCase();
  if (encoding === 'identity' || encoding === '') return;
  throw new LookasideError(
    'REQUEST_INVALID',
    `the body has the Content-Encoding ${encoding.slice(0, 40)}; send it as it is`,
  );
}

/** In bytes; null for a body in chunks, 0 without a body. node:http has refused a length that is not a number. */
export function announcedLength({ headers }: IncomingMessage): number | null {
  const length = headers['content-length'];
  if (length !== undefined) return Number(length);
  return headers['transfer-encoding'] === undefined ? 0 : null;
}

export function tooLarge(bodySize: string, maxBytes: number): LookasideError {
  return new LookasideError(
    'TOO_LARGE',
    `the body has ${bodySize}; at most ${maxBytes} are taken here; send less`,
    {
      detail: { maxBytes },
    },
  );
}

interface Lateness {
  readonly length: number;
  readonly announced: number | null;
  readonly maxMs: number;
}

export function tooSlow({ length, announced, maxMs }: Lateness): LookasideError {
  const wanted = announced === null ? '' : ` of ${announced}`;
  return new LookasideError(
    'TOO_SLOW',
    `${length}${wanted} bytes of the body came within ${maxMs / 1000} seconds; send it again, faster`,
  );
}
