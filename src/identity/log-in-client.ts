// The authorization code flow with PKCE (RFC 6749, RFC 7636, RFC 9700, OpenID Connect Core) as its client, by openid-client. What comes
// back counts only with a token that the provider has signed, which token-verifier.ts checks as it checks those of pipelines.
import * as oidc from 'openid-client';
import { isLookasideError, LookasideError } from '../domain/errors.ts';
import type { LogInAttempt, LogInClient, LogInProvider } from '../domain/log-in-provider.ts';
import type { TokenClaims } from '../domain/oidc.ts';
import type { OidcVerifier } from '../domain/ports.ts';
import { quoted } from '../domain/text.ts';

/** One request to a provider, bounded in time and size; it never follows a redirect. @throws LookasideError ISSUER_UNAVAILABLE */
export type AskProvider = (
  url: URL,
  issuer: URL,
  request: {
    readonly method: string;
    readonly headers: Readonly<Record<string, string>>;
    readonly body: string | null;
  },
) => Promise<{
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly text: string;
}>;

export interface LogInClientOptions {
  readonly ask: AskProvider;
  readonly verifier: OidcVerifier;
  readonly monotonicMs: () => number;
}

/** How far the provider's clock and ours may differ. */
const SKEW_S = 60;
const PATIENCE_S = 10;
/** How long what a provider said of itself is used. */
const FRESH_MS = 10 * 60_000;
/** Until a provider that did not answer is asked again. */
const REST_MS = 5000;

interface Known {
  readonly asked: Promise<oidc.Configuration>;
  readonly untilMs: number;
}

export function createLogInClient({ ask, verifier, monotonicMs }: LogInClientOptions): LogInClient {
  const known = new Map<string, Known>();

  function configurationOf(provider: LogInProvider): Promise<oidc.Configuration> {
    const client = known.get(provider.id);
    if (client !== undefined && monotonicMs() < client.untilMs) return client.asked;
    const asked = discover(provider, ask);
    known.set(provider.id, { asked, untilMs: monotonicMs() + FRESH_MS });
    asked.catch(() => known.set(provider.id, { asked, untilMs: monotonicMs() + REST_MS }));
    return asked;
  }

  return {
    async begin(provider, attempt) {
      try {
        const configuration = await configurationOf(provider);
        const { redirectUri: redirect_uri, state, nonce, verifier: code } = attempt;
        const code_challenge = await oidc.calculatePKCECodeChallenge(code);
        return oidc.buildAuthorizationUrl(configuration, {
          ...{ redirect_uri, scope: provider.scope, state, nonce },
          ...{ code_challenge, code_challenge_method: 'S256' },
        });
      } catch (error) {
        throw refusalOf(error, provider);
      }
    },

    async redeem(provider, attempt, answer) {
      try {
        const token = await exchanged(await configurationOf(provider), attempt, answer);
        return await verified(token, provider, attempt);
      } catch (error) {
        throw refusalOf(error, provider);
      }
    },
  };

  /** The nonce once more: the token that openid-client has looked at is this one. */
  async function verified(
    token: string,
    { issuer, clientId, name }: LogInProvider,
    { nonce }: LogInAttempt,
  ): Promise<TokenClaims> {
    const claims = await verifier.verify(token, issuer, [clientId]);
    if (claims.all.nonce === nonce) return claims;
    throw new LookasideError('UNAUTHORIZED', `the token of ${name} is for another log-in; log in again`);
  }
}

async function exchanged(
  configuration: oidc.Configuration,
  { redirectUri, state, nonce, verifier }: LogInAttempt,
  answer: URLSearchParams,
): Promise<string> {
  const at = new URL(redirectUri);
  at.search = answer.toString();
  // it holds `state` and `iss` (RFC 9207) against the attempt and the provider, so that no other provider's answer is taken
  const { id_token: token } = await oidc.authorizationCodeGrant(configuration, at, {
    ...{ pkceCodeVerifier: verifier, expectedState: state, expectedNonce: nonce, idTokenExpected: true },
  });
  if (token === undefined) throw new Error('openid-client gave no ID token although one was demanded');
  return token;
}

