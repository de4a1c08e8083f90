// Who a token of an OpenID provider is: which signers it may act as.
import { LookasideError } from '../domain/errors.ts';
import { MAX_OIDC_TOKEN_BYTES } from '../domain/limits.ts';
import { type BoundSubject, identityName, isJwt, matchesSubject, untrustedIssuerOf } from '../domain/oidc.ts';
import type { OidcVerifier, SubjectStore, Token } from '../domain/ports.ts';
import { quoted } from '../domain/text.ts';

export interface IdentitiesOptions {
  readonly subjects: Pick<SubjectStore, 'ofIssuer'>;
  readonly verifier: OidcVerifier;
  /** The names of this server that a token must be for; none: no token is taken. */
  readonly audiences: () => readonly string[];
}

export interface Identities {
  /** Whether the text has the form of such a token. */
  isToken(text: string): boolean;
  /**
   * The token as one of ours for each signer whose subject it is, at least one. Its name says signer, issuer and subject. Only an
   * issuer that a signer names is asked for its keys. @throws UNAUTHORIZED, ISSUER_UNAVAILABLE, STORE_UNAVAILABLE
   */
  find(untrusted: string): Promise<readonly [Token, ...Token[]]>;
}

export function createIdentities({ subjects, verifier, audiences }: IdentitiesOptions): Identities {
  async function find(untrusted: string): Promise<readonly [Token, ...Token[]]> {
    if (Buffer.byteLength(untrusted) > MAX_OIDC_TOKEN_BYTES)
      throw refused(`it has more than ${MAX_OIDC_TOKEN_BYTES} bytes`);
    const issuer = untrustedIssuerOf(untrusted);
    if (issuer === null) throw refused('it is not a token of an OpenID provider: it names no issuer');
    const bound = await subjects.ofIssuer(issuer);
    if (bound.length === 0) {
      throw refused(
        `no signer here is bound to its issuer ${quoted(issuer.slice(0, 255))}; an administrator does that with: lookaside signer oidc add`,
      );
    }
    const wanted = audiences();
    if (wanted.length === 0) {
      throw refused(
        'this server does not say for which audience they have to be; an administrator sets LOOKASIDE_OIDC_AUDIENCE, or LOOKASIDE_PUBLIC_URL',
      );
    }
    const claims = await verifier.verify(untrusted, issuer, wanted);
    const matching = bound.filter(({ subject }) => matchesSubject(subject, claims.all));
    const [first, ...others] = signersOf(matching, issuer, claims.subject);
    if (first !== undefined) return [first, ...others];
    throw matching.length === 0
      ? refused(
          `no signer has a subject that the token of ${issuer} for ${quoted(claims.subject)} meets; an administrator compares its claims with: lookaside signer oidc list`,
        )
      : disabled(matching);
  }

  return { isToken: isJwt, find };
}

/** One for each signer that is not disabled. */
function signersOf(matching: readonly BoundSubject[], issuer: string, subject: string): readonly Token[] {
  const tokensBySigner = new Map<string, Token>();
  for (const { subject: bound, disabledAt } of matching) {
    if (disabledAt !== null) continue;
    tokensBySigner.set(bound.signer, {
      name: identityName(bound.signer, issuer, subject),
      role: 'uploader',
      createdAt: bound.createdAt,
      expiresAt: null,
      revokedAt: null,
      signer: bound.signer,
      disabledAt: null,
      lastUsedAt: null,
    });
  }
  return [...tokensBySigner.values()];
}

function disabled(matching: readonly BoundSubject[]): LookasideError {
  const signer = matching[0]?.subject.signer ?? '';
  return refused(
    `it belongs to the signer "${signer}", which is disabled; an administrator allows it again with: lookaside signer enable ${signer}`,
    { signer },
  );
}

function refused(why: string, detail: { readonly signer?: string } = {}): LookasideError {
  return new LookasideError('UNAUTHORIZED', `the OIDC token that was sent is refused: ${why}`, {
    detail: { ...detail, oidc: true },
  });
}
