// Log-ins to the web pages through OpenID providers: what is kept between the two halves of one, and who comes out of it.
import { isLookasideError, LookasideError } from '../domain/errors.ts';
import {
  identityOf,
  type LogInAttempt,
  type LogInClient,
  type LogInProvider,
} from '../domain/log-in-provider.ts';
import type { Log } from '../domain/ports.ts';
import { quoted } from '../domain/text.ts';
import { type Actor, ANONYMOUS } from './audit.ts';
import type { RefusalRecorder } from './refusals.ts';
import type { LoggedIn, SessionService } from './sessions.ts';

export interface OfferedProvider {
  readonly id: string;
  readonly name: string;
}

export interface BegunLogIn {
  /** Where the provider is: the browser goes there. */
  readonly url: string;
  /** For a cookie of that browser alone: without it, nobody can end this log-in. */
  readonly kept: string;
}

export interface LogIns {
  /** Those that can be chosen; none: people log in with a token. */
  readonly providers: readonly OfferedProvider[];
  /** `next`: the page that was wanted. @throws NOT_FOUND, ISSUER_UNAVAILABLE */
  begin(id: string, next: string): Promise<BegunLogIn>;
  /**
   * Begins a session for whom the provider names. What is refused is recorded. @throws LookasideError UNAUTHORIZED or DENIED, saying why;
   * NOT_FOUND, ISSUER_UNAVAILABLE, SLOW_DOWN, STORE_UNAVAILABLE
   */
  end(id: string, ending: EndingLogIn): Promise<LoggedIn & { readonly next: string }>;
}

export interface EndingLogIn {
  /** What the provider has sent along with the browser. */
  readonly answer: URLSearchParams;
  /** What begin() has given, from the browser's cookie; null: it has none. */
  readonly kept: string | null;
  readonly from: Pick<Actor, 'address' | 'requestId'>;
  /** Called ahead of the question to the provider; its answer is called once somebody is logged in. What it throws ends the log-in. */
  readonly ask: () => () => void;
}

export const NO_LOG_INS: LogIns = {
  providers: [],
  begin: async (id) => Promise.reject(unknownProvider(id)),
  end: async (id) => Promise.reject(unknownProvider(id)),
};

export interface LogInsOptions {
  readonly providers: readonly LogInProvider[];
  readonly client: LogInClient;
  /** The URL by which browsers reach this server, without a slash at its end. */
  readonly publicUrl: string;
  readonly sessions: Pick<SessionService, 'logInAs'>;
  readonly refusals: Pick<RefusalRecorder, 'record'>;
  readonly randomBytes: (count: number) => Uint8Array;
  readonly log: Pick<Log, 'warn'>;
}

/** So that it has room in a cookie, which browsers keep up to 4096 bytes. */
const MAX_NEXT_CHARACTERS = 1024;
const MAX_KEPT_CHARACTERS = 4000;

interface Kept extends LogInAttempt {
  readonly next: string;
}

