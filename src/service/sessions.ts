// Sessions of the web pages: begun with a token, which is typed once; they end after twelve hours, by a log-out, or with the token.
import { LookasideError } from '../domain/errors.ts';
import type { Signer } from '../domain/grant.ts';
import type { LogInIdentity } from '../domain/log-in-provider.ts';
import type { Clock, NewSession, PageSession, SessionStore, Token } from '../domain/ports.ts';
import {
  isSessionInForce,
  SESSION_MS,
  type ShownSession,
  showSession,
  unknownSession,
} from '../domain/session.ts';
import { type Actor, ANONYMOUS, type MakeEvent } from './audit.ts';
import type { RefusalRecorder } from './refusals.ts';
import type { TokenService } from './tokens.ts';

export interface SessionServiceOptions {
  readonly store: SessionStore;
  readonly tokens: Pick<TokenService, 'find' | 'used'>;
  readonly refusals: Pick<RefusalRecorder, 'record'>;
  readonly findSigner: (name: string) => Promise<Pick<Signer, 'disabledAt'> | null>;
  /** Whether the rules of now give this; null: this process does not know the rules. */
  readonly isGiven: ((what: Pick<LogInIdentity, 'issuer' | 'role' | 'signer'>) => boolean) | null;
  readonly clock: Clock;
  readonly makeEvent: MakeEvent;
  readonly randomBytes: (count: number) => Uint8Array;
  /** Lower-case hex. */
  readonly sha256: (text: string) => string;
}

type Times = Pick<PageSession, 'createdAt' | 'expiresAt'>;

export interface LoggedIn {
  /** For the browser alone; it is stored nowhere. */
  readonly text: string;
  readonly expiresAt: Date;
}

export interface SessionService {
  /**
   * Begins a session. `onGuess` is called for a token that is unknown or revoked, before that is recorded; what it throws is the
   * answer. @throws LookasideError UNAUTHORIZED, saying why; SLOW_DOWN after 60 within an hour; STORE_UNAVAILABLE
   */
  logIn(
    untrusted: string,
    from: Pick<Actor, 'address' | 'requestId'>,
    onGuess: () => void,
  ): Promise<LoggedIn>;
  /**
   * Begins a session of whom an OpenID provider has named. @throws LookasideError UNAUTHORIZED, saying why; SLOW_DOWN after 60 within an
   * hour; STORE_UNAVAILABLE
   */
  logInAs(identity: LogInIdentity, from: Pick<Actor, 'address' | 'requestId'>): Promise<LoggedIn>;
  /** The session with this text, while it gives access. @throws STORE_UNAVAILABLE */
  find(text: string): Promise<PageSession | null>;
  /**
   * What every form of this session carries: only its pages know it, and it opens nothing by itself. Another one each time, so that the
   * sizes of compressed pages tell nothing about it.
   */
  formToken(text: string): string;
  /** Whether it is a form token of this session. */
  isFormToken(text: string, sent: string): boolean;
  /** Those that give access, in the order of the log-ins. */
  list(): Promise<readonly ShownSession[]>;
  /** @throws NOT_FOUND */
  end(id: number, actor: Actor): Promise<ShownSession>;
}

/** As no other text has it. */
const TEXT = /^[A-Za-z0-9_-]{43}$/;

/** Half of a form token; the other half says that the session's text made it. */
const SALT_HEX = 32;

/** Each is an audit event, which stays for ever. */
const MOST_LOG_INS = 60;
const HOUR_MS = 3_600_000;

