// Sessions over tokens in memory, one token of each role.
import { createHash, randomBytes } from 'node:crypto';
import type { NewAuditEvent } from '../../src/domain/audit.ts';
import { type NewSession, ROLES, type Role, type SessionStore, type Token } from '../../src/domain/ports.ts';
import { tokenState } from '../../src/domain/token.ts';
import { createEventMaker, type Deed } from '../../src/service/audit.ts';
import {
  createSessionService,
  type SessionService,
  type SessionServiceOptions,
} from '../../src/service/sessions.ts';
import type { HandClock } from './hand-driven.ts';

export interface SessionsInMemory {
  readonly service: SessionService;
  /** The text of the token of that role. */
  textOf(role: Role): string;
  /** Changes the token as somebody else would. */
  change(role: Role, change: Partial<Token>): void;
  readonly events: readonly NewAuditEvent[];
  readonly refused: readonly (Deed & { readonly actor: string })[];
  /** Hashes of all that is stored of sessions. */
  readonly hashes: () => readonly string[];
}

export const sha256 = (text: string) => createHash('sha256').update(text).digest('hex');

export function sessionsInMemory(
  clock: HandClock,
  isGiven: SessionServiceOptions['isGiven'] = () => true,
): SessionsInMemory {
  const texts = new Map<string, Role>(
    ROLES.map((role) => [`lookaside_${randomBytes(32).toString('hex')}`, role]),
  );
  const tokens = new Map<Role, Token>(
    ROLES.map((role) => [
      role,
      {
        name: `the-${role}`,
        role,
        createdAt: clock.now(),
        expiresAt: null,
        revokedAt: null,
        signer: null,
        disabledAt: null,
        lastUsedAt: null,
      },
    ]),
  );
  const roleOf = (name: string) => ROLES.find((role) => `the-${role}` === name) ?? 'reader';
  const tokenOf = (role: Role) => tokens.get(role) as Token; // one for each role
  const rows = new Map<number, NewSession>();
  const [events, refused]: [NewAuditEvent[], (Deed & { actor: string })[]] = [[], []];
  let last = 0;
  const sessionOf = (id: number, { identity = null, ...row }: NewSession) => {
    const token = tokenOf(roleOf(row.token));
    if (identity === null) return { id, ...row, token };
    const { role, signer } = identity;
    return { id, ...row, identity, token: { ...token, name: row.token, role, signer } };
  };
  const store: SessionStore = {
    async find(hash) {
      const [entry] = [...rows].filter(([, row]) => row.hash === hash);
      return entry === undefined ? null : sessionOf(...entry);
    },
    list: async () => [...rows].map(([id, row]) => sessionOf(id, row)),
    async add(session, event) {
      last += 1;
      rows.set(last, session);
      events.push(event);
      return last;
    },
    async end(id, event) {
      if (!rows.delete(id)) return false;
      events.push(event);
      return true;
    },
  };
  const service = createSessionService({
    store,
    tokens: {
      used: () => undefined,
      async find(text) {
        const role = texts.get(text);
        if (role === undefined) return null;
        const state = tokenState(tokenOf(role), clock.now());
        return state === 'revoked' ? null : { token: tokenOf(role), state };
      },
    },
    refusals: { record: async (deed, { name }) => void refused.push({ ...deed, actor: name }) },
    findSigner: async (name) => (name === 'gone' ? null : { disabledAt: null }),
    isGiven,
    clock,
    makeEvent: createEventMaker({ clock, randomBytes }),
    randomBytes,
    sha256,
  });
  return {
    service,
    textOf: (role) => [...texts].find(([, of]) => of === role)?.[0] ?? '',
    change: (role, change) => void tokens.set(role, { ...tokenOf(role), ...change }),
    events,
    refused,
    hashes: () => [...rows.values()].map(({ hash }) => hash),
  };
}
