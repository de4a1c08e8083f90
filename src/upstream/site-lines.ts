// The connections to signature sites: so many requests at once, each alone on its own. When an answer ends, the next request is written in
// that moment: undici's pools let two turns of the event loop go by, in which all that has come is read and worked on first.
import type { IncomingHttpHeaders } from 'node:http';
import { buildConnector, Client, type Dispatcher, EnvHttpProxyAgent } from 'undici';
import { LookasideError } from '../domain/errors.ts';
import { MAX_SIGNATURE_BYTES } from '../domain/limits.ts';
import { openTunnels } from './tunnels.ts';

export interface SiteRequest {
  readonly origin: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly signal: AbortSignal;
}

export interface SiteAnswer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  /** The body of a 200; null when it is longer than a signature may be. */
  readonly body: Buffer | null;
}

/** One connection, for one request at a time; through proxies whatever connection is free. */
export interface Line {
  readonly dispatcher: Dispatcher;
  /** For whoever asks next. */
  free(): void;
  /** Ends it, also while it is being made. */
  end(): void;
}

export interface Lines {
  take(origin: string): Line;
  /** Nothing was sent over it before, or will be after. */
  takeFresh(origin: string): Line;
  close(): Promise<void>;
}

/** A body that nobody reads ends its connection if it is longer. */
const MAX_DISCARDED_BYTES = 64 * 1024;

/** `maxIdle`: connections that are kept for whoever asks next, to all origins together. */
export function openLines(connecting: buildConnector.BuildOptions, maxIdle: number): Lines {
  // a site may not take up again the TLS session that it gave: none outlives a failure, and a fresh connection begins without one
  let connect = buildConnector(connecting);
  const connectAnew = buildConnector({ ...connecting, maxCachedSessions: 0 });
  /** With its origin, the one that was used last at the end. */
  const idle = new Map<Client, string>();
  const all = new Set<Client>();

  function forget(client: Client): void {
    idle.delete(client);
    end(client);
  }

  function lastUsed(origin: string): Client | undefined {
    return [...idle].findLast(([, known]) => known === origin)?.[0];
  }

  function end(client: Client): void {
    all.delete(client);
    void client.destroy().catch(() => undefined);
  }

  function make(origin: string, how: buildConnector.connector): Client {
    // its requests are never two at once. With 1, it would wait for a turn of the event loop after each answer
    const client = new Client(origin, { connect: how, pipelining: 2 });
    all.add(client);
    return client;
  }

  return {
    take(origin) {
      const known = lastUsed(origin);
      const client = known ?? make(origin, connect);
      idle.delete(client);
      // presigned links lead to many hosts: what is closed while it is idle is not kept, and of the others only so many are
      if (known === undefined)
        client.on('disconnect', () => {
          if (idle.has(client)) forget(client);
        });
      return {
        dispatcher: client,
        free() {
          idle.set(client, origin);
          const [oldest] = idle.keys();
          if (idle.size > maxIdle && oldest !== undefined) forget(oldest);
        },
        end() {
          connect = buildConnector(connecting);
          end(client);
        },
      };
    },
    takeFresh(origin) {
      const client = make(origin, connectAnew);
      return {
        dispatcher: client,
        free() {
          all.delete(client);
          void client.close().catch(() => undefined);
        },
        end: () => end(client),
      };
    },
    close: async () => void (await Promise.all([...all].map((client) => client.destroy()))),
  };
}

/** @throws LookasideError CONFIG_INVALID when the environment names a proxy that is not valid */
export function openProxiedLines(
  connect: buildConnector.BuildOptions,
  requestTls: buildConnector.BuildOptions,
  connections: number,
): Lines {
  const open = (most: number) =>
    new EnvHttpProxyAgent({
      ...{ connections: most, connect, requestTls },
      clientFactory: openTunnels,
      proxyTunnel: false,
    });
  const agent = opened();

  function opened(): EnvHttpProxyAgent {
    try {
      return open(connections);
    } catch (error) {
      throw new LookasideError('CONFIG_INVALID', 'the environment names a proxy that is not a URL', {
        cause: error,
      });
    }
  }

  return {
    take: () => ({ dispatcher: agent, free: () => undefined, end: () => undefined }),
    takeFresh() {
      const fresh = open(1);
      return {
        dispatcher: fresh,
        free: () => void fresh.close().catch(() => undefined),
        end: () => void fresh.destroy().catch(() => undefined),
      };
    },
    close: () => agent.destroy(),
  };
}

/** What is not known of a site before it is asked. */
export interface Manners {
  /** False once it has answered a request that was written behind another answer with what was not asked for, or not at all. */
  mayFollow: boolean;
}

/** `onEnd` is called in the moment in which the last byte has come. @throws whatever undici throws, and the reason of the signal */
export function askOver(
  line: Line,
  { origin, path, headers, signal }: SiteRequest,
  manners: Manners,
  onEnd: (status: number) => void,
): Promise<SiteAnswer> {
  return new Promise((resolve, reject) => {
    const pieces: Buffer[] = [];
    let controller: Dispatcher.DispatchController | null = null;
    let answer: { readonly status: number; readonly headers: IncomingHttpHeaders } | null = null;
    let [length, isDispatching, isOver] = [0, true, false];
    /** The turn of the event loop in which it was written behind another answer; null: it was not. */
    let behindIn: number | null = null;

    /** Does nothing after the first time. */
    function settle(act: () => void): void {
      if (isOver) return;
      isOver = true;
      signal.removeEventListener('abort', abort);
      act();
    }

    function abort(): void {
      if (controller !== null) {
        controller.abort(signal.reason);
        return;
      }
      // undici would go on connecting. To a proxy it does, and nobody waits for that
      settle(() => reject(signal.reason));
      line.end();
    }

    signal.addEventListener('abort', abort);
    const request = { origin, path, method: 'GET', headers, headersTimeout: 0, bodyTimeout: 0 } as const;
    line.dispatcher.dispatch(request, {
      onRequestStart(started) {
        controller = started;
        if (isDispatching) behindIn = thisTurn();
        if (signal.aborted) started.abort(signal.reason);
      },
      onResponseStart(started, status, received) {
        // nothing that was written in this turn can be answered yet
        if (behindIn !== null && behindIn === thisTurn())
          started.abort(new Error('an answer that was not asked for'));
        else if (status >= 200) answer = { status, headers: received };
      },
      onResponseData(started, piece) {
        if (answer === null) return;
        length += piece.length;
        if (length <= (answer.status === 200 ? MAX_SIGNATURE_BYTES : MAX_DISCARDED_BYTES)) {
          if (answer.status === 200) pieces.push(piece);
          return;
        }
        const head = answer;
        settle(() => resolve({ ...head, body: null }));
        started.abort(new Error('an answer that is too long'));
        line.end();
      },
      onResponseEnd() {
        if (answer === null || isOver) return;
        const whole = { ...answer, body: Buffer.concat(pieces) };
        line.free();
        settle(() => resolve(whole));
        onEnd(whole.status);
      },
      onResponseError(_, error) {
        if (isOver) return;
        if (behindIn !== null && answer === null && !signal.aborted) manners.mayFollow = false;
        line.end();
        settle(() => reject(error));
      },
    });
    isDispatching = false;
  });
}

let turn = 0;
let isTurnCounted = false;

/** A number for as long as this turn of the event loop lasts. */
function thisTurn(): number {
  if (!isTurnCounted) {
    isTurnCounted = true;
    setImmediate(() => {
      isTurnCounted = false;
      turn += 1;
    });
  }
  return turn;
}
