// The OIDC token of the job that runs this command. GitHub Actions gives a new one when it is asked, GitLab sets a variable,
// and Kubernetes keeps a file up to date.
import { LookasideError } from '../domain/errors.ts';
import { isJwt, untrustedClaimsOf } from '../domain/oidc.ts';
import { quoted } from '../domain/text.ts';
import { isLoopback } from './address.ts';
import { parseJson } from './answers.ts';
import { connectNetwork, type TokenSource } from './connection.ts';
import { readWhole } from './transport.ts';

/** Where the token comes from. */
export type JobTokenOrigin =
  | { readonly kind: 'github'; readonly url: string; readonly secret: string }
  /** `name`: the variable that has it. */
  | { readonly kind: 'text'; readonly name: string; readonly text: string }
  | { readonly kind: 'file'; readonly path: string; readonly read: () => string };

/** What people are told about a token, without the token. It is hostile text: escape it where it is printed. */
export interface SentToken {
  readonly issuer: string;
  readonly subject: string;
  readonly audience: string;
  /** Null when the token does not say. */
  readonly expiresAt: Date | null;
}

export interface JobTokenOptions {
  readonly origin: JobTokenOrigin;
  /** The audience for which a token is asked for, where one is asked for. */
  readonly audience: string;
  readonly ca: string | null;
  readonly hasProxies: boolean;
  readonly monotonicMs: () => number;
  readonly wait: (ms: number) => Promise<unknown>;
  /** Called with each token before it is sent. */
  readonly onToken: (sent: SentToken) => void;
}

/** A token is replaced when less than this is left of its life, or half of it. */
const SPARE_MS = 60_000;
/** For a file: whoever keeps it up to date replaces it long before its token ends. */
const REREAD_MS = 60_000;
const TRIES = 4;
const WAIT_MS = 1000;

interface Kept {
  readonly text: string;
  readonly untilMs: number;
}

/** Tokens of the job, each as long as it is of use. Its get() rejects with a LookasideError when there is none. */
export function openJobToken(options: JobTokenOptions): TokenSource {
  const { origin, monotonicMs, onToken } = options;
  let kept: Kept | null = null;
  let answer = '';
  let asking: Promise<Kept> | null = null;

  async function renew(): Promise<Kept> {
    const text = await readToken(options);
    const claims = untrustedClaimsOf(text);
    if (!isJwt(text) || claims === null)
      throw unusable(`${nameOf(origin)} has no OIDC token, but other text`);
    if (text !== answer) onToken(sentOf(claims));
    answer = text;
    return { text, untilMs: monotonicMs() + usableMs(origin, claims) };
  }

  return {
    async get() {
      if (kept !== null && monotonicMs() < kept.untilMs) return kept.text;
      asking ??= renew().finally(() => {
        asking = null;
      });
      kept = await asking;
      return kept.text;
    },
  };
}

async function readToken(options: JobTokenOptions): Promise<string> {
  const { origin } = options;
  switch (origin.kind) {
    case 'text':
      return origin.text.trim();
    case 'file':
      return origin.read().trim();
    case 'github':
      return askGithub(origin, options);
  }
}

/** By the life that the token itself names: the clock of this machine need not be right. */
function usableMs(
  { kind }: JobTokenOrigin,
  { iat, exp }: { readonly iat?: unknown; readonly exp?: unknown },
): number {
  if (kind === 'text') return Number.POSITIVE_INFINITY; // there is no other
  if (kind === 'file') return REREAD_MS;
  const lifeMs = typeof iat === 'number' && typeof exp === 'number' ? (exp - iat) * 1000 : 0;
  return Math.max(lifeMs - SPARE_MS, lifeMs / 2);
}

function sentOf({ iss, sub, aud, exp }: Readonly<Record<string, unknown>>): SentToken {
  const at = typeof exp === 'number' ? new Date(exp * 1000) : null;
  return {
    issuer: String(iss ?? '(none)').slice(0, 300),
    subject: String(sub ?? '(none)').slice(0, 300),
    audience: [aud ?? '(none)'].flat().join(', ').slice(0, 300),
    expiresAt: at === null || Number.isNaN(at.getTime()) ? null : at,
  };
}

/** https://docs.github.com/actions/reference/security/oidc: the variables of a job with the permission `id-token: write`. */
async function askGithub(
  { url, secret }: Extract<JobTokenOrigin, { kind: 'github' }>,
  { audience, ca, hasProxies, wait }: JobTokenOptions,
): Promise<string> {
  if (!URL.canParse(url))
    throw unusable(`ACTIONS_ID_TOKEN_REQUEST_URL is ${quoted(url)}, which is not a URL`);
  const at = new URL(url);
  if (at.protocol !== 'https:' && !(at.protocol === 'http:' && isLoopback(at.hostname)))
    throw unusable(
      `ACTIONS_ID_TOKEN_REQUEST_URL begins with ${at.protocol}, and a secret is sent by https alone`,
    );
  at.searchParams.set('audience', audience);
  const connection = connectNetwork({ url: at.origin, token: secret, ca, hasProxies });
  try {
    for (let tries = 1; ; tries += 1) {
      const answer = await connection
        .open({ method: 'GET', path: at.pathname + at.search })
        .then(readWhole)
        .catch((error: unknown) => {
          if (error instanceof LookasideError) throw error;
          return null;
        });
      const value: unknown = answer?.status === 200 ? parseJson(answer.body) : null;
      if (typeof value === 'object' && value !== null && 'value' in value && typeof value.value === 'string')
        return value.value;
      const isPassing = answer === null || answer.status === 429 || answer.status >= 500;
      if (!isPassing || tries === TRIES) throw gaveNone(at, answer?.status ?? null);
      await wait(WAIT_MS * tries);
    }
  } finally {
    await connection.close();
  }
}

function gaveNone({ origin }: URL, status: number | null): LookasideError {
  const fault =
    status === null ? 'cannot be reached' : status === 200 ? 'answers without one' : `answers ${status}`;
  return new LookasideError(
    'SERVER_UNREACHABLE',
    `GitHub Actions gives this job no OIDC token: ${origin} ${fault}; see that the job has the permission id-token: write, and try again`,
  );
}

function nameOf(origin: JobTokenOrigin): string {
  switch (origin.kind) {
    case 'github':
      return 'the answer of GitHub Actions';
    case 'text':
      return origin.name;
    case 'file':
      return origin.path;
  }
}

function unusable(message: string): LookasideError {
  return new LookasideError('CONFIG_INVALID', message);
}