function discover(provider: LogInProvider, ask: AskProvider): Promise<oidc.Configuration> {
  const { issuer, clientId, clientSecret } = provider;
  const base = new URL(issuer);
  const metadata = { [oidc.clockTolerance]: SKEW_S };
  const auth = clientSecret === null ? oidc.None() : secretAuth(clientSecret);
  return oidc.discovery(base, clientId, metadata, auth, {
    timeout: PATIENCE_S,
    // checkIssuer() of the domain has let in plain HTTP on this machine alone
    ...(base.protocol === 'http:' ? { execute: [oidc.allowInsecureRequests] } : {}),
    async [oidc.customFetch](url, { method, headers, body }) {
      const target = new URL(url);
      const isOwn = target.protocol === base.protocol && target.host === base.host;
      if (target.protocol !== 'https:' && !isOwn)
        throw new LookasideError(
          'ISSUER_UNAVAILABLE',
          `${provider.name} names the address ${quoted(url.slice(0, 255))}, and only https is asked`,
        );
      const sent = body === undefined || body === null ? null : String(body);
      const { status, headers: got, text } = await ask(target, base, { method, headers, body: sent });
      return new Response(status === 204 || status === 304 ? null : text, { status, headers: got });
    },
  });
}

/** As the provider says that it takes it; RFC 6749, section 2.3.1 demands Basic of it. */
function secretAuth(secret: string): oidc.ClientAuth {
  const [basic, post] = [oidc.ClientSecretBasic(secret), oidc.ClientSecretPost(secret)];
  return (server, client, body, headers) => {
    const methods = server.token_endpoint_auth_methods_supported ?? ['client_secret_basic'];
    const auth = methods.includes('client_secret_basic') ? basic : post;
    return auth(server, client, body, headers);
  };
}

/** What openid-client throws, in our words. */
function refusalOf(error: unknown, { name }: LogInProvider): LookasideError {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    if (isLookasideError(cause)) return cause;
    if (cause instanceof oidc.AuthorizationResponseError)
      return unauthorized(`${name} did not log you in: ${whyRefused(cause.error)}`, error);
    if (cause instanceof oidc.ResponseBodyError) return ofTokenEndpoint(cause, name);
  }
  const code = error instanceof oidc.ClientError ? ` (${error.code ?? error.message})` : '';
  return unauthorized(
    `what ${name} answered does not belong to this log-in, or cannot be used${code}; log in again, and if that does not help, an administrator finds more in the log of this server`,
    error,
  );
}

/** RFC 6749, section 4.1.2.1, and OpenID Connect Core, section 3.1.2.6. What the address says beside is not repeated: anybody can write it. */
function whyRefused(code: string): string {
  switch (code) {
    case 'access_denied':
      return 'the log-in was cancelled there, or your account may not use this server (access_denied); log in again, or ask who runs it';
    case 'temporarily_unavailable':
    case 'server_error':
      return `it has a fault of its own (${code}); try again later`;
    case 'invalid_scope':
      return 'it does not know the scope that it is asked for (invalid_scope); an administrator mends the scope in LOOKASIDE_OIDC_LOGIN';
    default:
      return `it says ${quoted(code.slice(0, 60))}; an administrator compares what is set there and in LOOKASIDE_OIDC_LOGIN`;
  }
}

function ofTokenEndpoint(error: oidc.ResponseBodyError, name: string): LookasideError {
  if (error.error === 'invalid_grant')
    return unauthorized(
      `${name} does not take the code of this log-in: it was used already, is too old, or is for another address than PUBLIC_URL/ui/log-in/ID (invalid_grant); log in again`,
      error,
    );
  return new LookasideError(
    'ISSUER_UNAVAILABLE',
    `${name} refuses this server: ${quoted(error.error.slice(0, 60))}; an administrator compares client_id and client_secret_file in LOOKASIDE_OIDC_LOGIN with what is set there`,
    { cause: error },
  );
}

function unauthorized(message: string, cause: unknown): LookasideError {
  return new LookasideError('UNAUTHORIZED', message, { cause });
}
