// Builds what knows the tokens of OpenID providers.
import type { Config } from '../config.ts';
import type { Clock, Log, OidcVerifier, SubjectStore } from '../domain/ports.ts';
import { createIdentities, type Identities } from '../service/identities.ts';
import { openIssuerDocuments } from '../upstream/issuer-documents.ts';
import { readCaOf } from './remote.ts';

export interface OpenedIdentities extends Identities {
  close(): Promise<void>;
}

interface Parts {
  readonly config: Config;
  readonly current: () => Config;
  readonly subjects: SubjectStore;
  readonly clock: Clock;
  readonly log: Log;
}

/** Asks nobody before a token of a named issuer comes. @throws LookasideError CONFIG_INVALID when the file of LOOKASIDE_CA is unusable */
export function openIdentities({ config, current, subjects, clock, log }: Parts): OpenedIdentities {
  const documents = openIssuerDocuments({ ca: readCaOf(config), hasProxies: config.remote.hasProxies });
  let opened: Promise<OidcVerifier> | null = null;
  // loaded by the first token: most servers see none, and most commands are over before
  const open = async () => {
    const { createOidcVerifier } = await import('../identity/token-verifier.ts');
    return createOidcVerifier({
      read: documents.read,
      clock,
      onFailure: (issuer, error) =>
        log.warn({ issuer, err: error }, 'an OIDC issuer could not be asked for its keys'),
    });
  };
  const verifier: OidcVerifier = {
    async verify(...token) {
      opened ??= open();
      return (await opened).verify(...token);
    },
  };
  const identities = createIdentities({ subjects, verifier, audiences: () => current().oidcAudiences });
  return { ...identities, close: documents.close };
}