export function createLogIns(options: LogInsOptions): LogIns {
  const { providers, client, publicUrl, sessions, refusals, randomBytes, log } = options;

  /** @throws LookasideError NOT_FOUND */
  function providerOf(id: string): LogInProvider {
    const provider = providers.find((one) => one.id === id);
    if (provider === undefined) throw unknownProvider(id);
    return provider;
  }

  // each provider leads back to an address of its own: one cannot answer for another (RFC 9700, section 4.4)
  const redirectTo = ({ id }: LogInProvider) => `${publicUrl}/ui/log-in/${id}`;
  const random = () => Buffer.from(randomBytes(32)).toString('base64url');

  /** @throws LookasideError UNAUTHORIZED unless the browser began this log-in */
  function attemptOf(provider: LogInProvider, { answer, kept }: EndingLogIn): Kept {
    const pending = kept === null ? null : parseKept(kept);
    const [state, ...others] = answer.getAll('state');
    if (pending !== null && pending.state === state && others.length === 0)
      return { ...pending, redirectUri: redirectTo(provider) };
    throw new LookasideError(
      'UNAUTHORIZED',
      `this log-in was not begun in this browser, or more than ten minutes ago, or it has ended already; log in again at ${publicUrl}/ui/log-in`,
    );
  }

  async function refused(
    error: unknown,
    name: string,
    { id }: LogInProvider,
    from: EndingLogIn['from'],
  ): Promise<never> {
    if (isLookasideError(error) && error.cause !== undefined)
      log.warn({ provider: id, err: error }, 'a log-in through an OpenID provider failed');
    const isRefusal =
      isLookasideError(error, 'UNAUTHORIZED') ||
      isLookasideError(error, 'DENIED') ||
      isLookasideError(error, 'ISSUER_UNAVAILABLE');
    if (isRefusal)
      await refusals.record(
        { action: 'log-in', result: error.code, reason: error.message },
        { name, ...from },
      );
    throw error;
  }

  return {
    providers,
    async begin(id, wanted) {
      const provider = providerOf(id);
      const next = wanted.length > MAX_NEXT_CHARACTERS ? '' : wanted;
      const secrets = { state: random(), nonce: random(), verifier: random() };
      const kept = { ...secrets, next, redirectUri: redirectTo(provider) };
      const url = await client.begin(provider, kept);
      return { url: url.href, kept: formatKept(kept) };
    },
    async end(id, ending) {
      const provider = providerOf(id);
      const { attempt, claims, succeed } = await redeemed(provider, ending);
      const identity = identityOf(provider, claims);
      if (identity !== null) {
        const loggedIn = await sessions.logInAs(identity, ending.from);
        succeed();
        return { ...loggedIn, next: attempt.next };
      }
      return refused(
        noRole(provider, claims.subject),
        `${provider.issuer} ${claims.subject}`,
        provider,
        ending.from,
      );
    },
  };

  async function redeemed(provider: LogInProvider, ending: EndingLogIn) {
    try {
      const attempt = attemptOf(provider, ending);
      const succeed = ending.ask(); // ahead of it: many at once must not all be let through
      return { attempt, succeed, claims: await client.redeem(provider, attempt, ending.answer) };
    } catch (error) {
      return refused(error, ANONYMOUS, provider, ending.from);
    }
  }
}

function noRole({ name }: LogInProvider, subject: string): LookasideError {
  return new LookasideError(
    'DENIED',
    `${name} knows you as ${quoted(subject)}, and no rule here gives you a role; ask an administrator, who adds a rule for one of your claims in LOOKASIDE_OIDC_LOGIN, or log in with a token`,
  );
}

function formatKept({ state, nonce, verifier, next }: Kept): string {
  return Buffer.from(JSON.stringify([state, nonce, verifier, next])).toString('base64url');
}

/** Whoever has the browser can write it: it opens nothing without a token that the provider signs for this nonce. */
function parseKept(text: string): Omit<Kept, 'redirectUri'> | null {
  if (text.length > MAX_KEPT_CHARACTERS || !/^[A-Za-z0-9_-]+$/.test(text)) return null;
  try {
    const parts: unknown = JSON.parse(Buffer.from(text, 'base64url').toString('utf8'));
    if (!Array.isArray(parts) || parts.length !== 4) return null;
    const [state, nonce, verifier, next] = parts;
    if (![state, nonce, verifier].every((one) => typeof one === 'string' && /^[A-Za-z0-9_-]{43}$/.test(one)))
      return null;
    return typeof next === 'string' ? { state, nonce, verifier, next } : null;
  } catch {
    return null; // only for text that is not JSON
  }
}

function unknownProvider(id: string): LookasideError {
  return new LookasideError(
    'NOT_FOUND',
    `there is no provider ${quoted(id.slice(0, 80))} to log in through; the page Log in has those that there are`,
  );
}
