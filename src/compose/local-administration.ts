// The administration of the data directory on this machine: by this process, or by the server that holds the directory.
import { type Config, socketPathOf } from '../config.ts';
import type { AboutTree, Administration } from '../domain/administration.ts';
import { isLookasideError, type LookasideError } from '../domain/errors.ts';
import { isServer } from '../domain/holder.ts';
import { createAdministration, exportedKey, keyFile, shownKeys } from '../service/administration.ts';
import { ADMINISTRATOR } from '../service/audit.ts';
import { grantsOf, signerDetails, testGrant } from '../service/signers.ts';
import { subjectsOf } from '../service/subjects.ts';
import type { LockTaker } from '../sqlite/lock.ts';
import { connectAdministration } from '../upstream/administration.ts';
import type { AskerOptions } from '../upstream/asker.ts';
import { findRunningServer } from '../upstream/running-server.ts';
import { systemClock } from './clock.ts';
import { createLog } from './log.ts';
import {
  fsckReadOnly,
  listSessions,
  listTokens,
  sitesWithMirrors,
  withKeys,
  withSigners,
} from './offline.ts';
import { compose } from './server.ts';
import { sitesOf } from './site.ts';

export interface LocalAdministrationOptions {
  readonly config: Config;
  /** The root of a shared tree that the user named; null when the tree is the one that the data directory is bound to. */
  readonly namedRoot: string | null;
  readonly taker: LockTaker;
  /** For asking the server that holds the data directory. */
  readonly asking: Omit<AskerOptions, 'at'>;
}

export interface LocalAdministration extends OpenedAdministration {
  /** The tree of the running server that did the fsck; null when this process did it, or nothing was checked yet. */
  checkedBy(): AboutTree | null;
}

interface OpenedAdministration extends Administration {
  [Symbol.asyncDispose](): Promise<void>;
}

/**
 * The administration of the data directory on this machine. It reads keys and tokens from files that it opens read-only: it
 * neither needs a server nor waits for one. A running server does the fsck, because it alone knows its trees for certain; when
 * none answers, fsck without repair reads the files too. Everything else takes the lock, or is done by the server that holds
 * it. So is about(), which names the tree that changes go to.
 * @throws LookasideError also ALREADY_RUNNING when another command line holds the lock
 */
export function administerHere(options: LocalAdministrationOptions): LocalAdministration {
  const { config } = options;
  const reads = readAdministration(config);
  let changing: Promise<OpenedAdministration> | null = null;
  let checkedBy: AboutTree | null = null;
  const changes = () => {
    changing ??= openForChanges(options);
    return changing;
  };
  const fsck: Administration['fsck'] = async (request) => {
    const server = await findRunningServer(socketPathOf(config));
    const isAboutOtherTree = options.namedRoot !== null && options.namedRoot !== server?.root;
    if (server === null || (isAboutOtherTree && !request.repair))
      return request.repair ? (await changes()).fsck(request) : reads.fsck(request);
    changing ??= Promise.resolve(askServer(options));
    checkedBy = server;
    return (await changing).fsck(request);
  };
  return {
    about: async () => (await changes()).about(),
    keys: {
      ...reads.keys,
      add: async (untrusted) => (await changes()).keys.add(untrusted),
      refresh: async (...refreshed) => (await changes()).keys.refresh(...refreshed),
      signatures: async (name) => (await changes()).keys.signatures(name),
      async *revocation(name) {
        yield* (await changes()).keys.revocation(name);
      },
      revoke: async (...revocation) => (await changes()).keys.revoke(...revocation),
      retire: async (name) => (await changes()).keys.retire(name),
      unretire: async (name) => (await changes()).keys.unretire(name),
      remove: async (name) => (await changes()).keys.remove(name),
      async *rotation(old, next) {
        yield* (await changes()).keys.rotation(old, next);
      },
    },
    tokens: {
      ...reads.tokens,
      create: async (wanted) => (await changes()).tokens.create(wanted),
      revoke: async (name) => (await changes()).tokens.revoke(name),
      endSession: async (id) => (await changes()).tokens.endSession(id),
    },
    // not from the files: a running server has the last second in memory, and records who asks about a person
    records: {
      page: async (...asked) => (await changes()).records.page(...asked),
      sums: async (...asked) => (await changes()).records.sums(...asked),
      forget: async (...asked) => (await changes()).records.forget(...asked),
      ready: async (...asked) => (await changes()).records.ready(...asked),
      async *export(...asked) {
        yield* (await changes()).records.export(...asked);
      },
    },
    signers: {
      ...reads.signers,
      add: async (wanted) => (await changes()).signers.add(wanted),
      disable: async (name) => (await changes()).signers.disable(name),
      enable: async (name) => (await changes()).signers.enable(name),
      remove: async (name) => (await changes()).signers.remove(name),
    },
    grants: {
      ...reads.grants,
      add: async (wanted) => (await changes()).grants.add(wanted),
      remove: async (id) => (await changes()).grants.remove(id),
    },
    subjects: {
      ...reads.subjects,
      add: async (wanted) => (await changes()).subjects.add(wanted),
      remove: async (id) => (await changes()).subjects.remove(id),
    },
    // not from the files: to plan, the certificates of the document are looked at as for adding them
    rules: {
      export: async () => (await changes()).rules.export(),
      plan: async (...document) => (await changes()).rules.plan(...document),
      apply: async (...document) => (await changes()).rules.apply(...document),
    },
    mirrors: {
      list: async () => (await changes()).mirrors.list(),
      show: async (name) => (await changes()).mirrors.show(name),
      add: async (...mirror) => (await changes()).mirrors.add(...mirror),
      edit: async (...mirror) => (await changes()).mirrors.edit(...mirror),
      remove: async (name) => (await changes()).mirrors.remove(name),
      missed: async (...asked) => (await changes()).mirrors.missed(...asked),
      sync: async (...mirror) => (await changes()).mirrors.sync(...mirror),
    },
    withdraw: async (wanted) => (await changes()).withdraw(wanted),
    fsck,
    checkedBy: () => checkedBy,
    reindex: async (request) => (await changes()).reindex(request),
    importBatch: async (...batch) => (await changes()).importBatch(...batch),
    async [Symbol.asyncDispose]() {
      const opened = await changing?.catch(() => null); // who asked for the change was told
      await opened?.[Symbol.asyncDispose]();
    },
  };
}

