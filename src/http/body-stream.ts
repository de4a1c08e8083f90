// Bodies that are handed on as they come, so that none is whole in memory: an image's layer, a backup.
import {
  announcedLength,
  atDeadline,
  type BodyRequest,
  ClientGone,
  goOn,
  MOST_LATE_TURNS,
  requirePlain,
  tooLarge,
  tooSlow,
} from './body.ts';

/**
 * The pieces of the body in their order. The client sends no faster than they are taken: while one is in use, only what
 * node:http has read ahead waits, at most 64 KiB and a packet. When the iteration ends early, the rest of the body flows on
 * unread. To be iterated once. @throws LookasideError TOO_LARGE, TOO_SLOW, REQUEST_INVALID; ClientGone
 */
export async function* streamBody(
  request: Omit<BodyRequest, 'holder'>,
): AsyncGenerator<Uint8Array, void, void> {
  const { req, maxBytes, maxMs } = request;
  requirePlain(req);
  const announced = announcedLength(req);
  if (announced !== null && announced > maxBytes) throw tooLarge(`${announced} bytes`, maxBytes);
  const source = readAhead(request);
  const late = () => tooSlow({ length, announced, maxMs });
  const forgetDeadline = atDeadline(request, () => source.expire(late));
  let length = 0;
  try {
    goOn(request);
    for (;;) {
      const piece = await source.next();
      if (piece === null) return;
      length += piece.length;
      if (length > maxBytes) throw tooLarge(`more than ${maxBytes} bytes`, maxBytes);
      yield piece;
    }
  } finally {
    forgetDeadline();
    source.leave();
  }
}

interface Source {
  /** Null at the end. @throws what expire() was given; ClientGone */
  next(): Promise<Buffer | null>;
  /** What has come is still read; the first next() that would have to wait for the client throws. */
  expire(late: () => Error): void;
  /** Removes its listeners. */
  leave(): void;
}

// events, not the stream's iterator: leaving that early would cut the connection, and the answer with it
function readAhead({ req }: Pick<BodyRequest, 'req'>): Source {
  const ahead: Buffer[] = [];
  let failure: Error | null = req.destroyed ? new ClientGone() : null;
  let hasEnded = false;
  let wake: () => void = () => undefined;
  let isWaiting = false;
  let waits = 0;
  /** Not null: the time is up. */
  let late: (() => Error) | null = null;
  let lateWaits = 0;

  const fail = (error: Error) => {
    failure ??= error;
    wake();
  };
  /** Behind a look at the sockets. One turn is not enough: it may be asked for when this turn has looked at them already. */
  const endWait = (error: () => Error) => {
    const wait = waits;
    const end = () => {
      if (isWaiting && waits === wait) fail(error());
    };
    setImmediate(() => setImmediate(end));
  };
  const take = (piece: Buffer) => {
    ahead.push(piece);
    req.pause();
    wake();
  };
  const end = () => {
    hasEnded = true;
    wake();
  };
  const giveUp = () => {
    if (!hasEnded) fail(new ClientGone());
  };
  req.on('data', take);
  req.on('end', end);
  req.on('close', giveUp);
  req.on('error', giveUp);
  req.pause(); // adding a `data` listener has made it flow

  return {
    expire(error) {
      late = error;
      if (isWaiting) endWait(error);
    },
    async next() {
      for (;;) {
        if (failure !== null) throw failure;
        const piece = ahead.shift();
        if (piece !== undefined) return piece;
        if (hasEnded) return null;
        const woken = new Promise<void>((resolve) => {
          wake = resolve;
        });
        req.resume();
        isWaiting = true;
        waits += 1;
        if (late !== null) {
          lateWaits += 1;
          if (lateWaits > MOST_LATE_TURNS) throw late();
          endWait(late);
        }
        await woken;
        isWaiting = false;
      }
    },
    leave() {
      req.off('data', take);
      req.off('end', end);
      req.off('close', giveUp);
      req.off('error', giveUp);
    },
  };
}
