// Who may do what: tokens, sessions, log-ins, signers, subjects.
import { randomBytes } from 'node:crypto';
import { hasRuleFor } from '../domain/log-in-provider.ts';
import { createSessionService } from '../service/sessions.ts';
import { createSignerService } from '../service/signers.ts';
import { createSubjectService } from '../service/subjects.ts';
import { createTokenService } from '../service/tokens.ts';
import type { Composed, Connections } from './composed.ts';
import { openIdentities } from './identities.ts';
import { type OpenedLogIns, openLogIns, readLogInProviders } from './log-ins.ts';
import { type SharedParts, sha256Hex } from './site.ts';

interface Access extends Pick<Composed, 'tokens' | 'sessions' | 'signers' | 'subjects' | 'identities'> {
  readonly logIns: OpenedLogIns;
}

export async function createAccess(
  { config, current, databases, offersLogIns = false }: Connections,
  {
    makeEvent,
    clock,
    log,
    refusals,
  }: Pick<SharedParts, 'makeEvent' | 'clock' | 'log'> & Pick<Composed, 'refusals'>,
): Promise<Access> {
  const { subjects: store } = databases;
  // a command may not be able to read the secrets that they name
  const providers = offersLogIns ? await readLogInProviders(config) : [];
  const tokens = createTokenService({
    store: databases.tokens,
    clock,
    makeEvent,
    randomBytes,
    sha256: sha256Hex,
    log,
  });
  const sessions = createSessionService({
    store: databases.sessions,
    tokens,
    refusals,
    findSigner: (name) => databases.signers.find(name),
    isGiven: offersLogIns ? (what) => hasRuleFor(providers, what) : null,
    clock,
    makeEvent,
    randomBytes,
    sha256: sha256Hex,
  });
  const signers = createSignerService({
    signers: databases.signers,
    grants: databases.grants,
    subjects: store,
    keys: databases.keys,
    listTokens: tokens.list,
    clock,
    makeEvent,
    requireGrants: () => current().requireGrants,
  });
  const subjects = createSubjectService({ subjects: store, signers: databases.signers, clock, makeEvent });
  const identities = openIdentities({ config, current, subjects: store, clock, log });
  const logIns = openLogIns({ providers, config, clock, log, sessions, refusals });
  return { tokens, sessions, logIns, signers, subjects, identities };
}
