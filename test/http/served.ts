// The handler over services that a test hands in, on a real port; every other service fails when it is asked.
import { randomBytes } from 'node:crypto';
import { BlockList } from 'node:net';
import { ROLES, type Role, type Token } from '../../src/domain/ports.ts';
import { createHandler } from '../../src/http/app.ts';
import { createIntake } from '../../src/http/intake.ts';
import { listen } from '../../src/http/listener.ts';
import type { HttpSettings, Services } from '../../src/http/services.ts';
import type { KnownToken } from '../../src/service/tokens.ts';
import { createClock, createLog } from '../service/hand-driven.ts';

/** Where a test says nothing else. */
export const SETTINGS: HttpSettings = {
  ...{ prefix: '', publicUrl: null, read: 'anonymous', listing: true, ui: true, accessLog: 'off' },
  ...{ trustedProxies: new BlockList(), maxSignatureBytes: 1024 },
};

const PLACES = [{ name: 'default', prefix: '' }];

export interface Served extends AsyncDisposable {
  /** Without a slash at the end. */
  readonly url: string;
  readonly port: number;
  /** The text of a token of that role. */
  readonly tokens: Readonly<Record<Role, string>>;
}

const unasked = (): never => {
  throw new Error('a service was asked that this test has not handed in');
};

/** For a test that hands in some of its methods. */
export const UNASKED_READER: Services['reader'] = {
  peekSet: unasked,
  isForRound: () => false,
  readSet: unasked,
  readHeld: unasked,
  readSignature: unasked,
  forget: unasked,
  forgetAll: unasked,
  cache: { bytes: 0, sets: 0, hits: 0, misses: 0 },
};

/** It takes every read, and keeps none. */
export const IDLE_RECORDER: Services['recorder'] = {
  record: () => undefined,
  flush: async () => undefined,
  end: async () => undefined,
  setFull: () => undefined,
  buffer: { rows: 0, dropped: 0 },
};

/** As a token service knows a token that is in force. */
export function knownToken(token: Token | null | undefined): KnownToken | null {
  return token == null ? null : { token, state: 'valid' };
}

export async function serveOver(services: Partial<Services>, isLocal = false): Promise<Served> {
  const tokens = new Map<string, Token>();
  const texts = Object.fromEntries(
    ROLES.map((role) => {
      const text = `lookaside_${randomBytes(32).toString('hex')}`;
      tokens.set(text, {
        name: `the-${role}`,
        role,
        createdAt: new Date(0),
        expiresAt: null,
        revokedAt: null,
        signer: null,
        disabledAt: null,
        lastUsedAt: null,
      });
      return [role, text];
    }),
  ) as Record<Role, string>; // one entry for each role
  const { clock = createClock() } = services;
  const handler = createHandler({
    isLocal,
    services: {
      places: () => PLACES,
      reader: UNASKED_READER,
      browser: { folderPage: unasked, imagePage: unasked },
      judge: { prefer: unasked },
      signatures: { ofImage: unasked, search: unasked, missing: unasked },
      recorder: {
        record: unasked,
        flush: unasked,
        end: unasked,
        setFull: unasked,
        buffer: { rows: 0, dropped: 0 },
      },
      tokens: {
        create: unasked,
        list: unasked,
        revoke: unasked,
        used: () => undefined,
        writeUses: unasked,
        peek: (text) => knownToken(tokens.get(text)),
        find: async (text) => knownToken(tokens.get(text)),
      },
      sessions: {
        logIn: unasked,
        logInAs: unasked,
        find: async () => null,
        formToken: unasked,
        isFormToken: unasked,
        list: async () => [],
        end: unasked,
      },
      signers: {
        list: unasked,
        show: unasked,
        add: unasked,
        setDisabled: unasked,
        remove: unasked,
        listGrants: unasked,
        addGrant: unasked,
        removeGrant: unasked,
        test: unasked,
        permit: unasked,
      },
      rules: { export: unasked, plan: unasked, apply: unasked },
      subjects: { list: unasked, add: unasked, remove: unasked },
      identities: { isToken: () => false, find: unasked },
      mirrors: {
        ofImage: async () => null,
        releases: async () => [],
        missed: unasked,
        list: unasked,
        show: unasked,
        add: unasked,
        edit: unasked,
        remove: unasked,
        sync: unasked,
      },
      withdrawals: {
        withdraw: unasked,
        withdrawAt: unasked,
        ofImage: async () => [],
        list: unasked,
        putBack: unasked,
      },
      upkeep: {
        start: unasked,
        stop: unasked,
        rebuild: unasked,
        reindex: unasked,
        fsck: unasked,
      },
      health: unasked,
      metrics: {
        request: () => undefined,
        read: () => undefined,
        upload: unasked,
        uploadTook: unasked,
        add: unasked,
        render: unasked,
      },
      keys: {
        add: unasked,
        remove: unasked,
        setRetired: unasked,
        refresh: unasked,
        revoke: unasked,
        list: unasked,
        find: unasked,
        armor: unasked,
        whileUnchanged: unasked,
        warnings: unasked,
        uses: unasked,
      },
      uploader: { upload: unasked, uploadBatch: unasked },
      importer: { importBatch: unasked },
      readyQuestions: { ask: unasked },
      rotation: unasked,
      lookups: { open: unasked },
      revocations: {
        impact: unasked,
        mark: unasked,
        carryOut: unasked,
        count: unasked,
        carryOutAll: unasked,
        stop: unasked,
      },
      feed: { has: unasked, events: unasked },
      records: {
        page: unasked,
        sums: unasked,
        export: unasked,
        session: unasked,
        follow: unasked,
        forget: unasked,
      },
      witness: null,
      pages: null,
      auditLog: { identity: { origin: 'unasked', vkey: 'unasked' }, checkpoint: unasked, tile: unasked },
      log: createLog(),
      clock,
      intake: createIntake(clock),
      about: { version: '0', pid: 1, startedAt: new Date(0), data: '/data', root: '/root', tree: 'owned' },
      settings: () => SETTINGS,
      isDraining: () => false,
      untilSeen: () => null,
      writeAccessLine: unasked,
      ...services,
    },
  });
  const server = await listen({ handler, host: '127.0.0.1', port: 0, tls: null });
  return {
    url: server.url,
    port: server.port,
    tokens: texts,
    async [Symbol.asyncDispose]() {
      server.abort();
      await server.drain();
    },
  };
}
