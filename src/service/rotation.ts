// From one key to another: what the new key has signed, and what is left for it.
import type { Clock, KeyStore } from '../domain/ports.ts';
import type { RecordLookups } from '../domain/records.ts';
import { type RotationPart, type RotationPlace, refuseSameKey } from '../domain/rotation.ts';
import { findKey } from './keys.ts';
import type { Asker } from './records.ts';

export interface RotationOptions {
  readonly keys: Pick<KeyStore, 'list' | 'find'>;
  readonly lookups: RecordLookups;
  readonly clock: Pick<Clock, 'now'>;
}

/** @throws LookasideError REQUEST_INVALID, NOT_FOUND for a key that is not registered; as Records */
export type RotationService = (old: string, next: string, asker: Asker) => AsyncIterable<RotationPart>;

const ROWS_AT_ONCE = 2000;

export function createRotation({ keys, lookups, clock }: RotationOptions): RotationService {
  return async function* rotation(oldName, nextName, asker) {
    const { fingerprint: old } = await findKey(keys, oldName);
    const { fingerprint: next } = await findKey(keys, nextName);
    refuseSameKey(old, next);
    await using session = await lookups.open(asker.signal);
    yield { old, new: next, ...(await session.rotation(old, next, clock.now())) };
    let [place, done]: [RotationPlace, number] = [null, 0];
    do {
      const piece = await session.rotationWork(old, next, place, ROWS_AT_ONCE);
      if (piece.work.length > 0) yield { work: piece.work };
      done += piece.work.length;
      place = piece.next;
    } while (place !== null);
    yield { end: { work: done } };
  };
}
