// What reads bodies and slows callers down. All listeners of a process share one, because they share the memory.
import {
  MAX_BATCH_BYTES,
  MAX_BODY_BYTES_IN_FLIGHT,
  MAX_LOCAL_BODY_BYTES_IN_FLIGHT,
} from '../domain/limits.ts';
import type { Clock } from '../domain/ports.ts';
import { createSharedRoom, createUndividedRoom } from '../domain/room.ts';
import { type BodyReader, createBodyReader } from './body.ts';
import { createFormParser, type ParseForm } from './form.ts';
import { createLogInAttempts, type LogInAttempts } from './log-in-attempts.ts';
import { createRefusedUploads, type RefusedUploads } from './refused-uploads.ts';
import { createWrongTokens, type WrongTokens } from './wrong-tokens.ts';

export interface Intake {
  readonly bodies: BodyReader;
  /** For the Unix socket: what the network sends takes no room from the administrator. */
  readonly localBodies: BodyReader;
  readonly parseForm: ParseForm;
  readonly wrongTokens: WrongTokens;
  readonly logIns: LogInAttempts;
  readonly refusedUploads: RefusedUploads;
}

export function createIntake({ monotonicMs }: Pick<Clock, 'monotonicMs'>): Intake {
  // the rest is for the form parser, which copies one form at a time
  const room = createSharedRoom(MAX_BODY_BYTES_IN_FLIGHT - MAX_BATCH_BYTES);
  return {
    bodies: createBodyReader(room),
    localBodies: createBodyReader(createUndividedRoom(MAX_LOCAL_BODY_BYTES_IN_FLIGHT)),
    parseForm: createFormParser(),
    wrongTokens: createWrongTokens(monotonicMs),
    logIns: createLogInAttempts(monotonicMs),
    refusedUploads: createRefusedUploads(monotonicMs),
  };
}
