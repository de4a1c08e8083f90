// The handler of a reader process: answers reads of signatures from its memory, and passes every other request on.
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import type { LookasideError } from '../domain/errors.ts';
import type { Log } from '../domain/ports.ts';
import type { SitePlace } from '../domain/site.ts';
import { logAccess } from './access-line.ts';
import { type Caller, clientAddress } from './client.ts';
import { renderError } from './errors.ts';
import { countRequest } from './exchange.ts';
import { createFailureLog } from './failure-log.ts';
import { refuse } from './guard.ts';
import { answerFromMemory, answerFromStore, type SignatureRequest, signatureAskedFor } from './hot-path.ts';
import { sendReply } from './reply.ts';
import type { HttpSettings, ReadServices } from './services.ts';
import { createSiteTargets } from './targets.ts';

export interface ReaderServices extends ReadServices {
  readonly places: () => readonly SitePlace[];
  readonly settings: () => Pick<HttpSettings, 'prefix' | 'read' | 'accessLog' | 'trustedProxies'>;
  readonly isDraining: () => boolean;
}

export interface ReaderHandlerOptions {
  readonly services: ReaderServices;
  readonly passOn: (req: IncomingMessage, res: ServerResponse) => void;
  readonly log: Log;
}

const ANYBODY: Caller = { kind: 'anonymous', sent: null };

export function createReaderHandler({ services, passOn, log }: ReaderHandlerOptions): RequestListener {
  const failures = createFailureLog(log, services.clock.monotonicMs);

  const targetOf = createSiteTargets(services.places, () => services.settings().prefix);

  function handle(req: IncomingMessage, res: ServerResponse): void {
    const startedMs = services.clock.monotonicMs();
    if (services.isDraining()) res.setHeader('Connection', 'close');
    const malformed = refuse(req);
    if (malformed !== null) {
      res.setHeader('Connection', 'close'); // a proxy in front may see another request in it, and another one behind it
      sendRefusal(req, res, malformed, startedMs);
      return;
    }
    const { site, target } = targetOf(req.url ?? '/');
    // whoever sends a token is known to the other process alone
    const isAnybody = req.headers.authorization === undefined;
    const wanted = isAnybody ? signatureAskedFor(services, req, { target, caller: ANYBODY }) : null;
    if (wanted === null) {
      passOn(req, res);
      return;
    }
    const { prefix, trustedProxies } = services.settings();
    const exchange = {
      site,
      target,
      caller: ANYBODY,
      address: clientAddress(req, trustedProxies),
      prefix: prefix + (site?.prefix ?? ''),
      requestId: null,
      startedMs,
    };
    const asked = { req, res, exchange, target: wanted };
    if (answerFromMemory(services, asked)) logAnswered(asked);
    else void answerOrPassOn(asked);
  }

  /** The other process reads large signatures, and tells why a read failed. */
  async function answerOrPassOn(asked: SignatureRequest): Promise<void> {
    const { req, res } = asked;
    try {
      if (await answerFromStore(services, asked)) logAnswered(asked);
      else if (!res.closed) passOn(req, res);
    } catch (error) {
      breakOff(res, error);
    }
  }

  /** The client sees a connection that closes, so the log has to say why. */
  function breakOff(res: ServerResponse, error: unknown): void {
    failures.broke(
      error,
      'signature',
      'requests failed in a reader process, and their connections were closed',
    );
    res.destroy();
  }

  function logAnswered({ req, res, exchange }: SignatureRequest): void {
    if (services.settings().accessLog === 'off') return;
    logAccess(services, { req, res, exchange, target: req.url ?? '/' });
  }

  function sendRefusal(
    req: IncomingMessage,
    res: ServerResponse,
    refusal: LookasideError,
    startedMs: number,
  ): void {
    const reply = renderError(refusal);
    countRequest(services, req, { startedMs }, { route: 'refused', status: reply.status });
    sendReply(req, res, reply);
  }

  return (req, res) => {
    try {
      handle(req, res);
    } catch (error) {
      breakOff(res, error);
    }
  };
}
