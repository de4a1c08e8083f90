// Tokens of OpenID providers, checked by jose: signature, algorithm, issuer, audience and times.
import { errors, type JWTPayload, type JWTVerifyGetKey, jwtVerify } from 'jose';
import { LookasideError } from '../domain/errors.ts';
import type { TokenClaims } from '../domain/oidc.ts';
import type { Clock, OidcVerifier } from '../domain/ports.ts';
import { quoted } from '../domain/text.ts';
import { createIssuerKeys, type IssuerKeysOptions } from './issuer-keys.ts';

export interface OidcVerifierOptions extends Pick<IssuerKeysOptions, 'read' | 'onFailure'> {
  readonly clock: Clock;
}

/** With a public key alone: `none` and the HMACs are not among them, so no key can be taken for a secret (RFC 8725, section 3.1). */
const ALGORITHMS: readonly string[] = ['RS', 'PS', 'ES']
  .flatMap((family) => ['256', '384', '512'].map((bits) => family + bits))
  .concat(['EdDSA', 'Ed25519']);

/** How far the issuer's clock and ours may differ. */
const SKEW_S = 60;

export function createOidcVerifier({ clock, ...options }: OidcVerifierOptions): OidcVerifier {
  const keys = createIssuerKeys({ ...options, monotonicMs: clock.monotonicMs });

  async function verifyWith(
    getKey: JWTVerifyGetKey,
    { text, issuer, audiences }: Asked,
  ): Promise<JWTPayload> {
    const { payload } = await jwtVerify(text, getKey, {
      algorithms: [...ALGORITHMS],
      issuer,
      audience: [...audiences],
      clockTolerance: SKEW_S,
      currentDate: clock.now(),
      requiredClaims: ['sub', 'iat', 'exp'],
    });
    return payload;
  }

  async function verifyByAnyKey(asked: Asked): Promise<JWTPayload> {
    try {
      return await verifyWith(await keys.get(asked.issuer), asked);
    } catch (error) {
      if (!(error instanceof errors.JWKSNoMatchingKey)) throw error;
      // the issuer may have a new key
      const newer = await keys.again(asked.issuer);
      if (newer === null) throw error;
      return verifyWith(newer, asked);
    }
  }

  return {
    async verify(text, issuer, audiences) {
      try {
        return claimsOf(await verifyByAnyKey({ text, issuer, audiences }), clock.now());
      } catch (error) {
        throw refusalOf(error, { text, issuer, audiences });
      }
    },
  };
}

interface Asked {
  readonly text: string;
  readonly issuer: string;
  readonly audiences: readonly string[];
}

/** OpenID Connect Core, section 2: at most 255 characters. */
const SUBJECT = /^[^\p{C}]{1,255}$/u;

function claimsOf(payload: JWTPayload, now: Date): TokenClaims {
  const { sub, iat = 0 } = payload;
  if (typeof sub !== 'string' || !SUBJECT.test(sub))
    throw unauthorized('its claim sub is not a text of 1 to 255 characters');
  if (iat > now.getTime() / 1000 + SKEW_S) {
    throw unauthorized(
      `it was issued in the future, at ${timeOf(iat)}; are the clocks of the issuer and of this server right?`,
    );
  }
  return { subject: sub, all: payload };
}

function refusalOf(error: unknown, asked: Asked): unknown {
  if (error instanceof LookasideError) return error;
  if (error instanceof errors.JWTExpired) {
    const message = `it expired at ${timeOf(error.payload.exp)}; get a new one`;
    return unauthorized(message, { isExpired: true });
  }
  if (error instanceof errors.JWTClaimValidationFailed) return unauthorized(whyClaim(error, asked));
  if (error instanceof errors.JOSEAlgNotAllowed)
    return unauthorized(`its algorithm is not among those that are taken: ${ALGORITHMS.join(', ')}`);
  if (error instanceof errors.JWKSNoMatchingKey)
    return unauthorized(`the issuer ${asked.issuer} has no such key as it names`);
  if (error instanceof errors.JWKSMultipleMatchingKeys)
    return unauthorized(`it names no key (kid), and the issuer ${asked.issuer} has several`);
  if (error instanceof errors.JWSSignatureVerificationFailed)
    return unauthorized(`the issuer ${asked.issuer} has not signed it`);
  // the rest of jose's errors, and those of WebCrypto for keys that are none
  return unauthorized('its signature cannot be checked', {}, error);
}

function whyClaim({ claim, payload }: errors.JWTClaimValidationFailed, { audiences }: Asked): string {
  switch (claim) {
    case 'aud': {
      const audience = [payload.aud ?? []].flat().map((name) => quoted(String(name).slice(0, 255)));
      return `it is for the audience ${audience.slice(0, 5).join(', ') || '(none)'}; wanted ${audiences.join(' or ')} (LOOKASIDE_OIDC_AUDIENCE)`;
    }
    case 'nbf':
      return `it is valid from ${timeOf(payload.nbf)} on; are the clocks of the issuer and of this server right?`;
    default:
      return `its claim ${claim} is missing or not what is wanted`;
  }
}

function timeOf(seconds: unknown): string {
  const at = new Date(Number(seconds) * 1000);
  return Number.isNaN(at.getTime()) ? 'no time' : at.toISOString();
}

function unauthorized(
  why: string,
  detail: { readonly isExpired?: true } = {},
  cause?: unknown,
): LookasideError {
  return new LookasideError('UNAUTHORIZED', `the OIDC token that was sent is refused: ${why}`, {
    cause,
    detail: { ...detail, oidc: true },
  });
}
