// Requests to one server. When a failure may pass, the request is tried again here, and nowhere else.
import { backoffMs } from '../domain/backoff.ts';
import { LookasideError } from '../domain/errors.ts';
import type { OnRetry } from '../domain/remote.ts';
import { parseJson } from './answers.ts';
import {
  connectNetwork,
  connectSocket,
  type HttpRequest,
  type NetworkOptions,
  type SocketOptions,
} from './connection.ts';
import { type Failure, failureOfAnswer, failureOfAttempt, failureWithin } from './failure.ts';
import { type HttpAnswer, type HttpStream, readLines, readWhole } from './transport.ts';

export interface AskerOptions {
  /** The URL, or the socket of a server on this machine. */
  readonly at: NetworkOptions | SocketOptions;
  readonly onRetry: OnRetry;
  /**
   * How long to wait for the server: the sum of all waits for one request. Infinity: for ever. When the server tells us to
   * slow down, and for how long, we wait ten minutes at least.
   */
  readonly patienceMs: number;
  /** Resolves after that time; rejects once the signal is aborted. */
  readonly wait: (ms: number, signal: AbortSignal) => Promise<unknown>;
  /** From 0 to 1. */
  readonly random: () => number;
}

/** Every method throws LookasideError, as those of SignatureServer and Administration do. */
export interface Asker {
  /** For people: the URL without user and password, or the socket's path. */
  readonly name: string;
  /** The answer, with one of the `wanted` statuses. Default 200. */
  ask(request: HttpRequest, wanted?: readonly number[]): Promise<HttpAnswer>;
  /** The JSON of each line of a 200 as it comes. Once the answer has begun, a failure ends it, and nothing is sent again. */
  follow(request: HttpRequest): AsyncGenerator<unknown>;
  /** The body of a 200 as it comes; as follow(). */
  pieces(request: HttpRequest): AsyncGenerator<Uint8Array>;
  /** Ends at once what is under way. */
  [Symbol.asyncDispose](): Promise<void>;
}

const FOUND = [200];

/** For a server that says when it will take more from us: it is not away, and takes what waits in its turn. */
const SLOWED_PATIENCE_MS = 10 * 60_000;

type Attempt<Answer> = { readonly answer: Answer } | { readonly failure: Failure };
type Take<Answer> = (stream: HttpStream) => Promise<Answer>;

/** Connects at the first request. Only then does it refuse a proxy of the environment that is not valid: CONFIG_INVALID. */
export function connectAsker({ at, onRetry, patienceMs, wait, random }: AskerOptions): Asker {
  const connection = 'url' in at ? connectNetwork(at) : connectSocket(at);
  const closing = new AbortController();
  let hasAnswered = false;

  async function attempt<Answer>(
    request: HttpRequest,
    wanted: readonly number[],
    take: Take<Answer>,
  ): Promise<Attempt<Answer>> {
    try {
      const stream = await connection.open(request);
      hasAnswered = true;
      if (wanted.includes(stream.status)) return { answer: await take(stream) };
      return { failure: failureOfAnswer(await readWhole(stream), request, connection) };
    } catch (thrown) {
      return { failure: failureOfAttempt(thrown, { connection, hasAnswered }) };
    }
  }

  async function insist<Answer>(
    request: HttpRequest,
    wanted: readonly number[],
    take: Take<Answer>,
  ): Promise<Answer> {
    let waitedMs = 0;
    let slowedMs = 0;
    for (let tries = 1; ; tries += 1) {
      const made = await attempt(request, wanted, take);
      if ('answer' in made) return made.answer;
      const { failure } = made;
      const { error } = failure;
      const waitMs = backoffMs(tries, random(), failure.retryAfterMs);
      if (failure.isSlowedDown) slowedMs += waitMs;
      else waitedMs += waitMs;
      const isPatient = waitedMs <= patienceMs && slowedMs <= Math.max(patienceMs, SLOWED_PATIENCE_MS);
      if (closing.signal.aborted || !mayBeSentAgain(request, failure) || !isPatient)
        throw errorOf(request, failure);
      onRetry({ message: error.message, waitMs });
      await wait(waitMs, closing.signal).catch(() => Promise.reject(error));
    }
  }

  async function* pieces(request: HttpRequest): AsyncGenerator<Uint8Array> {
    const { body } = await insist(request, FOUND, async (stream) => stream);
    try {
      yield* body;
    } catch (thrown) {
      throw failureWithin(thrown, connection);
    }
  }

  async function* follow(request: HttpRequest): AsyncGenerator<unknown> {
    const { body } = await insist(request, FOUND, async (stream) => stream);
    try {
      for await (const line of readLines(body)) yield parseJson(line);
    } catch (thrown) {
      throw failureWithin(thrown, connection);
    }
  }

  return {
    name: connection.name,
    ask: (request, wanted = FOUND) => insist(request, wanted, readWhole),
    follow,
    pieces,
    async [Symbol.asyncDispose]() {
      closing.abort();
      await connection.close();
    },
  };
}

export function jsonRequest(path: string, value: object): HttpRequest & { readonly method: 'POST' } {
  return { method: 'POST', path, contentType: 'application/json', body: Buffer.from(JSON.stringify(value)) };
}

function mayBeSentAgain({ ifUnanswered }: HttpRequest, failure: Failure): boolean {
  return failure.isWorthAnotherTry && (ifUnanswered === undefined || failure.isUnsent);
}

function errorOf({ ifUnanswered }: HttpRequest, { error, ...failure }: Failure): LookasideError {
  const isUnanswered = failure.isWorthAnotherTry && !failure.isUnsent && error.code === 'SERVER_UNREACHABLE';
  if (ifUnanswered === undefined || !isUnanswered) return error;
  return new LookasideError(error.code, `${error.message}; ${ifUnanswered}`, { cause: error });
}
