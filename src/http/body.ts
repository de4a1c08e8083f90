// Bodies of requests: read whole within a size and a time, and all of them together within a bound.
import type { IncomingMessage, ServerResponse } from 'node:http';
import { LookasideError } from '../domain/errors.ts';

export interface BodyRequest {
  readonly req: IncomingMessage;
  readonly res: ServerResponse;
  readonly maxBytes: number;
  readonly maxMs: number;
}

export interface BodyReader {
  /**
   * What `use` makes of the whole body: its pieces as they came, none when none was sent. The list is its own, so that
   * it can drop pieces that it has copied. They count as in flight until `use` is done. After a refusal what is left of
   * the body flows on unread.
   * @throws LookasideError TOO_LARGE, TOO_SLOW, REQUEST_INVALID, BUSY; ClientGone; whatever `use` throws
   */
  read<T>(request: BodyRequest, use: (pieces: Buffer[]) => Promise<T>): Promise<T>;
}

/** The client went away ahead of the end of its request: nobody is left to be answered. */
export class ClientGone extends Error {}

/** `maxBytesInFlight`: of all bodies that are being read or used at one time. */
export function createBodyReader(maxBytesInFlight: number): BodyReader {
  let inFlight = 0;

  return {
    async read(request, use) {
      const { req, maxBytes } = request;
      requirePlain(req);
      const announced = announcedLength(req);
      if (announced !== null && announced > maxBytes) throw tooLarge(`${announced} bytes`, maxBytes);
      const held = announced ?? maxBytes;
      if (inFlight + held > maxBytesInFlight) {
        throw new LookasideError(
          'BUSY',
          'as much is being uploaded as this server takes at one time; try again',
        );
      }
      inFlight += held;
      try {
        return await use(await readAll(request, announced));
      } finally {
        inFlight -= held;
      }
    },
  };
}

function readAll({ req, res, maxBytes, maxMs }: BodyRequest, announced: number | null): Promise<Buffer[]> {
  if (req.destroyed) return Promise.reject(new ClientGone());
  // a client that waits for it would else not send its body
  if (/(?:^|\W)100-continue(?:$|\W)/i.test(req.headers.expect ?? '')) res.writeContinue();

  return new Promise((resolve, reject) => {
    const pieces: Buffer[] = [];
    let length = 0;
    const deadline = setTimeout(() => settle(() => reject(tooSlow({ length, announced, maxMs }))), maxMs);

    function settle(act: () => void): void {
      clearTimeout(deadline);
      req.off('data', take);
      req.off('end', finish);
      req.off('close', giveUp);
      req.off('error', giveUp);
      act();
    }
    function take(piece: Buffer): void {
      length += piece.length;
      if (length > maxBytes) settle(() => reject(tooLarge(`more than ${maxBytes} bytes`, maxBytes)));
      else pieces.push(piece);
    }
    const finish = () => settle(() => resolve(pieces));
    const giveUp = () => settle(() => reject(new ClientGone()));

    // events and no iterator: leaving an iterator early would cut the connection, and the answer with it
    req.on('data', take);
    req.on('end', finish);
    req.on('close', giveUp);
    req.on('error', giveUp);
  });
}

function requirePlain({ headers }: IncomingMessage): void {
  const encoding = (headers['content-encoding'] ?? 'identity').trim().toLowerCase();
  if (encoding === 'identity' || encoding === '') return;
  throw new LookasideError(
    'REQUEST_INVALID',
    `the body has the Content-Encoding ${encoding.slice(0, 40)}; send it as it is`,
  );
}

// node:http has refused what is no number
function announcedLength({ headers }: IncomingMessage): number | null {
  const length = headers['content-length'];
  if (length !== undefined) return Number(length);
  return headers['transfer-encoding'] === undefined ? 0 : null;
}

function tooLarge(found: string, maxBytes: number): LookasideError {
  return new LookasideError(
    'TOO_LARGE',
    `the body has ${found}; at most ${maxBytes} are taken here; send less`,
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

function tooSlow({ length, announced, maxMs }: Lateness): LookasideError {
  const wanted = announced === null ? '' : ` of ${announced}`;
  return new LookasideError(
    'TOO_SLOW',
    `${length}${wanted} bytes of the body came within ${maxMs / 1000} seconds; send it again, faster`,
  );
}
