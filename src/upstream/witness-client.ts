// A witness elsewhere (C2SP tlog-witness), asked over HTTP.
import { isDecimal } from '../domain/checkpoint.ts';
import { strange } from './answers.ts';
import { type AskerOptions, connectAsker } from './asker.ts';

export interface RemoteWitness {
  /** The lines of signatures, or the size of the head that it cosigned last. @throws LookasideError */
  addCheckpoint(request: string): Promise<{ readonly lines: string } | { readonly size: number }>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** The head was cosigned; another one was cosigned last. */
const ANSWERS = [200, 409];

/** Connects at the first request. */
export function connectWitness(options: AskerOptions): RemoteWitness {
  const asker = connectAsker(options);
  return {
    async addCheckpoint(request) {
      const { status, body } = await asker.ask(
        {
          method: 'POST',
          path: '/add-checkpoint',
          contentType: 'text/plain; charset=utf-8',
          body: Buffer.from(request),
        },
        ANSWERS,
      );
      const text = body.toString('utf8');
      if (status === 200) return { lines: text };
      if (isDecimal(text.trim())) return { size: Number(text.trim()) };
      throw strange(asker.name, 'add-checkpoint: a conflict without a size');
    },
    [Symbol.asyncDispose]: () => asker[Symbol.asyncDispose](),
  };
}