async function openForChanges(options: LocalAdministrationOptions): Promise<OpenedAdministration> {
  try {
    return await administerAlone(options);
  } catch (error) {
    if (!isLookasideError(error, 'ALREADY_RUNNING') || isOtherCommand(error)) throw error;
    return askServer(options);
  }
}

/** The server that holds the data directory. */
function askServer({ config, asking }: LocalAdministrationOptions): OpenedAdministration {
  return connectAdministration({ at: { socketPath: socketPathOf(config), isHeld: true }, ...asking });
}

async function administerAlone({
  config,
  taker,
}: Pick<LocalAdministrationOptions, 'config' | 'taker'>): Promise<OpenedAdministration> {
  const composed = await compose({
    config,
    current: () => config,
    sites: sitesOf(config),
    log: createLog('warn'),
    // the command prints them, as a number or one by one
    problemLog: createLog('silent'),
    taker,
  });
  const services = { ...composed, clock: systemClock, about: config };
  return {
    ...createAdministration(services, ADMINISTRATOR),
    [Symbol.asyncDispose]: () => composed[Symbol.asyncDispose](),
  };
}

/** Another command holds the lock; it takes no requests. */
function isOtherCommand({ detail }: LookasideError): boolean {
  const command = detail?.command;
  return typeof command === 'string' && !isServer({ command });
}

interface ReadAdministration {
  readonly keys: Pick<Administration['keys'], 'list' | 'show' | 'export'>;
  readonly tokens: Pick<Administration['tokens'], 'list' | 'sessions'>;
  readonly signers: Pick<Administration['signers'], 'list' | 'show'>;
  readonly grants: Pick<Administration['grants'], 'list' | 'test'>;
  readonly subjects: Pick<Administration['subjects'], 'list'>;
  /** Without repair. */
  readonly fsck: Administration['fsck'];
}

/** The read-only part; it also works beside a running server. It may also throw STATE_UNUSABLE and STORE_UNAVAILABLE. */
function readAdministration(config: Config): ReadAdministration {
  return {
    keys: {
      list: (expiringWithinMs) =>
        withKeys(config, (keys) => shownKeys(keys, systemClock.now(), expiringWithinMs)),
      show: (name) => withKeys(config, (keys) => exportedKey(keys, name, systemClock.now())),
      export: (names, reader) => withKeys(config, (keys) => keyFile(keys, names, reader)),
    },
    tokens: { list: () => listTokens(config), sessions: () => listSessions(config) },
    signers: {
      list: () => withSigners(config, ({ signers }) => signers.list()),
      show: (name) => withSigners(config, (stores) => signerDetails(stores, name)),
    },
    grants: {
      list: (signer) => withSigners(config, (stores) => grantsOf(stores, signer)),
      test: (question) => withSigners(config, (stores) => testGrant(stores, question)),
    },
    subjects: { list: (signer) => withSigners(config, (stores) => subjectsOf(stores, signer)) },
    fsck: ({ onProgress = () => undefined }) =>
      fsckReadOnly({
        data: config.data,
        sites: sitesWithMirrors(config),
        log: createLog('error'),
        onProgress,
      }),
  };
}
