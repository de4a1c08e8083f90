// The web interface as the two sides see it: http, which speaks the protocol, and ui, which knows what the pages say.
import type { Role } from './ports.ts';
import type { BatchPart, BatchResult } from './receipt.ts';

/** Who looks at a page. */
export type Viewer =
  | { readonly kind: 'anonymous' }
  | {
      readonly kind: 'session';
      /** The name of the token that was logged in with; after a log-in through an OpenID provider, issuer and subject. */
      readonly name: string;
      /** The same for people: what the provider calls them. */
      readonly shownName: string;
      readonly role: Role;
      /** The signer that the token acts as, or null. */
      readonly signer: string | null;
      readonly session: number;
      /** To be sent with every form that changes something: only pages of this session know it. */
      readonly formToken: string;
      /** Whether a form came from a page of this session. */
      readonly isFormToken: (sent: string) => boolean;
      readonly expiresAt: Date;
    };

export interface PageRequest {
  readonly method: 'GET' | 'HEAD' | 'POST';
  /** Below `/ui/`, decoded, without a slash at its beginning: `keys`, `images/team/app@sha256:…`; empty for the first page. */
  readonly path: string;
  /**
   * How this page links to `/ui/`, with a slash at its end: `../`. It names neither server nor prefix, because a proxy may have
   * cut off a prefix that this server does not know.
   */
  readonly base: string;
  /** By which clients reach this server, as far as it knows, without a slash at its end: for lines to copy. */
  readonly url: string;
  readonly query: URLSearchParams;
  /** The fields of a form that was posted; empty for every other request. */
  readonly form: URLSearchParams;
  /** The files of a form that was posted, in their order; empty for every other request. */
  readonly files: readonly BatchPart[];
  readonly viewer: Viewer;
  /** The text of the session's cookie; null without one. With one, an anonymous viewer had a session that is over. */
  readonly cookie: string | null;
  /** The text of the cookie of a log-in through an OpenID provider that is under way; null without one. */
  readonly logInCookie: string | null;
  /** Whether folders may be listed to anybody: LOOKASIDE_LISTING. */
  readonly isListed: boolean;
  /** Nobody reads without a token: nothing but the log-in is for everybody. */
  readonly isClosed: boolean;
  /** Whether the browser came by TLS, as far as this server can tell. */
  readonly isSecure: boolean;
  /** A link on a page of another site led here: the browser has then kept the session's cookie back. */
  readonly isFromElsewhere: boolean;
  readonly address: string;
  readonly agent: string;
  readonly requestId: string | null;
  /** Aborted once nobody waits for the answer. */
  readonly signal: AbortSignal;
  /** Uploads in the viewer's name, as the API does. @throws LookasideError SLOW_DOWN after too many that were refused */
  upload(parts: readonly BatchPart[]): Promise<readonly BatchResult[]>;
  /**
   * Notes a log-in of which a provider is about to be asked; the answer takes it back, once somebody is logged in.
   * @throws LookasideError SLOW_DOWN when too many from this address came to nothing or are under way
   */
  beginLogIn(): () => void;
  /** Notes that a wrong token was sent from this address. @throws LookasideError SLOW_DOWN when there were too many */
  noteWrongToken(): void;
}

export interface PageReply {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | number | string[]>>;
  readonly body: Uint8Array | string | AsyncIterable<Uint8Array | string> | null;
}

export interface WebPages {
  /** @throws LookasideError for what the caller may meet; failed() tells it to people */
  answer(request: PageRequest): Promise<PageReply>;
  /** The page that says what went wrong. It says no more of an error that is not ours than that it happened. */
  failed(request: PageRequest, error: unknown, status: number): PageReply;
}

/** The cookie that holds a session. */
export const SESSION_COOKIE = 'lookaside_session';

/** The cookie that holds a log-in through an OpenID provider until it comes back. */
export const LOG_IN_COOKIE = 'lookaside_log_in';
