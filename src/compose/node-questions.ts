// What is asked of the records of several nodes, and what follows from the answers.
import { setImmediate as breathe, setTimeout as wait } from 'node:timers/promises';
import type { Config } from '../config.ts';
import type { Log, SignatureAppender, SignatureStore, Verifier } from '../domain/ports.ts';
import type { OpenedPostgres } from '../postgres/open.ts';
import { PostgresVerdicts } from '../postgres/verdicts.ts';
import type { AccessRecorder } from '../service/access.ts';
import type { MakeEvent } from '../service/audit.ts';
import type { KeyService } from '../service/keys.ts';
import { createOverview } from '../service/overview.ts';
import { createReadyQuestions } from '../service/ready-questions.ts';
import { createRecords } from '../service/records.ts';
import { createRepositoryList } from '../service/repositories.ts';
import { createRevocations } from '../service/revocation.ts';
import { createRotation } from '../service/rotation.ts';
import type { SignatureQueries } from '../service/signatures.ts';
import { systemClock } from './clock.ts';
import { sha256Hex } from './site.ts';

export interface NodeQuestionsOptions {
  readonly current: () => Config;
  readonly stores: OpenedPostgres;
  readonly keys: KeyService;
  readonly verifier: Verifier;
  readonly signatures: SignatureQueries;
  readonly makeEvent: MakeEvent;
  readonly log: Log;
  readonly sites: () => readonly string[];
  readonly store: Pick<SignatureStore, 'readBlob'> & Pick<SignatureAppender, 'withdrawOrdered'>;
  readonly keyringNumber: () => number;
  /** The recorder of reads; null where this process takes none. */
  readonly recorder: () => Pick<AccessRecorder, 'flush' | 'buffer'> | null;
}

const NO_READS: AccessRecorder['buffer'] = { rows: 0, dropped: 0 };

export function openNodeQuestions(options: NodeQuestionsOptions) {
  const { stores, keys, makeEvent, signatures, log } = options;
  const clock = systemClock;
  const lookups = stores.questions;
  const records = createRecords({
    ...{ lookups, audit: stores.audit, makeEvent, sha256: sha256Hex, eraser: stores.eraser, clock },
    keys: stores.keys,
    recorder: {
      flush: async () => options.recorder()?.flush(),
      get buffer() {
        return options.recorder()?.buffer ?? NO_READS;
      },
    },
    wait: (ms) => wait(ms, undefined, { ref: false }),
  });
  const { connections, writer } = stores;
  const { keyringNumber } = options;
  // any node can say what is left to verify
  const verdicts = new PostgresVerdicts({ connections, writer, keyringNumber, isLeader: () => true });
  const index = {
    imagesByKey: verdicts.imagesByKey.bind(verdicts),
    ofImage: verdicts.ofImage.bind(verdicts),
    search: verdicts.search.bind(verdicts),
    unjudged: verdicts.unjudged.bind(verdicts),
    isComplete: async () => true,
  };
  return {
    records,
    lookups,
    rotation: createRotation({ keys, lookups, clock }),
    overview: createOverview({ records, clock, wait, log }),
    repositories: createRepositoryList({ index: stores.repositories, breathe }),
    readyQuestions: createReadyQuestions({
      ...{ records, signatures, clock },
      keys: stores.keys,
      checkpoint: async () => (await stores.log.lastCheckpoint())?.note ?? null,
    }),
    revocations: createRevocations({
      ...{ keys, lookups, index, clock, log, verifier: options.verifier },
      ...{ appender: options.store, store: options.store, sites: options.sites },
      isAppendOnly: () => options.current().appendOnly,
    }),
  };
}
