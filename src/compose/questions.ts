// What is asked of the records: by people, by programs, and as ready questions.
import { setTimeout as wait } from 'node:timers/promises';
import type { AccessRecorder } from '../service/access.ts';
import type { MakeEvent } from '../service/audit.ts';
import { createFeed } from '../service/feed.ts';
import { createReadyQuestions } from '../service/ready-questions.ts';
import { createRecords, type Records } from '../service/records.ts';
import { createRotation } from '../service/rotation.ts';
import type { Databases } from '../sqlite/databases.ts';
import { systemClock } from './clock.ts';
import type { Composed, Connections, ReadersBeside } from './composed.ts';
import { type SharedParts, sha256Hex } from './site.ts';

/** Who asks for a person, or takes rows away, is written down. */
export function openRecords(
  { databases, readers }: Connections,
  { makeEvent, recorder }: { readonly makeEvent: MakeEvent; readonly recorder: AccessRecorder },
): Records {
  return createRecords({
    lookups: databases.questions,
    recorder: readers === undefined ? recorder : together(recorder, readers),
    audit: databases.audit,
    makeEvent,
    sha256: sha256Hex,
    wait: (ms) => wait(ms, undefined, { ref: false }),
    eraser: databases.eraser,
    keys: databases.keys,
    clock: systemClock,
  });
}

/** The rows of all processes that answer reads. */
function together(
  recorder: AccessRecorder,
  readers: ReadersBeside,
): Pick<AccessRecorder, 'flush' | 'buffer'> {
  return {
    async flush() {
      await Promise.all([recorder.flush(), readers.flush()]);
    },
    get buffer() {
      const [one, others] = [recorder.buffer, readers.buffer];
      return { rows: one.rows + others.rows, dropped: one.dropped + others.dropped };
    },
  };
}

/** What people and other programs ask of the records. */
export function openQuestions(
  { audit, keys, questions }: Databases,
  {
    makeEvent,
    records,
    signatures,
    auditLog,
  }: Pick<Composed, 'records' | 'signatures' | 'auditLog'> & Pick<SharedParts, 'makeEvent'>,
): Pick<Composed, 'feed' | 'readyQuestions' | 'rotation' | 'lookups'> {
  const clock = systemClock;
  return {
    feed: createFeed({ audit, makeEvent, clock, wait: (ms) => wait(ms, undefined, { ref: false }) }),
    readyQuestions: createReadyQuestions({
      records,
      signatures,
      keys,
      async checkpoint() {
        await auditLog.publish(); // of the last second too
        return (await auditLog.checkpoint())?.note ?? null;
      },
      clock,
    }),
    lookups: questions,
    rotation: createRotation({ keys, lookups: questions, clock }),
  };
}