export function createSessionService(options: SessionServiceOptions): SessionService {
  const { store, tokens, refusals, findSigner, isGiven, clock, makeEvent, randomBytes, sha256 } = options;

  const logIns = new Map<string, { readonly sinceMs: number; readonly count: number }>();

  const formTokenOf = (text: string, salt: string) =>
    `${salt}${sha256(`form of ${salt} ${text}`).slice(0, SALT_HEX)}`;

  /**
   * Only log-ins by valid tokens and identities are noted, so there are no more names than these. @throws LookasideError
   * SLOW_DOWN
   */
  function noteLogIn(name: string): void {
    const nowMs = clock.monotonicMs();
    const known = logIns.get(name);
    const current =
      known !== undefined && nowMs - known.sinceMs < HOUR_MS ? known : { sinceMs: nowMs, count: 0 };
    if (current.count >= MOST_LOG_INS) {
      const retryAfterSeconds = Math.ceil((current.sinceMs + HOUR_MS - nowMs) / 1000);
      throw new LookasideError(
        'SLOW_DOWN',
        `${name} was logged in with ${MOST_LOG_INS} times within an hour; stay logged in, or try again in ${retryAfterSeconds} seconds`,
        { detail: { retryAfterSeconds } },
      );
    }
    logIns.set(name, { ...current, count: current.count + 1 });
  }

  async function refuse(
    actor: Actor,
    message: string,
    detail: Readonly<Record<string, unknown>> = {},
  ): Promise<never> {
    await refusals.record({ action: 'log-in', result: 'UNAUTHORIZED', reason: message }, actor);
    throw new LookasideError('UNAUTHORIZED', message, { detail });
  }

  /** The claims were not kept: that a rule for this role and signer is left has to do. */
  function isInForce(session: PageSession): boolean {
    const { identity = null, token } = session;
    const isLeft =
      identity === null ||
      isGiven === null ||
      isGiven({ issuer: identity.issuer, role: token.role, signer: token.signer });
    return isLeft && isSessionInForce(session, clock.now());
  }

  async function begin(
    who: Pick<NewSession, 'token' | 'identity'>,
    actor: Actor,
  ): Promise<{ readonly text: string; readonly id: number; readonly times: Times } | null> {
    const text = Buffer.from(randomBytes(32)).toString('base64url');
    const createdAt = clock.now();
    const expiresAt = new Date(createdAt.getTime() + SESSION_MS);
    const event = makeEvent(
      { action: 'log-in', result: 'created', reason: `until ${expiresAt.toISOString()}` },
      actor,
    );
    const id = await store.add({ ...who, hash: sha256(text), createdAt, expiresAt }, event);
    return id === null ? null : { text, id, times: { createdAt, expiresAt } };
  }

  async function list(): Promise<readonly PageSession[]> {
    return (await store.list()).filter(isInForce);
  }

  return {
    async logIn(untrusted, { address, requestId }, onGuess) {
      const known = await tokens.find(untrusted.trim());
      if (known === null) {
        onGuess();
        return refuse({ name: ANONYMOUS, address, requestId }, UNKNOWN);
      }
      const { token, state } = known;
      const actor = { name: token.name, address, requestId };
      if (state === 'expired') return refuse(actor, expired(token), { isExpired: true });
      if (state === 'disabled') return refuse(actor, disabled(token));
      noteLogIn(`the token ${token.name}`);
      const begun = await begin({ token: token.name }, actor);
      if (begun === null) return refuse(actor, UNKNOWN);
      tokens.used(token);
      const { text, id, times } = begun;
      return { text, expiresAt: showSession({ id, token, ...times }).expiresAt };
    },
    async logInAs({ issuer, name, shownName, role, signer }, { address, requestId }) {
      const actor = { name, address, requestId };
      noteLogIn(name);
      const signerOfToken = signer === null ? null : await findSigner(signer);
      if (signerOfToken?.disabledAt != null) return refuse(actor, disabledSigner(signer ?? ''));
      const identity = { issuer, shownName, role, signer };
      const begun = await begin({ token: name, identity }, actor);
      if (begun === null) return refuse(actor, unknownSignerOf(signer ?? ''));
      return { text: begun.text, expiresAt: begun.times.expiresAt };
    },
    async find(text) {
      if (!TEXT.test(text)) return null;
      const session = await store.find(sha256(text));
      if (session === null || !isInForce(session)) return null;
      if (session.identity == null) tokens.used(session.token);
      return session;
    },
    formToken: (text) => formTokenOf(text, Buffer.from(randomBytes(SALT_HEX / 2)).toString('hex')),
    isFormToken: (text, sent) => sent === formTokenOf(text, sent.slice(0, SALT_HEX)),
    list: async () => (await list()).map(showSession),
    async end(id, actor) {
      const session = (await store.list()).find((one) => one.id === id); // one that gives nothing now may do so again
      if (session === undefined) throw unknownSession(id);
      const { token, createdAt } = session;
      const reason = `${token.name}, logged in at ${createdAt.toISOString()}`;
      const event = makeEvent({ action: 'log-out', result: 'removed', reason }, actor);
      if (!(await store.end(id, event))) throw unknownSession(id);
      return showSession(session);
    },
  };
}

const UNKNOWN =
  'this token is unknown or revoked; wanted one that is in force, as lookaside token list shows them; an administrator makes one with: lookaside token create --name NAME --role ROLE';

function expired({ name, expiresAt }: Token): string {
  return `the token "${name}" expired at ${expiresAt?.toISOString()}; an administrator makes one, under another name, with: lookaside token create`;
}

function disabled({ name, signer }: Token): string {
  return `the token "${name}" belongs to the signer "${signer}", which is disabled; an administrator allows it again with: lookaside signer enable ${signer}`;
}

function disabledSigner(name: string): string {
  return `you act as the signer "${name}", which is disabled; an administrator allows it again with: lookaside signer enable ${name}`;
}

function unknownSignerOf(name: string): string {
  return `you would act as the signer "${name}", and there is none of that name; an administrator adds it with: lookaside signer add ${name}, or mends the rule in LOOKASIDE_OIDC_LOGIN`;
}
